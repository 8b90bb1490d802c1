#!/usr/bin/env bash
# Builds the CPU addon from binding.gyp, for machines without CMake. It works on a copy in build-gyp/, since CMake owns
# build/; where CMake has built nothing, the addon is also put where src/native/load.ts looks for it.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# node-gyp would download Node's headers; they come with Node itself in the packages of nodejs.org and NodeSource.
nodedir=${NODE_HEADERS:-$(dirname "$(dirname "$(node -p process.execPath)")")}
if [ ! -e "$nodedir/include/node/node_api.h" ] || [ ! -e "$nodedir/include/node/common.gypi" ]; then
  echo "node-gyp needs Node's headers, and $nodedir/include/node has none. Either install CMake, which needs none of them" \
    "(sudo apt-get install -y cmake), or install Node from nodejs.org, or name the folder that holds include/node in" \
    "NODE_HEADERS." >&2
  exit 1
fi

mkdir -p build-gyp
rm -rf build-gyp/native
cp -a binding.gyp native build-gyp/ # keeps the time stamps, so that make compiles only what has changed
echo '{ "name": "mamba-serve" }' >build-gyp/package.json
node_modules/.bin/node-gyp --directory=build-gyp configure build --nodedir="$nodedir" --jobs=max

if [ ! -e build/CMakeCache.txt ]; then
  mkdir -p build/Release
  cp build-gyp/build/Release/mamba_serve.node build/Release/
fi
