#!/usr/bin/env bash
# Checks deploy/ with the programs that it is for: the alerts with promtool, /metrics and the dashboard with a Prometheus that scrapes a
# server under load, the manifests with kubectl's kustomize and with the schemas of Kubernetes. CRDS=folder has
# CustomResourceDefinitions of further kinds, as KServe's and the inference extension's. Takes two minutes; the packages of the
# schemas are installed in a temporary folder.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in prometheus promtool kubectl; do
  if ! command -v "$tool" >/dev/null; then
    echo "$tool is missing: sudo apt-get install -y prometheus kubernetes-client" >&2
    exit 1
  fi
done

promtool check rules deploy/prometheus/alerts.yaml
promtool test rules test/fleet/alerts.yaml

for folder in deploy/kubernetes/*/; do
  kubectl kustomize "$folder" | grep -c '^kind:' | sed "s|^|$folder: objects: |"
done

modules=$(mktemp -d)
trap 'rm -rf "$modules"' EXIT
npm install --prefix "$modules" --no-save --no-audit --no-fund --loglevel error \
  kubernetes-models@5.1.0 @kubernetes-models/gateway-api@2.0.0 @kubernetes-models/prometheus-operator@6.0.0 >&2
node test/fleet/schemas.mjs "$modules/node_modules" ${CRDS:+"$CRDS"}

node -r ./test/helpers/register.js test/fleet/main.ts
