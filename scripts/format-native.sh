#!/usr/bin/env bash
# Checks the format of the C++ sources, or repairs it with --fix. The npm package pins the version of clang-format.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t files < <(find native -name '*.h' -o -name '*.cpp' -o -name '*.inl' -o -name '*.cu' -o -name '*.cuh' | sort)
if [ "${1:-}" = --fix ]; then
  node_modules/.bin/clang-format --style=file -i "${files[@]}"
else
  node_modules/.bin/clang-format --style=file --dry-run --Werror "${files[@]}"
fi
