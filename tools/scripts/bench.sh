#!/usr/bin/env bash
# `make bench`: every benchmark of `kvtier bench` with its limit measured in the same run, into
# docs/benchmarks/kvtier.md. BENCH="lookup lease" picks some, RUNS=5 runs each
# so often: the page then has medians and ranges of all runs. Redis is measured beside the look-up where a
# redis-server is on the machine.
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

report_begin
stage "packages" tools/scripts/deps.sh build bench
stage "build release" build_preset release
results=$root/build/bench
rm -rf "$results"
mkdir -p "$results"
# What else the machine does disturbs less.
calm=()
if [ "$(id -u)" -eq 0 ]; then calm=(nice -n -20); fi
# nvme-read-64k: nvme-read with chunks of 64 KiB. BENCH_DIR: on the disk that is to be measured.
measure() {
  local run what=$1
  local more=()
  case $1 in
    nvme-*) more=(--dir "${BENCH_DIR:-$results}") ;;
  esac
  case $1 in
    *-64k) what=${1%-64k} more+=(--chunk-bytes 64KiB) ;;
  esac
  for run in $(seq "${RUNS:-1}"); do
    "${calm[@]}" build/release/kvtier bench "$what" "${more[@]}" --json >"$results/$1.$run.json" ||
      { cat "$results/$1.$run.json"; rm -f "$results/$1.$run.json"; return 1; }
    cat "$results/$1.$run.json"
  done
}
status=0
for name in ${BENCH:-lookup lease load store memory idle nvme-read nvme-read-64k nvme-write nvme-write-64k}; do
  stage "bench $name" measure "$name" || status=1
done
if have python3; then
  tools/scripts/bench_report.py "$results" docs/benchmarks/kvtier.md
else
  skip "docs/benchmarks/kvtier.md: no python3 to write it"
fi
report_end
exit "$status"
