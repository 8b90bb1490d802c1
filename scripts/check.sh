#!/usr/bin/env bash
# The quick gates: scripts/check.sh [step...], by default all of them, side by side. Every step runs, even after a failure; the
# exit status is the number of steps that failed. `npm run fix` repairs format and lint.
set -uo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/node_modules/.bin:$PATH"

check() {
  case $1 in
    format-native) bash scripts/format-native.sh ;;
    biome) biome check --error-on-warnings . ;;
    types) tsc --noEmit && tsc -p tsconfig.web.json ;;
    abi) node scripts/gen-abi.js --check ;;
    api) node scripts/gen-api.js --check ;;
    docs) node -r ./test/helpers/register.js scripts/gen-docs.ts --check ;;
    report) node -r ./test/helpers/register.js bench/report.ts --check ;;
    unit) jest --selectProjects unit ;;
    *) echo "no such step; there are: format-native biome types abi api docs report unit" && return 1 ;;
  esac
}

[ $# -gt 0 ] || set -- format-native biome types abi api docs report unit
running=()
outputs=$(mktemp -d)
trap 'rm -rf "$outputs"' EXIT
for step in "$@"; do
  (
    start=$SECONDS
    check "$step" >"$outputs/$step" 2>&1
    status=$?
    echo $((SECONDS - start)) >"$outputs/$step.seconds"
    exit $status
  ) &
  running[${#running[@]}]=$!
done

failed=0
for step in "$@"; do
  if wait "${running[0]}"; then
    echo "ok      $step ($(cat "$outputs/$step.seconds") s)"
  else
    failed=$((failed + 1))
    printf 'FAILED  %s\n%s\n' "$step" "$(cat "$outputs/$step")"
  fi
  running=("${running[@]:1}")
done
exit $failed
