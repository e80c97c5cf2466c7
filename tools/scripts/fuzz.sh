#!/usr/bin/env bash
# `make fuzz`: every libFuzzer target for FUZZ_SECONDS each (default 60), one after the other; FUZZ="names"
# picks some. Inputs that found new paths are kept below build/fuzz-corpus, so runs add up; an input that
# failed is kept as build/fuzz-found/*, and belongs into the target's corpus folder with the mending.
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

report_begin
stage "packages" tools/scripts/deps.sh build fuzz
stage "build fuzz" build_preset fuzz

mkdir -p build/fuzz-found
failed=()
runs=0
for program in build/fuzz/tests/fuzz_*; do
  if [ ! -f "$program" ] || [ ! -x "$program" ]; then continue; fi
  name=$(basename "$program")
  name=${name#fuzz_}
  case " ${FUZZ:-$name} " in *" $name "*) ;; *) continue ;; esac
  corpus=build/fuzz-corpus/$name
  mkdir -p "$corpus"
  # A target's own corpus (kvtier_fuzz(... CORPUS folder)) is read, never written.
  seeds=()
  [ -f "$program.corpus" ] && seeds=("$(cat "$program.corpus")")
  runs=$((runs + 1))
  stage "fuzz $name" "$program" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=4096 \
    -print_final_stats=1 -artifact_prefix="build/fuzz-found/$name-" "$corpus" "${seeds[@]}" ||
    failed+=("$name")
done
report_end
[ "$runs" -gt 0 ] || fail "no fuzz target is named: ${FUZZ:-(none was built)}"
[ ${#failed[@]} -eq 0 ] || fail "found something: ${failed[*]}; see build/fuzz-found"
