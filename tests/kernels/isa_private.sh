#!/bin/sh
# Fails when an object compiled above the baseline defines anything but its one table.
# Usage: isa_private.sh NM libkvtier_kernels.a
set -eu
symbols=$("$1" --extern-only --defined-only --demangle --print-file-name "$2" |
  grep -E '(operations|codecs)_avx(2|512|512bf16)\.cpp\.o')
tables=$(printf '%s\n' "$symbols" | grep -cE ' kvtier::kernels::detail::k(Operations|Codecs)Avx(2|512|512Bf16)$')
others=$(printf '%s\n' "$symbols" | grep -vE ' kvtier::kernels::detail::k(Operations|Codecs)Avx(2|512|512Bf16)$' || true)
if [ "$tables" -ne 6 ] || [ -n "$others" ]; then
  echo "expected the six tables and nothing else to be visible, found:"
  printf '%s\n' "$symbols"
  exit 1
fi
