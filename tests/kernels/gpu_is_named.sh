#!/bin/sh
# Fails when `make test-gpu` without a GPU does not say what it left out, or a run that must have one passes.
# Usage: gpu_is_named.sh ROOT
set -eu
cd "$1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# An nvidia-smi that finds nothing, as on a machine with the tools and no device.
printf '#!/bin/sh\nexit 6\n' >"$work/nvidia-smi"
chmod +x "$work/nvidia-smi"
said=$(PATH="$work:$PATH" KVTIER_REPORT_DIR="$work" tools/scripts/gpu.sh)
for word in gather scatter codecs checksum transfers disturbance; do
  if ! printf '%s\n' "$said" | grep "not tested without a GPU" | grep -q "$word"; then
    echo "make test-gpu without a GPU does not name: $word"
    exit 1
  fi
done
if ! grep -q "not tested without a GPU" "$work/skipped.txt"; then
  echo "what was left out is not in the list at the end of the run"
  exit 1
fi
if PATH="$work:$PATH" KVTIER_REPORT_DIR="$work" KVTIER_GPU_REQUIRED=1 tools/scripts/gpu.sh >/dev/null; then
  echo "KVTIER_GPU_REQUIRED=1 passes without a GPU"
  exit 1
fi
