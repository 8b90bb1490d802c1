#!/usr/bin/env bash
# Holds scores of lm-evaluation-harness, unmodified and against the server, to transformers' on the same weights:
# scripts/lm-eval.sh [python]. The bundled model, a hybrid with experts and one with gated delta nets; float32 on the CPU. The
# harness is installed into a temporary environment; a Python that has it already can be named. The exit status is 0 if all are equal.
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"' EXIT

python=${1:-}
if [ -z "$python" ]; then
  python3 -m venv "$folder/env"
  python=$folder/env/bin/python
  # Without its dependencies: not all of them are needed for two tasks that read local files.
  "$python" -m pip install --quiet --no-deps lm-eval
  "$python" -m pip install --quiet torch transformers accelerate peft datasets sacrebleu scikit-learn tenacity aiohttp requests \
    more-itertools dill jinja2 numpy tqdm typing-extensions pyyaml
fi
"$python" -c 'import importlib.metadata as m; print(*(f"{p} {m.version(p)}" for p in ("lm_eval", "transformers", "torch")))'

export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME=$folder/cache TOKENIZERS_PARALLELISM=false
failed=0
compare() { # directory kind
  local url=
  : >"$folder/log"
  node -r ./test/helpers/register.js src/cli/main.ts serve "$1" --port 0 --device cpu --dtype float32 >"$folder/log" 2>&1 &
  server=$!
  until url=$(grep -om1 'http://127.0.0.1:[0-9]*' "$folder/log"); do
    kill -0 "$server" 2>/dev/null || { cat "$folder/log" && return 1; }
    sleep 0.2
  done
  echo "$(basename "$1")"
  "$python" test/clients/lm-eval/compare.py "$1" "$url" "$2" 2>"$folder/harness" || {
    tail -n 20 "$folder/harness" && failed=1
  }
  kill "$server" && wait "$server" || true
  server=
}

compare "$PWD/models/storyteller-6m" words
for golden in granitemoehybrid qwen3_5_text; do
  "$python" test/clients/lm-eval/make_tokenizer.py "test/golden/$golden" "$folder/$golden"
  compare "$folder/$golden" tokens
done
exit $failed
