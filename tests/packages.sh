#!/usr/bin/env bash
# tests/packages.sh PACKAGES [WORK [SYSTEM...]]: tries the packages of deploy/make_packages.sh, which are in the
# folder PACKAGES, on bare systems: Debian 12, Debian 13 and Ubuntu 24.04 (bookworm, trixie, noble).
#
# debootstrap makes each system once; WORK keeps them between runs (default: a temporary folder, removed
# afterwards). In a copy of each, tests/packages/inside.sh installs, uses and removes the packages, in namespaces
# of its own, and says how long each step took. Then systemd boots the copy in a container without a network, where
# tests/packages/service.sh uses the service. Needs root, debootstrap, systemd-nspawn, and mirrors of Debian and
# Ubuntu.
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

# boot_and_use_service: boots the system in $root with a unit that runs service.sh, then stops the system.
boot_and_use_service() {
  cat >"$root/etc/systemd/system/use-service.service" <<'UNIT'
[Unit]
After=network.target
[Service]
Type=oneshot
StandardOutput=file:/use-service.log
StandardError=inherit
ExecStart=/bin/bash -c '/given/service.sh && touch /use-service.passed'
ExecStopPost=/usr/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
UNIT
  ln -s ../use-service.service "$root/etc/systemd/system/multi-user.target.wants/"
  systemd-nspawn --quiet --directory "$root" --register=no --keep-unit --private-network --console=pipe --boot \
    </dev/null >"$work/boot.log" 2>&1 || true
  cat "$root/use-service.log"
  [ -e "$root/use-service.passed" ] || { tail "$work/boot.log"; return 1; }
}

# in_root COMMAND...: runs it in the system in $root.
in_root() {
  unshare --mount --pid --fork --kill-child bash -c '
    root=$1
    shift
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    chroot "$root" "$@"' in_root "$root" "$@"
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
  in_root /bin/bash /given/inside.sh
  # The package was purged, and the packages that it needs are still there.
  in_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends systemd systemd-sysv dbus \
    procps >/dev/null 2>&1
  boot_and_use_service
  rm -rf "$root"
done
