#!/usr/bin/env bash
# The README's first client against a real daemon: nothing is cached in turn 1, everything in turn 2.
# Usage: run_first_client.sh KVTIERD CLIENT README SOURCE
set -euo pipefail
# The README shows this very program.
python3 - "$3" "$4" <<'PYTHON'
import sys
readme, source = (open(path).read() for path in sys.argv[1:3])
if source.strip() not in readme:
    sys.exit("README.md does not show tests/examples/first_client.cpp as it is")
PYTHON
folder=$(mktemp -d)
trap 'kill "$daemon" 2>/dev/null || true; wait "$daemon" 2>/dev/null || true; rm -rf "$folder"' EXIT
printf '[daemon]\nsocket = "%s/kvtier.sock"\nstate_directory = "%s"\n[host]\ncapacity = "64MiB"\n' \
  "$folder" "$folder" >"$folder/kvtier.toml"
"$1" --config "$folder/kvtier.toml" >"$folder/log" 2>&1 &
daemon=$!
for _ in $(seq 100); do
  [ -S "$folder/kvtier.sock" ] && break
  kill -0 "$daemon" || { cat "$folder/log"; exit 1; }
  sleep 0.1
done
said=$(KVTIER_SOCKET=$folder/kvtier.sock "$2")
echo "$said"
[ "$said" = "turn 1: 0 of 4 chunks are cached
turn 2: 4 of 4 chunks are cached" ]
