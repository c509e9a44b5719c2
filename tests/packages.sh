#!/usr/bin/env bash
# tests/packages.sh PACKAGES [WORK [SYSTEM...]]: tries the packages of deploy/make_packages.sh, which are in the
# folder PACKAGES, on bare systems: Debian 12, Debian 13 and Ubuntu 24.04 (bookworm, trixie, noble).
#
# debootstrap makes each system once; WORK keeps them between runs (default: a temporary folder, removed
# afterwards). In a copy of each, tests/packages/inside.sh installs, uses and removes the packages, in namespaces
# of its own, and says how long each step took. Needs root, debootstrap and mirrors of Debian and Ubuntu.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
packages=$(realpath "$1")
if [ $# -gt 1 ]; then
  work=$2
  mkdir -p "$work"
  work=$(realpath "$work")
  shift 2
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  shift
fi
[ $# -gt 0 ] || set -- bookworm trixie noble

# make_base SYSTEM: leaves the system in $work/SYSTEM.tar.
make_base() {
  local system=$1 folder=$work/base options=()
  rm -rf "$folder"
  case "$system" in
    # Debian's debootstrap knows neither noble nor Ubuntu's key. All Ubuntus since jammy are made alike.
    noble) options=(--no-check-gpg --components=main,universe noble "$folder" http://archive.ubuntu.com/ubuntu
      /usr/share/debootstrap/scripts/jammy) ;;
    *) options=("$system" "$folder") ;;
  esac
  debootstrap --variant=minbase "${options[@]}" >"$work/$system.debootstrap.log" ||
    { tail "$work/$system.debootstrap.log"; return 1; }
  tar -C "$folder" -cf "$work/$system.tar.new" .
  mv "$work/$system.tar.new" "$work/$system.tar"
  rm -rf "$folder"
}

for system in "$@"; do
  echo "=== $system"
  [ -e "$work/$system.tar" ] || make_base "$system"
  root=$work/root
  rm -rf "$root"
  mkdir "$root"
  tar -C "$root" -xf "$work/$system.tar"
  # The mirror, name service and certificates of this machine.
  cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
  cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
  mkdir -p "$root/usr/local/share/ca-certificates" "$root/given"
  cp -L /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
  cp "$packages"/*.deb "$packages"/*.whl "$source"/tests/packages/* "$root/given/"
  unshare --mount --pid --fork --kill-child bash -c "
    mount -t proc proc '$root/proc'
    mount --rbind /dev '$root/dev'
    chroot '$root' /bin/bash /given/inside.sh"
  rm -rf "$root"
done
