#!/usr/bin/env bash
# library_licences.sh FOLDER LIBRARY...: copies the copyright files of the Debian packages that the
# libraries come from into FOLDER, compressed, one per package.
set -euo pipefail
folder=$1
shift
mkdir -p "$folder"
paths=()
for library in "$@"; do
  # Debian links /lib to /usr/lib, and each package knows one of the two paths.
  real=$(realpath "$library")
  paths+=("/usr${real#/usr}" "${real#/usr}")
done
owners=$(dpkg-query -S "${paths[@]}" 2>/dev/null || true)
for library in "$@"; do
  owner=$(grep -m 1 -F "/$(basename "$(realpath "$library")")" <<<"$owners") ||
    { echo "$library belongs to no Debian package, so its licence is not known" >&2; exit 1; }
  package=${owner%%:*}
  gzip -9nc "/usr/share/doc/$package/copyright" >"$folder/$package.copyright.gz"
done
