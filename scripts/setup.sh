#!/usr/bin/env bash
# Checks the tools, then installs and builds what is missing or out of date; a second run does next to nothing.
# With CMake the build is CMakeLists.txt (through cmake-js); without it binding.gyp, which builds the CPU backend only.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
export CMAKE_BUILD_PARALLEL_LEVEL=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)} # make alone would compile one file at a time

missing=""
need() { missing+="  - $1"$'\n'"    $2"$'\n'; }
has() { command -v "$1" >/dev/null; }

node_is_new_enough() { has node && node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; }
cmake_is_new_enough() { has cmake && printf '3.22\n%s\n' "$(cmake --version | sed -n 's/^cmake version //p')" | sort -VC; }
compiles_cpp20() {
  printf '#if !defined(__clang__) && __GNUC__ < 11\n#error\n#endif\n#include <bit>\n#include <span>\n' |
    $1 -std=c++20 -fsyntax-only -x c++ - 2>/dev/null
}

for compiler in "${CXX:-g++}" clang++; do
  if compiles_cpp20 "$compiler"; then
    export CXX="$compiler"
    found_compiler=yes
    break
  fi
done

node_is_new_enough || need "Node.js 20.19 or newer with npm$(has node && echo " (this is $(node -v))")" \
  "curl -fsSL https://deb.nodesource.com/setup_22.x | sudo -E bash - && sudo apt-get install -y nodejs"
[ "${found_compiler:-no}" = yes ] || need "a C++20 compiler: g++ 11 or newer, or clang++" "sudo apt-get install -y g++"
if ! cmake_is_new_enough && ! { has make && has python3; }; then
  need "CMake 3.22 or newer (or, for a build without it, make and python3)" "sudo apt-get install -y cmake make"
elif ! has make && ! has ninja; then
  need "make or ninja" "sudo apt-get install -y make"
fi
if [ -n "$missing" ]; then
  printf 'mamba-serve needs these tools; each with the command that installs it on Debian or Ubuntu:\n%s' "$missing" >&2
  exit 1
fi

# run "what happens" command...: prints the command's output only when it fails; CI shows all of it.
run() {
  echo "set-up: $1" >&2
  shift
  if [ -n "${CI:-}" ]; then
    "$@" >&2
    return
  fi
  local log
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "set-up failed at: $*" >&2
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
}

# outdated STAMP path...: is the stamp missing, or older than anything under the paths?
outdated() {
  local stamp=$1
  shift
  [ ! -e "$stamp" ] || [ -n "$(find "$@" -newer "$stamp" -print -quit)" ]
}

# build STAMP "what happens" command...: the stamp is the time the build began, so no edit made meanwhile is missed.
build() {
  local stamp=$1
  shift
  mkdir -p "$(dirname "$stamp")"
  touch "$stamp.started"
  run "$@"
  mv "$stamp.started" "$stamp"
}

if outdated node_modules/.package-lock.json package-lock.json; then
  run "installing npm packages" npm ci --no-audit --no-fund
  touch node_modules/.package-lock.json
fi

stamp=build/.built
[ -e build/Release/mamba_serve.node ] || rm -f "$stamp"
if cmake_is_new_enough; then
  if outdated "$stamp" native CMakeLists.txt; then
    build "$stamp" "building the addon with CMake (the first time takes minutes)" \
      cmake-js build --CDCMAKE_BUILD_TYPE=Release
  fi
elif outdated "$stamp" native binding.gyp; then
  build "$stamp" "building the addon with node-gyp, CPU backend only, as there is no CMake 3.22 or newer" \
    bash scripts/build-gyp.sh
fi

if outdated dist/.built src tsconfig.json tsconfig.build.json package-lock.json; then
  build dist/.built "compiling TypeScript" tsc -p tsconfig.build.json
fi
