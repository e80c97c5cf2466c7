#!/usr/bin/env bash
# clang-tidy 14 with the checks of .clang-tidy: on the files that changed, or with --all on every file.
# Changed means against the merge base with origin/main, else (no such branch, or on it) against HEAD~1;
# a changed header is looked at through the source files that include it. A budget in seconds
# (KVTIER_TIDY_SECONDS, for changed files only) bounds the run; what it did not reach is reported.
set -euo pipefail
# shellcheck source=tools/scripts/lib.sh
. "$(dirname "$0")/lib.sh"

tidy=$(llvm14 clang-tidy)
if [ -z "$tidy" ]; then
  [ "${1:-}" != "--all" ] || fail "clang-tidy 14 is missing: run 'make deps'"
  skip "clang-tidy: no clang-tidy 14 on this machine"
  exit 0
fi
mkdir -p "$report_dir"
database=build/release
cmake --preset release >/dev/null

# Only files that the release build compiles have a command line.
grep -o '"file": "[^"]*"' $database/compile_commands.json | cut -d'"' -f4 |
  sed "s|^$root/||" | sort -u >"$report_dir/tidy-known.txt"

changed_files() {
  local base
  base=$(git merge-base HEAD origin/main 2>/dev/null || true)
  if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then
    base=$(git rev-parse --verify --quiet HEAD~1) || base=$(git hash-object -t tree /dev/null)
  fi
  { git diff --name-only --diff-filter=d "$base" -- '*.cpp' '*.hpp' '*.h'
    git ls-files --others --exclude-standard -- '*.cpp' '*.hpp' '*.h'; } | sort -u
}

if [ "${1:-}" = "--all" ]; then
  cp "$report_dir/tidy-known.txt" "$report_dir/tidy-files.txt"
  budget=0
elif git rev-parse --verify --quiet HEAD >/dev/null; then
  changed_files >"$report_dir/tidy-changed.txt"
  {
    grep '\.cpp$' "$report_dir/tidy-changed.txt" || true
    { grep -v '\.cpp$' "$report_dir/tidy-changed.txt" || true; } | while read -r header; do
      # One including file is enough to see the header; its own source file comes first.
      source=${header%.*}.cpp
      if [ -f "$source" ]; then
        say "$source"
      else
        git grep -l -F "${header#include/}\"" -- '*.cpp' | head -n 1 || true
      fi
    done
  } | sort -u | comm -12 - "$report_dir/tidy-known.txt" >"$report_dir/tidy-files.txt"
  budget=${KVTIER_TIDY_SECONDS:-420}
else
  skip "clang-tidy on changed files: this is no git checkout (make tidy looks at all)"
  exit 0
fi

count=$(wc -l <"$report_dir/tidy-files.txt")
if [ "$count" -eq 0 ]; then
  say "tidy: no C++ file changed."
  exit 0
fi
say "tidy: $count files"

export tidy database budget report_dir
tidy_started=$(date +%s)
export tidy_started
: >"$report_dir/tidy-late.txt"
one_file() {
  if [ "$budget" -gt 0 ] && [ $(($(date +%s) - tidy_started)) -gt "$budget" ]; then
    printf '%s\n' "$1" >>"$report_dir/tidy-late.txt"
    return 0
  fi
  local output
  # g++ warning names are unknown to clang; that is no finding.
  if ! output=$("$tidy" -p "$database" --quiet --extra-arg=-Wno-unknown-warning-option "$1" 2>/dev/null); then
    printf '%s\n' "$output"
    return 1
  fi
}
export -f one_file
# Shuffled with a fixed order, so that a spent budget does not always leave out the same folder's end.
shuf --random-source=<(yes) "$report_dir/tidy-files.txt" | tr '\n' '\0' |
  xargs -0 -n 1 -P "$jobs" bash -c 'one_file "$0"' ||
  fail "clang-tidy found something; a finding that is wrong is silenced where it stands, NOLINT(check): reason"
if [ -s "$report_dir/tidy-late.txt" ]; then
  skip "clang-tidy on $(wc -l <"$report_dir/tidy-late.txt") of $count changed files: the budget of $budget s was spent (make tidy looks at all)"
fi
say "tidy: clean."
