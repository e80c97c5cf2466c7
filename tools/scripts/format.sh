#!/usr/bin/env bash
# Formats every C++ file with clang-format 14, or with --check only says which differ.
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

formatter=$(llvm14 clang-format)
if [ -z "$formatter" ]; then
  [ "${1:-}" = "--check" ] || fail "clang-format 14 is missing: run 'make deps'"
  skip "format check: no clang-format 14 on this machine"
  exit 0
fi
mapfile -t files < <(source_files)
if [ "${1:-}" = "--check" ]; then
  printf '%s\0' "${files[@]}" | xargs -0 -n 32 -P "$jobs" "$formatter" --dry-run --Werror ||
    fail "these files are not formatted: run 'make format'"
  say "format: ${#files[@]} files are as clang-format 14 would write them."
else
  printf '%s\0' "${files[@]}" | xargs -0 -n 32 -P "$jobs" "$formatter" -i
  say "format: ${#files[@]} files."
fi
