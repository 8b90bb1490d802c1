#!/usr/bin/env bash
# Builds what is out of date and serves: ./scripts/serve.sh [model] [options]. Arguments are those of `mamba-serve serve`.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
"$scripts/setup.sh"
exec node "$scripts/../dist/cli/main.js" serve "$@"
