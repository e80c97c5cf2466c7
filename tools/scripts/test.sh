#!/usr/bin/env bash
# `make test`: everything that decides whether a change is good. Goes on after a failed stage, so that one
# run shows all that is wrong; the exit status is that of the whole. Ends with the times and what was skipped.
set -uo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

run_tests() {
  local preset=$1 status=0
  # Doubled output of passed tests helps nobody; what failed is shown in full.
  ctest --preset "$preset" --parallel "$jobs" || status=$?
  while read -r line; do skip "$preset: $line"; done < <(python3 tools/scripts/skipped_tests.py "build/$preset")
  return "$status"
}

sanitized() {
  build_preset "$1" && run_tests "$1"
}

report_begin
[ -n "${KVTIER_TRACES:-}" ] ||
  skip "trace tests: KVTIER_TRACES is not set (a folder with conversation.jsonl)"

failed=()
stage "packages" tools/scripts/deps.sh build test || { report_end; exit 1; }
stage "format" tools/scripts/format.sh --check || failed+=(format)
if stage "build release" build_preset release; then
  stage "tests release" run_tests release || failed+=("tests release")
  stage "clang-tidy, changed files" tools/scripts/tidy.sh || failed+=(clang-tidy)
else
  failed+=("build release")
fi
if stage "CUDA for sm_80, sm_90, sm_100" tools/scripts/cuda.sh compile; then
  stage "GPU tests" tools/scripts/gpu.sh || failed+=("GPU tests")
else
  failed+=(CUDA)
fi
for preset in ${KVTIER_TEST_SANITIZERS-asan tsan}; do
  stage "build and tests $preset" sanitized "$preset" || failed+=("$preset")
done
[ -n "${KVTIER_TEST_SANITIZERS-asan tsan}" ] || skip "sanitizer runs: KVTIER_TEST_SANITIZERS is empty"

report_end
if [ ${#failed[@]} -gt 0 ]; then
  printf -v list '%s, ' "${failed[@]}"
  say "FAILED: ${list%, }"
  exit 1
fi
say "All tests passed."
