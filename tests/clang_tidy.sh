#!/usr/bin/env bash
# clang_tidy.sh BUILD_DIR: clang-tidy (.clang-tidy) on the layers whose files BUILD_DIR compiles together
# (DELTASERVE_UNITY) for a target that it has built. It does not see what is compiled file by file (kernels/,
# server/net, the OTLP exporter, engine/loop/model_runner.cc, models/base) or the HTTP and gRPC fronts, whose
# coroutines of Asio would take it minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1
mapfile -t files < <(sed -n 's/^ *"file": "\(.*\/Unity\/.*\)",*$/\1/p' "$build/compile_commands.json" |
                       grep -v -e /deltaserve_http.dir/ -e /deltaserve_grpc.dir/)
[ ${#files[@]} -gt 0 ] || { echo "clang_tidy.sh: $build compiles no files together" >&2; exit 1; }
# GCC's warnings are no warnings of clang.
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 1 \
  clang-tidy -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option
