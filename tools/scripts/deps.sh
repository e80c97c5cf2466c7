#!/usr/bin/env bash
# Installs the Debian packages that are missing, and nothing else: lists them first, leaves no service of
# theirs running or enabled, puts kernel settings back. Needs no network when everything is there.
#
# Usage: deps.sh [build] [test] [bench] [fuzz] [engines]     (default: build test)
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

build_packages=(g++ make cmake ninja-build ccache pkg-config git util-linux
  libboost-dev libspdlog-dev libtomlplusplus-dev nlohmann-json3-dev libcli11-dev
  libxxhash-dev libzstd-dev librocksdb-dev liburing-dev libgtest-dev libgmock-dev)
test_packages=(clang-format-14 clang-tidy-14 python3 zstd scdoc procps
  systemd systemd-container dbus dpkg-dev lintian)
bench_packages=(redis-server)
fuzz_packages=(clang-14 llvm-14)
engine_packages=(python3 python3-venv python3-dev binutils)

[ $# -gt 0 ] || set -- build test
wanted=()
for set_name in "$@"; do
  case $set_name in
    build) wanted+=("${build_packages[@]}") ;;
    test) wanted+=("${test_packages[@]}") ;;
    bench) wanted+=("${bench_packages[@]}") ;;
    fuzz) wanted+=("${fuzz_packages[@]}") ;;
    engines) wanted+=("${engine_packages[@]}") ;;
    *) fail "unknown set '$set_name'; use build, test, bench, fuzz or engines" ;;
  esac
done

have dpkg-query || fail "this is not Debian (no dpkg); install the equivalents of: ${wanted[*]}"

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  say "deps: all ${#wanted[@]} packages are installed."
  exit 0
fi

say "deps: ${#missing[@]} of ${#wanted[@]} packages are missing and will be installed:"
printf '  %s\n' "${missing[@]}"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  have sudo || fail "not root and no sudo; as root: apt-get install --no-install-recommends ${missing[*]}"
  as_root=(sudo)
fi

work=$(mktemp -d)

# Writable settings only; those that change by themselves are left out.
kernel_settings() {
  find /proc/sys/vm /proc/sys/kernel /proc/sys/fs /proc/sys/net/core /proc/sys/net/ipv4 \
    /sys/kernel/mm/transparent_hugepage -maxdepth 1 -type f -perm -u=r,u=w 2>/dev/null |
    grep -vE '/(ns_last_pid|drop_caches|compact_memory|stat_refresh|msg_next_id|sem_next_id|shm_next_id|tainted|perf_.*)$' |
    sort | while read -r file; do
      printf '%s\t%s\n' "$file" "$(tr '\t\n' '  ' 2>/dev/null <"$file")"
    done
}

running_services() {
  [ -d /run/systemd/system ] || return 0
  systemctl list-units --type=service --state=running --no-legend --plain | awk '{print $1}' | sort
}

# What starts at boot: units that a target wants, and scripts of the older kind.
enabled_services() {
  find /etc/systemd/system -path '*.wants/*.service' 2>/dev/null | sed 's|.*/\(.*\)\.service$|\1|'
  find /etc/rc[2-5].d -name 'S*' 2>/dev/null | sed 's|.*/S[0-9]*||'
}

disable_service() {
  if have systemctl; then
    "${as_root[@]}" systemctl disable --quiet "$1" || true
  fi
  if have update-rc.d && [ -e "/etc/init.d/$1" ]; then
    "${as_root[@]}" update-rc.d "$1" disable
  fi
}

policy=/usr/sbin/policy-rc.d
put_back() {
  if [ -e "$work/policy-rc.d" ]; then
    "${as_root[@]}" cp -p "$work/policy-rc.d" "$policy"
  elif [ -e "$work/policy-written" ]; then
    "${as_root[@]}" rm -f "$policy"
  fi
  rm -rf "$work"
}
trap put_back EXIT

kernel_settings >"$work/kernel-before"
running_services >"$work/running-before"
enabled_services | sort -u >"$work/enabled-before"

# 101 tells every maintainer script that no service may be started.
if [ -e "$policy" ]; then
  cp -p "$policy" "$work/policy-rc.d"
fi
printf '#!/bin/sh\nexit 101\n' >"$work/deny"
touch "$work/policy-written"
"${as_root[@]}" install -m 0755 "$work/deny" "$policy"

apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0)
"${apt[@]}" update || say "deps: apt-get update did not reach every source; going on with what is known"
"${apt[@]}" install --no-install-recommends "${missing[@]}"

running_services | comm -13 "$work/running-before" - | while read -r service; do
  say "deps: stopping $service"
  "${as_root[@]}" systemctl stop "$service"
done
enabled_services | sort -u | comm -13 "$work/enabled-before" - | while read -r service; do
  say "deps: $service will not start at boot"
  disable_service "$service"
done

kernel_settings | comm -13 "$work/kernel-before" - | while IFS=$'\t' read -r file _; do
  before=$(awk -F'\t' -v file="$file" '$1 == file {print $2}' "$work/kernel-before")
  [ -n "$before" ] || continue
  case $file in
    # Shown as "always [madvise] never"; written as the bracketed word.
    /sys/*) before=$(printf '%s' "$before" | sed -n 's/.*\[\(.*\)\].*/\1/p') ;;
  esac
  say "deps: putting $file back"
  printf '%s' "$before" | "${as_root[@]}" tee "$file" >/dev/null || true
done
say "deps: installed ${#missing[@]} packages; no service was started."
