#!/bin/sh
# Fails when an object compiled above the baseline defines anything but its one table of operations.
# Usage: isa_private.sh NM libkvtier_kernels.a
set -eu
symbols=$("$1" --extern-only --defined-only --demangle --print-file-name "$2" |
  grep -E 'operations_avx(2|512)\.cpp\.o')
tables=$(printf '%s\n' "$symbols" | grep -cE ' kvtier::kernels::detail::kOperationsAvx(2|512)$')
others=$(printf '%s\n' "$symbols" | grep -vE ' kvtier::kernels::detail::kOperationsAvx(2|512)$' || true)
if [ "$tables" -ne 2 ] || [ -n "$others" ]; then
  echo "expected the two tables and nothing else to be visible, found:"
  printf '%s\n' "$symbols"
  exit 1
fi
