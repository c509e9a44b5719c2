#!/usr/bin/env bash
# run_all.sh BIN_DIR TIME [FUZZER...]: every fuzzer in BIN_DIR, or those named, for that long, from the
# seeds in this folder; as many at a time as there are processors. TIME is in seconds, or in hours
# as 8h, which is for nights.
set -euo pipefail
bin=$(cd "$1" && pwd)
seconds=$2
[[ $seconds != *h ]] || seconds=$((${seconds%h} * 3600))
here=$(cd "$(dirname "$0")" && pwd)
shift 2
[ $# -gt 0 ] || set -- $(cd "$bin" && ls | grep '_fuzz$')

# Prints the output of a fuzzer in one piece, so that those of several do not mix.
run_one() {
  local name=${1%_fuzz} work said status=0
  work=$(mktemp -d)
  [ ! -d "$here/${name}_corpus" ] || cp -r "$here/${name}_corpus/." "$work"
  local dictionary="$here/$name.dict"
  [ -f "$dictionary" ] || dictionary="$here/json.dict"
  said=$(cd "$work" && "$bin/$1" -dict="$dictionary" -max_total_time="$seconds" -max_len=65536 \
           -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 "$work" 2>&1) || status=$?
  printf '%s: %s s\n%s\n' "$name" "$seconds" "$(tail -40 <<<"$said")"
  rm -rf "$work"
  return "$status"
}
export -f run_one
export bin seconds here
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'run_one {}'
