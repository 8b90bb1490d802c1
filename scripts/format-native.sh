#!/usr/bin/env bash
# Names the C++ sources that are not formatted, or formats them with --fix. The npm package pins clang-format's version.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mapfile -t files < <(find native -name '*.h' -o -name '*.cpp' -o -name '*.inl' -o -name '*.cu' -o -name '*.cuh' | sort)
format() { node_modules/.bin/clang-format --style=file "$@" "${files[@]}"; }

if [ "${1:-}" = --fix ]; then
  format -i
elif ! output=$(format --dry-run --Werror 2>&1); then
  echo "$output" | sed -n 's/:.* error: code should be clang-formatted.*/ is not formatted; npm run fix/p' | sort -u
  exit 1
fi
