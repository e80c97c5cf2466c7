#!/usr/bin/env bash
# `make uninstall`: removes exactly the files that the last `make install` of this build placed, then the
# folders of kvtier's own that are empty. Never touches configuration or data.
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

manifest=${1:-build/release/install_manifest.txt}
[ -f "$manifest" ] || fail "no $manifest: nothing was installed from this build"
removed=0
while IFS= read -r file || [ -n "$file" ]; do
  file=${DESTDIR:-}$file
  if [ -e "$file" ] || [ -L "$file" ]; then
    rm -f -- "$file"
    removed=$((removed + 1))
  fi
  # Folders named kvtier, and those in them; what others share (include/, share/doc/) stays.
  folder=$(dirname "$file")
  while case $folder in */kvtier | */kvtier/*) true ;; *) false ;; esac; do
    rmdir -- "$folder" 2>/dev/null || break
    folder=$(dirname "$folder")
  done
done <"$manifest"
rm -f -- "$manifest"
[ "$(id -u)" -ne 0 ] || [ -n "${DESTDIR:-}" ] || ldconfig
say "uninstall: $removed files removed."
