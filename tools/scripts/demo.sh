#!/usr/bin/env bash
# `make demo`: installs what is missing, builds, replays a trace with real bytes through a daemon of its own.
# TRACE=FILE names the trace; else conversation.jsonl in $KVTIER_TRACES; else a generated workload.
# KVTIER_DEMO_REQUESTS=N replays only the first N requests; KVTIER_DEMO_DIR is where its files go.
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

report_begin
stage "packages" tools/scripts/deps.sh build
demo_build() {
  cmake --preset release >"$report_dir/configure-release.log" 2>&1 ||
    { cat "$report_dir/configure-release.log"; return 1; }
  cmake --build build/release --parallel "$jobs" --target kvtierd kvtier_cli
}
stage "build release" demo_build

arguments=(--verify)
if [ -n "${TRACE:-}" ]; then
  [ -r "$TRACE" ] || fail "TRACE=$TRACE cannot be read"
  arguments=("$TRACE" "${arguments[@]}")
elif [ -r "${KVTIER_TRACES:-/nonexistent}/conversation.jsonl" ]; then
  arguments=("$KVTIER_TRACES/conversation.jsonl" "${arguments[@]}")
else
  say "No trace given (TRACE=FILE) and no conversation.jsonl in KVTIER_TRACES: a generated conversation workload."
  skip "demo on a recorded trace: none was given"
  arguments=(--generate conversation "${arguments[@]}")
fi
[ -z "${KVTIER_DEMO_REQUESTS:-}" ] || arguments+=(--requests "$KVTIER_DEMO_REQUESTS")

# 2 GiB holds a sixth of the recorded trace's chunks: enough to hit, small enough to evict.
available_kib=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
host_mib=$((available_kib / 1024 / 4))
[ "$host_mib" -le 2048 ] || host_mib=2048
[ "$host_mib" -ge 64 ] || fail "only $((available_kib / 1024)) MiB of memory are free; the demo needs 256 MiB"
arguments+=(--host-bytes "${host_mib}MiB" --spawn "${KVTIER_DEMO_DIR:-$root/build/demo}")

mkdir -p "$(dirname "${KVTIER_DEMO_DIR:-$root/build/demo}")"
say
say "build/release/kvtier replay ${arguments[*]}"
status=0
stage "replay" build/release/kvtier replay "${arguments[@]}" || status=$?
report_end
exit "$status"
