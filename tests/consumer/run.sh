#!/usr/bin/env bash
# Installs the library and its headers into a fresh folder and builds programs of others against it: with the
# CMake package, with pkg-config, and in C11. Runs each without a daemon, then uninstalls and looks at what is left.
#
# Usage: run.sh BUILD_DIR     (CC and CXX name the compilers; everything it writes goes away)
set -euo pipefail

build=$(cd "$1" && pwd)
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
here=$source_dir/tests/consumer
cc=${CC:-gcc}
cxx=${CXX:-g++}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage

say() { printf '%s\n' "$*"; }
die() { say "consumer: $*" >&2; exit 1; }

for component in library development; do
  cmake --install "$build" --prefix "$stage" --component $component >/dev/null
done
lib=$(dirname "$(find "$stage" -name libkvtier.so.0)")
[ -n "$lib" ] || die "no libkvtier.so.0 was installed"

# Nothing of the source tree may be needed: neither its headers nor its paths.
if grep -rIl "$source_dir" "$stage"; then die "these installed files name the source tree"; fi
if grep -rEl '#include "(kernels|client|daemon|tools)/' "$stage/include"; then
  die "these installed headers include files that are not installed"
fi

run() {
  local name=$1
  shift
  say "-- $name"
  timeout 20 env LD_LIBRARY_PATH="$lib" KVTIER_SOCKET=/nonexistent/kvtier.sock "$@" ||
    die "$name ended with $?"
}

cmake -S "$here/cmake" -B "$work/cmake" -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_PREFIX_PATH="$stage" >"$work/log" 2>&1 || { cat "$work/log"; die "find_package failed"; }
cmake --build "$work/cmake" >"$work/log" 2>&1 || { cat "$work/log"; die "the CMake consumer does not build"; }
run "C++ with find_package" "$work/cmake/consumer"

# A minor version that does not exist must be refused.
sed 's/find_package(kvtier 0.1 /find_package(kvtier 0.99 /' "$here/cmake/CMakeLists.txt" >"$work/CMakeLists.txt"
if cmake -S "$work" -B "$work/refused" -DCMAKE_PREFIX_PATH="$stage" >"$work/log" 2>&1; then
  die "find_package(kvtier 0.99) was accepted"
fi
grep -q 'version: 0.1' "$work/log" || { cat "$work/log"; die "the refusal does not name the version found"; }

export PKG_CONFIG_PATH=$lib/pkgconfig
read -ra flags <<<"$(pkg-config --cflags --libs kvtier)"
[ "$(pkg-config --modversion kvtier)" = "$(sed -n 's/#define KVTIER_VERSION "\(.*\)"/\1/p' \
  "$stage/include/kvtier/version.hpp")" ] || die "pkg-config and version.hpp differ"

"$cxx" -std=c++20 -Wall -Wextra -Wpedantic -Werror -o "$work/consumer_cpp" "$here/consumer.cpp" "${flags[@]}"
run "C++ with pkg-config" "$work/consumer_cpp"

"$cc" -std=c11 -Wall -Wextra -Wpedantic -Werror -o "$work/consumer_c" "$here/consumer.c" "${flags[@]}"
run "C11 with pkg-config" "$work/consumer_c"

manifest=$work/manifest.txt
# CMake writes no newline at the end of a manifest; sed adds it.
# shellcheck disable=SC1003
sed -e '$a\' "$build/install_manifest_library.txt" >"$manifest"
cat "$build/install_manifest_development.txt" >>"$manifest"
"$source_dir/tools/scripts/uninstall.sh" "$manifest"
rm -f "$build"/install_manifest_{library,development}.txt
left=$(find "$stage" -type f -o -type l)
[ -z "$left" ] || die "uninstall left: $left"
say "consumer: three programs built and ran; uninstall left nothing."
