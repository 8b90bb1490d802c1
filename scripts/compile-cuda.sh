#!/usr/bin/env bash
# Compiles every CUDA file for Hopper, so that none rots where no GPU can run it. Without nvcc it only says so.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t files < <(find native -name '*.cu' | sort)
if ! command -v nvcc >/dev/null; then
  echo "nvcc is not installed: ${#files[@]} CUDA files were not compiled" >&2
  exit 0
fi
mkdir -p build-cuda
for file in "${files[@]}"; do
  echo "nvcc $file"
  nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -Inative -c "$file" -o "build-cuda/$(basename "$file" .cu).o"
done
