#!/usr/bin/env bash
# tests/fresh_machine.sh [--run-only] [ROOT]: tries the README's two commands on a bare Debian 12.
#
# Makes a minimal Debian in the folder ROOT (default: a temporary one, removed afterwards) with
# debootstrap, clones the committed tree into it, and runs `./run --build-only`, one
# completion, and `./test` (not with --run-only) there, in namespaces of their own. For each it prints the seconds,
# and the seconds of CPU time, which depend less on what else the machine does; for `./run --build-only` it prints
# those of the packages, too. Needs root, debootstrap and a Debian mirror.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
run_only=false
if [ "${1-}" = --run-only ]; then
  run_only=true
  shift
fi
if [ $# -gt 0 ]; then
  root=$1
else
  root=$(mktemp -d)
  trap 'rm -rf "$root"' EXIT
fi

[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase bookworm "$root" >/dev/null
# The mirror, name service and certificates of this machine.
cp /etc/resolv.conf /etc/hosts "$root/etc/"
cp -a /etc/apt/apt.conf.d/. "$root/etc/apt/apt.conf.d/"
mkdir -p "$root/usr/local/share/ca-certificates"
cp -L /usr/local/share/ca-certificates/*.crt "$root/usr/local/share/ca-certificates/" 2>/dev/null || true
rm -rf "$root/src"
git clone --quiet --no-hardlinks "$source" "$root/src"

cat >"$root/inside.sh" <<'INSIDE'
set -euo pipefail
export HOME=/root DEBIAN_FRONTEND=noninteractive
update-ca-certificates >/dev/null 2>&1 || true  # with the host's own; on a new root, apt does it
ip link set lo up 2>/dev/null || true
cd /src
# timed COMMAND...: runs it, and prints how long it took and how much of the processors' time.
timed() {
  local TIMEFORMAT="== $*: %0R s, of CPU time %0U s user and %0S s system"
  time "$@"
}
# ./run would do this itself; on its own it shows what the packages take.
timed deploy/install_packages.sh deploy/debian12-packages.txt
timed ./run --build-only
build/release/bin/deltaserve serve --model models/bundled &
server=$!
for _ in $(seq 100); do
  grep -q ':1F90 ' /proc/net/tcp && break
  sleep 0.1
done
exec 3<>/dev/tcp/127.0.0.1/8080
body='{"model": "bundled", "prompt": "Once upon a time", "max_tokens": 24, "temperature": 0}'
printf 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
  "${#body}" "$body" >&3
cat <&3
echo
kill "$server"
wait "$server"
if [ "$1" = false ]; then timed ./test; fi
INSIDE
unshare --mount --pid --fork --kill-child bash -c "
  mount -t proc proc '$root/proc'
  mount --rbind /dev '$root/dev'
  chroot '$root' /bin/bash /inside.sh $run_only"
