#!/usr/bin/env bash
# clang_tidy.sh BUILD_DIR: clang-tidy (.clang-tidy) on every file of the product. What BUILD_DIR compiles together
# (DELTASERVE_UNITY) is checked together. CUDA's kernels are checked as the emulation of the tests compiles them,
# but for those files that only nvcc understands (*_device.cc); the compile gate is theirs. Fails if BUILD_DIR
# compiles neither a file nor a file that includes it.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$1

# Prints the files that BUILD_DIR compiles.
compiled() {
  sed -n 's/^ *"file": "\(.*\)",*$/\1/p' "$build/compile_commands.json" | sort -u
}
cmake --build "$build" --target page_files  # the page as a source, which no fuzzer needs
mapfile -t together < <(compiled | grep /Unity/)
[ ${#together[@]} -gt 0 ] || { echo "clang_tidy.sh: $build compiles no files together" >&2; exit 1; }
included=$(sed -n "s|^#include \"$PWD/\(.*\)\"$|\1|p" "${together[@]}" | sort)
alone=$(compiled | sed -n "s#^$PWD/\(\(kernels\|models\|engine\|server\)/.*\)\$#\1#p" | grep -v ^kernels/cuda/ |
  comm -23 - <(echo "$included"))
cuda=$(find kernels/cuda -name '*.cc' ! -name '*_device.cc' | sort)

product=$(find kernels models engine server -name '*.cc' ! -name '*_device.cc' | sort)
missing=$(comm -23 <(echo "$product") <(printf '%s\n' "$included" "$alone" "$cuda" | sort))
[ -z "$missing" ] || { echo "clang_tidy.sh: $build does not compile" $missing >&2; exit 1; }

check() { xargs -P "$(nproc)" -n 1 "$@"; }

# GCC's warnings are no warnings of clang.
printf '%s\n' "${together[@]}" $alone |
  check clang-tidy -p "$build" --quiet --extra-arg=-Wno-unknown-warning-option --extra-arg=-Wreserved-identifier
# One process for each file: the arguments after the dashes are those of the compiler.
printf '%s\n' $cuda | check sh -c 'exec clang-tidy --quiet "$0" -- -std=c++20 -I. -Wreserved-identifier'
