#!/usr/bin/env bash
# Builds and packs what is published: scripts/pack.sh [OUT] [platform...], by default all platforms into build/tarballs.
# linux-arm64 needs g++-aarch64-linux-gnu, linux-x64-cuda13 nvcc and cuBLAS (CUBLASLT_ROOT). Only what has changed is compiled.
# platform=FOLDER packs binaries that were built elsewhere, as linux-x64-cuda13=bundle/build/Release from a GPU machine: in it are
# mamba_serve.node and, with CUDA, mamba_serve_cuda.so, of this very commit.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-build/tarballs}
shift || true
[ $# -gt 0 ] || set -- linux-x64 linux-arm64 linux-x64-cuda13

# FOLDER, then arguments of cmake.
build() {
  local folder=$1
  shift
  cmake -S . -B "$folder" -DCMAKE_BUILD_TYPE=Release -DCMAKE_LIBRARY_OUTPUT_DIRECTORY="$PWD/$folder/Release" "$@" >&2
  cmake --build "$folder" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" >&2
}

node_modules/.bin/tsc -p tsconfig.build.json
packages=()
for platform in "$@"; do
  case $platform in
    *=*)
      packages+=("$platform")
      continue
      ;;
    linux-x64) build build-linux-x64 -DCUDA=OFF ;;
    linux-arm64) build build-linux-arm64 -DCUDA=OFF -DCMAKE_TOOLCHAIN_FILE=scripts/aarch64.cmake ;;
    linux-x64-cuda13) build build-linux-x64-cuda13 -DCUBLASLT_ROOT="${CUBLASLT_ROOT:-}" ;;
    *) echo "no such platform: $platform" >&2 && exit 1 ;;
  esac
  packages+=("$platform=build-$platform/Release")
done
node scripts/pack.js "$out" "${packages[@]}"
