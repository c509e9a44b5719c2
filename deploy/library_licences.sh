#!/usr/bin/env bash
# library_licences.sh FOLDER LIBRARY...: copies into FOLDER the copyright files of the Debian packages that the
# libraries come from, one a package, compressed.
set -euo pipefail
folder=$1
shift
mkdir -p "$folder"
for library in "$@"; do
  # Libraries are linked from /lib to /usr/lib, and packages know either path.
  package=$(dpkg-query -S "*/$(basename "$(realpath "$library")")" | head -n 1 | cut -d : -f 1)
  gzip -9nc "/usr/share/doc/$package/copyright" >"$folder/$package.copyright.gz"
done
