#!/usr/bin/env bash
# Holds the server to the newest clients: scripts/clients.sh [npm version, by default latest]. They ask for a newer Node than the
# server does, so they are installed in a temporary folder, with Node 24 where the one on the PATH is older, and run there against
# servers of this tree. The exit status is that of the tests.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=${1:-latest}
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT

packages=(openai ai @ai-sdk/openai @ai-sdk/openai-compatible @ai-sdk/anthropic @langchain/openai @langchain/core @openai/agents
  @anthropic-ai/sdk)
cp test/clients/*.mjs "$folder"
echo '{ "private": true, "type": "module" }' >"$folder/package.json"
install=("${packages[@]/%/@$version}" zod@4)
node=$(command -v node)
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 24 ]; then
  install+=(node@24)
  node=$folder/node_modules/.bin/node
fi
npm install --prefix "$folder" --no-audit --no-fund --loglevel=error "${install[@]}" >/dev/null
for package in "${packages[@]}"; do
  echo "$package $("$node" -p 'JSON.parse(fs.readFileSync(process.argv[1])).version' "$folder/node_modules/$package/package.json")"
done
echo "node $("$node" --version)"

mkfifo "$folder/stdin"
node -r ./test/helpers/register.js test/clients/server.ts <"$folder/stdin" >"$folder/urls" &
server=$!
exec 3>"$folder/stdin"
until [ -s "$folder/urls" ]; do
  kill -0 "$server"
  sleep 0.1
done
cd "$folder"
CLIENT_SERVERS=$(cat urls) "$node" --test openai.mjs ai-sdk.mjs langchain.mjs agents.mjs anthropic.mjs
