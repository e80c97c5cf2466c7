#!/usr/bin/env bash
# `make bench`: every benchmark of `kvtier bench` with its limit measured in the same run. BENCH="lookup lease"
# picks some. Redis is measured beside the look-up where a redis-server is on the machine.
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

report_begin
stage "packages" tools/scripts/deps.sh build bench
stage "build release" build_preset release
for name in ${BENCH:-lookup lease load store}; do
  stage "bench $name" build/release/kvtier bench "$name"
done
report_end
