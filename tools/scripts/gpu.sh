#!/usr/bin/env bash
# `make test-gpu`: everything that needs a GPU, in one call, also under compute-sanitizer where that is
# installed; the report goes to docs/benchmarks/gpu-<model>.md. Builds first, unless build/cuda was copied here.
# Without a GPU it says what was not tested and ends with 0 (KVTIER_GPU_REQUIRED=1: with 1).
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

if ! have nvidia-smi || ! model=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -1) ||
  [ -z "$model" ]; then
  say "no GPU here (nvidia-smi finds none)."
  while read -r line; do skip "$line"; done < <(tools/scripts/cuda.sh tests)
  [ "${KVTIER_GPU_REQUIRED:-0}" = 0 ] || exit 1
  exit 0
fi

if ! [ -x build/cuda/gpu_test ] || have cmake; then
  tools/scripts/cuda.sh compile
fi
name=$(tr '[:upper:] ' '[:lower:]-' <<<"$model" | tr -cd 'a-z0-9-')
report=docs/benchmarks/gpu-$name.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

build/cuda/gpu_test >"$work/test" 2>&1 || status=1
cat "$work/test"
sanitized="compute-sanitizer is not installed here"
if have compute-sanitizer; then
  sanitized=""
  for tool in memcheck racecheck synccheck; do
    if compute-sanitizer --tool "$tool" --error-exitcode 9 build/cuda/gpu_test >"$work/$tool" 2>&1; then
      sanitized+="$tool clean; "
    else
      sanitized+="$tool FAILED; "
      tail -40 "$work/$tool"
      status=1
    fi
  done
else
  skip "gpu_test under compute-sanitizer: not installed"
fi
build/cuda/gpu_bench >"$work/bench" 2>&1 || status=1
cat "$work/bench"

{
  echo "# Device kernels on $model"
  echo
  echo "Written by \`make test-gpu\`. Driver $(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -1)."
  echo "$(tail -1 "$work/test"). Sanitizers: ${sanitized%; }."
  echo
  cat "$work/bench"
} >"$report"
say "report: $report"
exit "$status"
