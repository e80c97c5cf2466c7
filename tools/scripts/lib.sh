# Shared by the scripts beside it: the root of the tree, stages with their times, what was skipped and why.
# Sourced, never run. Writes only below build/.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$root" || exit 1

jobs=${KVTIER_JOBS:-$(nproc)}

# One file collects what did not run, so that the outermost command can end with the whole list.
report_dir=${KVTIER_REPORT_DIR:-$root/build/report}
skipped_file=$report_dir/skipped.txt
stages_file=$report_dir/stages.txt

say() { printf '%s\n' "$*"; }

fail() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The outermost script starts the report; those it calls add to it.
report_begin() {
  [ -n "${KVTIER_REPORT_OPEN:-}" ] && return
  export KVTIER_REPORT_OPEN=1
  report_owner=1
  mkdir -p "$report_dir"
  : >"$skipped_file"
  : >"$stages_file"
}

report_end() {
  [ -n "${report_owner:-}" ] || return 0
  say
  say "Time per stage:"
  awk -F'\t' '{printf "  %-34s %5d s  %s\n", $1, $2, $3}' "$stages_file"
  if [ -s "$skipped_file" ]; then
    say "Not run, and why:"
    sort -u "$skipped_file" | sed 's/^/  - /'
  else
    say "Nothing was skipped."
  fi
}

skip() {
  mkdir -p "$report_dir"
  printf '%s\n' "$*" >>"$skipped_file"
  say "skipped: $*"
}

# stage NAME COMMAND...: runs it, notes its time and outcome, gives its status back.
stage() {
  local name=$1 start=$SECONDS status=0
  shift
  say
  say "== $name"
  "$@" || status=$?
  mkdir -p "$report_dir"
  printf '%s\t%d\t%s\n' "$name" $((SECONDS - start)) \
    "$([ "$status" -eq 0 ] && echo ok || echo "FAILED ($status)")" >>"$stages_file"
  return "$status"
}

build_preset() {
  cmake --preset "$1" >"$report_dir/configure-$1.log" 2>&1 ||
    { cat "$report_dir/configure-$1.log"; return 1; }
  cmake --build --preset "$1" --parallel "$jobs"
}

# clang-format and clang-tidy 14 decide: another version formats and warns differently.
llvm14() {
  if have "$1-14"; then
    say "$1-14"
  elif have "$1" && "$1" --version | grep -q 'version 14\.'; then
    say "$1"
  fi
}

# The C++ files of the project: tracked ones and new ones that git does not ignore.
source_files() {
  if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git ls-files --cached --others --exclude-standard -- '*.cpp' '*.hpp' '*.h' '*.c' |
      while read -r file; do [ -f "$file" ] && say "$file"; done
  else
    find . -path ./build -prune -o -type f \
      \( -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.c' \) -print | sed 's|^\./||'
  fi
}
