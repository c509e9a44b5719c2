#!/usr/bin/env bash
# run_all.sh BIN_DIR SECONDS: every fuzzer in BIN_DIR for that long, from the seeds in this folder.
set -euo pipefail
bin=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
for fuzzer in "$bin"/*_fuzz; do
  name=$(basename "$fuzzer" _fuzz)
  work=$(mktemp -d)
  [ ! -d "$here/${name}_corpus" ] || cp -r "$here/${name}_corpus/." "$work"
  dictionary="$here/$name.dict"
  [ -f "$dictionary" ] || dictionary="$here/json.dict"
  echo "$name: $2 s"
  (cd "$work" && "$fuzzer" -dict="$dictionary" -max_total_time="$2" -max_len=65536 -timeout=10 \
     -rss_limit_mb=2048 -print_final_stats=1 "$work" 2>&1 | tail -12)
  rm -rf "$work"
done
