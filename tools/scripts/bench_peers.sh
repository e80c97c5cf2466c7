#!/usr/bin/env bash
# `make bench-peers` (optional): Redis, Mooncake and LMCache beside ours, into docs/benchmarks/peers.md.
# Mooncake and LMCache come from pip into build/peers/venv, pinned below; each step may be missing, and says so.
# PEERS="redis mooncake" picks some. LMCache needs PyTorch: several GB of download and disk.
set -uo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

mooncake_package=mooncake-transfer-engine-non-cuda==0.3.13.post1
lmcache_package=lmcache==0.5.6
drivers=$root/tools/bench/peers
work=$root/build/peers
venv=$work/venv
results=$work/results
started=()

stop_started() {
  for pid in "${started[@]:-}"; do
    [ -n "$pid" ] && kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
  done
  started=()
}
trap stop_started EXIT

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.2
  done
}

ours() {
  build_preset release || return 1
  for name in lookup load store; do
    build/release/kvtier bench "$name" --json >"$results/ours-$name.json" || return 1
  done
}

redis() {
  have redis-server || { skip "peer Redis: no redis-server (make deps with 'bench' installs it)"; return; }
  local folder
  folder=$(mktemp -d)
  redis-server --port 0 --unixsocket "$folder/redis.sock" --save "" --appendonly no --dir "$folder" \
    >"$work/redis.log" 2>&1 &
  local pid=$!
  started+=("$pid")
  if wait_for 10 test -S "$folder/redis.sock"; then
    python3 "$drivers/redis_driver.py" "$folder/redis.sock" "$pid" >"$results/redis.json" ||
      { rm -f "$results/redis.json"; skip "peer Redis: its driver failed"; }
  else
    skip "peer Redis: it did not start"
  fi
  stop_started
  rm -rf "$folder"
}

venv_python() {
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv" >"$work/venv.log" 2>&1
}

# try_pip LOG PACKAGE...
try_pip() {
  local log=$1
  shift
  venv_python && "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >"$log" 2>&1
}

mooncake() {
  try_pip "$work/mooncake-pip.log" --no-deps "$mooncake_package" ||
    { skip "peer Mooncake: pip has no $mooncake_package here"; return; }
  local package
  package=$("$venv/bin/python" -c 'import mooncake, os; print(list(mooncake.__path__)[0])' 2>/dev/null) ||
    { skip "peer Mooncake: the package does not import"; return; }
  # What it links to and Debian may lack, unpacked here and not installed.
  if [ ! -d "$work/libraries" ]; then
    mkdir -p "$work/libraries"
    (cd "$work/libraries" && apt-get download -qq libibverbs1 librdmacm1 libnuma1 libnl-3-200 libnl-route-3-200 &&
      for file in *.deb; do dpkg-deb -x "$file" .; done) >"$work/mooncake-libraries.log" 2>&1 || rm -rf "$work/libraries"
  fi
  export LD_LIBRARY_PATH=$package:$work/libraries/usr/lib/x86_64-linux-gnu:$work/libraries/lib/x86_64-linux-gnu
  local master=127.0.0.1:50151 client=127.0.0.1:50152 pids
  "$package/mooncake_master" --rpc_port=50151 --rpc_address=127.0.0.1 --metrics_host=127.0.0.1 \
    --metrics_port=9103 >"$work/mooncake-master.log" 2>&1 &
  started+=($!)
  pids=$!
  sleep 2
  "$package/mooncake_client" --host=127.0.0.1 --port=50152 --global_segment_size="3 GB" \
    --master_server_address="$master" --metadata_server=P2PHANDSHAKE --protocol=tcp --threads=2 \
    >"$work/mooncake-client.log" 2>&1 &
  started+=($!)
  pids=$pids,$!
  sleep 5
  timeout 300 "$venv/bin/python" "$drivers/mooncake_driver.py" "$master" "$client" "$pids" \
    2>"$work/mooncake-driver.log" | grep '^{' >"$results/mooncake.json" ||
    { rm -f "$results/mooncake.json"; skip "peer Mooncake: its processes did not work here"; }
  stop_started
  unset LD_LIBRARY_PATH
}

lmcache() {
  local free_gib
  free_gib=$(df --output=avail -BG "$work" | tail -1 | tr -dc 0-9)
  [ "$free_gib" -ge 12 ] || { skip "peer LMCache: needs 12 GiB of disk, $free_gib are free"; return; }
  try_pip "$work/lmcache-pip.log" "$lmcache_package" ||
    { skip "peer LMCache: pip has no $lmcache_package here, or not what it needs"; return; }
  export LMCACHE_TRACK_USAGE=false DO_NOT_TRACK=1 LMCACHE_LOG_LEVEL=ERROR OMP_NUM_THREADS=2
  "$venv/bin/lmcache" server --host 127.0.0.1 --port 5655 --http-host 127.0.0.1 --http-port 8180 \
    --l1-size-gb 5 --eviction-policy LRU --disable-observability --supported-transfer-mode auto \
    --shm-name "kvtier_peer_$$" --no-l1-use-lazy >"$work/lmcache-server.log" 2>&1 &
  started+=($!)
  local pid=$!
  if wait_for 90 grep -q "server is running" "$work/lmcache-server.log"; then
    timeout 400 "$venv/bin/python" "$drivers/lmcache_driver.py" tcp://127.0.0.1:5655 "$pid" \
      2>"$work/lmcache-driver.log" | grep '^{' >"$results/lmcache.json" ||
      { rm -f "$results/lmcache.json"; skip "peer LMCache: its driver failed"; }
  else
    skip "peer LMCache: its server did not start"
  fi
  stop_started
}

report_begin
have python3 || fail "python3 is needed to drive the peers"
mkdir -p "$results"
rm -f "$results"/*.json
stage "ours" ours
for peer in ${PEERS:-redis mooncake lmcache}; do
  case $peer in
    redis | mooncake | lmcache) stage "peer $peer" "$peer" ;;
    *) fail "unknown peer '$peer'; there are redis, mooncake, lmcache" ;;
  esac
done
tools/scripts/bench_report.py --peers "$results" docs/benchmarks/peers.md
report_end
