#!/usr/bin/env bash
# Runs tests and benchmarks of the CUDA backend from what scripts/gpu/bundle.sh packed.
#
#   scripts/gpu/run.sh test [JEST ARGUMENTS]       op tables, model goldens and invariants on the GPU
#   scripts/gpu/run.sh sanitize [JEST ARGUMENTS]   the op tables under compute-sanitizer; TOOL=racecheck for another tool
#   scripts/gpu/run.sh cli ARGUMENTS               mamba-serve ARGUMENTS, such as "bench kernels --save FILE"
set -euo pipefail
case ${1:-} in -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bundle=build-gpu/bundle

if [ ! -x build-gpu/node ]; then
  xz -dc "$bundle/node.xz" >build-gpu/node
  chmod +x build-gpu/node
fi
[ -d node_modules ] || tar -xJf "$bundle/node_modules.tar.xz"
tar -xJmf "$bundle/addon.tar.xz" -C build-gpu
if [ ! -d dist ] || [ "$bundle/dist.tar.xz" -nt dist ]; then tar -xJmf "$bundle/dist.tar.xz"; fi
export PATH="$PWD/build-gpu:$PATH"
export MAMBA_SERVE_ADDON=${MAMBA_SERVE_ADDON:-$PWD/build-gpu/mamba_serve.node}
export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}:/usr/local/cuda/lib64"
export TEST_DEVICES=cuda
jest=(node node_modules/jest/bin/jest.js)

what=${1:-test}
[ $# -eq 0 ] || shift
case $what in
  test)
    [ $# -gt 0 ] || set -- test/addon test/ops test/models test/llm
    "${jest[@]}" "$@" --selectProjects native
    ;;
  sanitize)
    [ $# -gt 0 ] || set -- test/ops
    export TOOL=${TOOL:-memcheck}
    logs=build-gpu/sanitize/$TOOL
    mkdir -p "$logs"
    # A process a file, because the tool does not follow jest into its workers. A test file may need long until its first
    # launch, which the tool must wait for.
    sanitize_file() {
      local log seconds=$SECONDS
      log=$1/$(basename "$2" .test.ts).log
      compute-sanitizer --tool "$TOOL" --error-exitcode 9 --launch-timeout 0 --target-processes application-only \
        node node_modules/jest/bin/jest.js --selectProjects native --runInBand --runTestsByPath "$2" >"$log" 2>&1
      local status=$?
      # Where every test is skipped nothing reaches the device, which the tool calls an error of its own.
      if grep -aq "terminated before first instrumented API call" "$log" && ! grep -aq "^Tests:.*failed" "$log"; then status=0; fi
      echo "$TOOL $([ $status = 0 ] && echo ok || echo "FAILED ($status)") $(basename "$2"): $(grep -a '^Tests:' "$log"), $((SECONDS - seconds)) s"
      [ $status = 0 ]
    }
    export -f sanitize_file
    "${jest[@]}" --listTests "$@" --testPathIgnorePatterns isa.test --selectProjects native | grep "^/" |
      xargs -P "${JOBS:-8}" -I{} bash -c "sanitize_file $logs {}"
    ;;
  cli) node dist/cli/main.js "$@" ;;
  *)
    scripts/gpu/run.sh --help >&2
    exit 2
    ;;
esac
