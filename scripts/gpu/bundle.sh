#!/usr/bin/env bash
# Packs what a GPU machine without a network and without Node.js needs, into build-gpu/bundle: Node itself, the
# node_modules of the tests and benchmarks, the addon with its CUDA backend, and the compiled TypeScript. Take the
# checkout with that folder to the machine and run scripts/gpu/run.sh there.
#
#   scripts/gpu/bundle.sh [CMAKE ARGUMENTS]    such as -DCUBLASLT_ROOT=/opt/cublas, or
#                                              -DCUDA_GENCODE=-gencode=arch=compute_90a,code=sm_90a for a quick build
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bundle=build-gpu/bundle
mkdir -p "$bundle"

cmake -S . -B build-gpu -G Ninja -DCMAKE_BUILD_TYPE=Release "$@" >build-gpu/configure.log
cmake --build build-gpu --target mamba_serve mamba_serve_cuda
tar -C build-gpu -cJf "$bundle/addon.tar.xz" mamba_serve.node mamba_serve_cuda.so
npm run --silent build:ts
tar -C . -cJf "$bundle/dist.tar.xz" dist

# Only for this platform, and not what formats, checks or builds.
if [ ! -f "$bundle/node_modules.tar.xz" ] || [ package-lock.json -nt "$bundle/node_modules.tar.xz" ]; then
  echo "packing node_modules"
  tar -cJf "$bundle/node_modules.tar.xz" \
    --exclude=node_modules/@biomejs --exclude=node_modules/@typescript --exclude=node_modules/typescript \
    --exclude=node_modules/clang-format --exclude=node_modules/cmake-js --exclude=node_modules/node-gyp \
    --exclude=node_modules/openai --exclude=node_modules/@langchain --exclude=node_modules/langsmith \
    --exclude=node_modules/ai --exclude=node_modules/js-tiktoken --exclude=node_modules/@ai-sdk --exclude=node_modules/playwright-core --exclude=node_modules/@types \
    --exclude=node_modules/@anthropic-ai --exclude=node_modules/@mlc-ai --exclude=node_modules/zod/src \
    --exclude='node_modules/@swc/*musl*' --exclude='node_modules/tokenizers/*musl*' \
    --exclude='node_modules/tokenizers/*.android-*' --exclude='node_modules/tokenizers/*.darwin-*' \
    --exclude='node_modules/tokenizers/*.win32-*' --exclude='node_modules/tokenizers/*.linux-arm*' \
    --exclude='*.d.ts' --exclude='*.map' --exclude='*.md' node_modules
fi
if [ ! -f "$bundle/node.xz" ]; then
  echo "packing $(command -v node)"
  cp "$(readlink -f "$(command -v node)")" "$bundle/node"
  strip "$bundle/node"
  xz -9e -f "$bundle/node"
fi
du -ch "$bundle"/* | tail -20
