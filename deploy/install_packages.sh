#!/usr/bin/env bash
# install_packages.sh FILE...: installs the missing ones of the Debian packages that the files list.
# Does nothing, and needs no root, if all are installed.
set -euo pipefail

mapfile -t wanted < <(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@" | sort -u)
missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

elsewhere="On another system than Debian 12 use the container or a package: see deploy/README.md."
if ! command -v apt-get >/dev/null; then
  echo "There is no apt-get to install Debian's packages: ${missing[*]}. $elsewhere" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "These Debian packages are missing and only root can install them: ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get -qq update
"${as_root[@]}" apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null || {
  echo "apt could not install all of Debian 12's packages: ${missing[*]}. $elsewhere" >&2
  exit 1
}
