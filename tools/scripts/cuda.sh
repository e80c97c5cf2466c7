#!/usr/bin/env bash
# The CUDA code: compiled for every architecture that is supported, and linked into the GPU tests. Needs no
# GPU. nvcc is KVTIER_NVCC, or the machine's, or comes from PyPI's packages into build/cuda-toolkit (the size
# is said first). Nothing else is written but build/cuda.
#
# Usage: cuda.sh compile      objects and tests, build/cuda/gpu_test and gpu_bench
#        cuda.sh tests        the names of what only a GPU can show
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

architectures=(80 90 100)
toolkit=$root/build/cuda-toolkit
packages=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
  nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85)

# Sizes from the index, before anything is fetched.
say_size() {
  "$toolkit/venv/bin/python" -m pip install --dry-run --quiet --ignore-installed --no-deps \
    --report "$toolkit/report.json" "${packages[@]}" >/dev/null
  "$toolkit/venv/bin/python" - "$toolkit/report.json" <<'PYTHON'
import json, sys, urllib.request
total = 0
for item in json.load(open(sys.argv[1]))["install"]:
    request = urllib.request.Request(item["download_info"]["url"], method="HEAD")
    with urllib.request.urlopen(request, timeout=30) as answer:
        total += int(answer.headers.get("Content-Length") or 0)
print(f"cuda: fetching {total / 1e6:.0f} MB of compiler packages into build/cuda-toolkit")
PYTHON
}

find_nvcc() {
  local candidate
  for candidate in "${KVTIER_NVCC:-}" "$(command -v nvcc || true)" /usr/local/cuda/bin/nvcc \
    "$toolkit"/venv/lib/python3*/site-packages/nvidia/cu13/bin/nvcc; do
    if [ -n "$candidate" ] && [ -x "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then
      nvcc=$candidate
      return
    fi
  done
  [ -z "${KVTIER_NVCC:-}" ] || fail "KVTIER_NVCC is '$KVTIER_NVCC', which does not run"
  python3 -m venv "$toolkit/venv" || fail "python3-venv is missing: make deps"
  say_size
  "$toolkit/venv/bin/python" -m pip install --quiet --no-deps "${packages[@]}"
  nvcc=$(echo "$toolkit"/venv/lib/python3*/site-packages/nvidia/cu13/bin/nvcc)
  [ -x "$nvcc" ] || fail "the packages have no $nvcc"
}

# Beside nvcc in the machine's toolkit and in the packages.
find_runtime() {
  local prefix candidate
  prefix=$(cd "$(dirname "$nvcc")/.." && pwd)
  for candidate in "$prefix"/lib64 "$prefix"/lib "$prefix"/targets/x86_64-linux/lib; do
    if [ -e "$candidate/libcudart_static.a" ]; then
      runtime=$candidate
      return
    fi
  done
  fail "no libcudart_static.a beside $nvcc"
}

compile() {
  find_nvcc
  find_runtime
  say "cuda: $("$nvcc" --version | sed -n 's/.*release \([0-9.]*\),.*/nvcc \1/p') for sm_${architectures[*]}"
  local out=$root/build/cuda generate=() architecture source
  mkdir -p "$out"
  for architecture in "${architectures[@]}"; do
    generate+=(-gencode "arch=compute_$architecture,code=sm_$architecture")
  done
  # Newer GPUs compile the newest one's code themselves.
  generate+=(-gencode "arch=compute_$architecture,code=compute_$architecture")
  printf '%s\n' kernels/cuda/*.cu tests/cuda/*.cu | xargs -P "$jobs" -I{} sh -c '
    out=$1 nvcc=$2 source=$3
    shift 3
    "$nvcc" -std=c++20 -O3 --expt-relaxed-constexpr -Werror all-warnings -Xcompiler -Wall,-Wextra \
      -I. -Iinclude "$@" -c "$source" -o "$out/$(basename "$source" .cu).o"' \
    cuda "$out" "$nvcc" {} "${generate[@]}"
  # The CPU side, which the tests compare with.
  local library=$root/build/release/lib/libkvtier_kernels.a
  if [ ! -e "$library" ]; then
    mkdir -p "$report_dir"
    cmake --preset release >"$report_dir/configure-release.log"
    cmake --build --preset release --target kvtier_kernels
  fi
  for source in tests/cuda/*.cu; do
    local name
    name=$(basename "$source" .cu)
    g++ "$out/$name.o" "$out/launch.o" "$out/transfer.o" "$library" "$runtime/libcudart_static.a" \
      -lxxhash -lzstd -lpthread -ldl -lrt -o "$out/$name"
  done
  say "cuda: compiled kernels/cuda and tests/cuda for sm_${architectures[*]}, linked $out/gpu_test and gpu_bench"
}

case ${1:-} in
  compile) compile ;;
  tests)
    say "not tested without a GPU: the device's gather, scatter, codecs and checksum (gpu_test);"
    say "not tested without a GPU: their speed, the choice of transfers, the disturbance of decode (gpu_bench)"
    ;;
  *) fail "usage: cuda.sh compile|tests" ;;
esac
