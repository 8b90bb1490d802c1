#!/usr/bin/env bash
# Compiles every CUDA file, so that none rots where no GPU can run it: the backend for all that it is built for, the
# ladders for Hopper. Without nvcc it only says so.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t backend < <(find native/cuda -name '*.cu' | sort)
mapfile -t ladders < <(find native/lab -name '*.cu' | sort)
if ! command -v nvcc >/dev/null; then
  echo "nvcc is not installed: $((${#backend[@]} + ${#ladders[@]})) CUDA files were not compiled" >&2
  exit 0
fi
mkdir -p build-cuda
ampere=-gencode=arch=compute_80,code=sm_80
hopper=-gencode=arch=compute_90a,code=sm_90a
newer=-gencode=arch=compute_90,code=compute_90

# FILE, then the architectures. An object that is newer than every CUDA file and header is kept.
compile() {
  local file=$1 object
  shift
  object=build-cuda/$(basename "$(dirname "$file")")-$(basename "$file" .cu).o
  if [ -f "$object" ] && [ -z "$(find native -newer "$object" \( -name '*.cu*' -o -name '*.h' \) -print -quit)" ]; then
    return
  fi
  echo "nvcc $file"
  nvcc -std=c++20 -O3 "$@" -Inative -c "$file" -o "$object"
}
export -f compile

for file in "${backend[@]}"; do echo "$file $ampere $hopper $newer"; done >build-cuda/jobs
for file in "${ladders[@]}"; do echo "$file $hopper"; done >>build-cuda/jobs
xargs -P "$(nproc)" -L 1 bash -c 'set -euo pipefail; compile "$@"' compile <build-cuda/jobs
