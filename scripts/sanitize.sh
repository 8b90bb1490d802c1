#!/usr/bin/env bash
# Runs tests of the addon under GCC's sanitizers: scripts/sanitize.sh [jest arguments]. SANITIZE=thread looks for races
# instead; the build is kept, so a second run only compiles what has changed.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sanitize=${SANITIZE:-address,undefined}
build=build-${sanitize%%,*}

cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_COMPILER=g++ -DSANITIZE="$sanitize" >/dev/null
cmake --build "$build" --parallel "$(nproc)" --target mamba_serve

# Node itself is not instrumented: the runtime is loaded ahead of it, and its own leaks are not ours to report.
case $sanitize in
  thread) runtime=libtsan.so ;;
  *) runtime=libasan.so ;;
esac
[ $# -gt 0 ] || set -- test/ops test/addon
export MAMBA_SERVE_ADDON="$PWD/$build/mamba_serve.node"
export ASAN_OPTIONS=detect_leaks=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# V8's own worker threads look like racing. Wider patterns would match the stacks of all calls from JavaScript.
echo 'race:v8::platform::' >"$build/suppressions"
export TSAN_OPTIONS="suppressions=$PWD/$build/suppressions exitcode=66"
LD_PRELOAD=$(g++ -print-file-name=$runtime) node node_modules/jest/bin/jest.js --runInBand "$@"
