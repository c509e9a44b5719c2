#!/usr/bin/env bash
# Runs inside a system that systemd has booted: installs the package in /given and uses its service. tests/packages.sh
# starts it.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8

expect() {
  "$@" || { echo "this does not hold: $*"; systemctl status --no-pager deltaserve || true; exit 1; }
}

pid() { systemctl show --property MainPID --value deltaserve; }

# Waits until the service has another process than $1, which takes requests, and asks it for a completion.
answers() {
  local body='{"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}' reply
  for _ in $(seq 600); do
    if [ "$(pid)" != 0 ] && [ "$(pid)" != "${1-}" ] && exec 3<>/dev/tcp/127.0.0.1/8080; then break; fi
    sleep 0.1
  done 2>/dev/null
  printf 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
    "${#body}" "$body" >&3
  reply=$(cat <&3)
  exec 3>&-
  [[ $reply == *'little girl named'* ]] || { echo "$reply"; return 1; }
}

dpkg --install /given/deltaserve_*.deb >/dev/null
expect test "$(systemctl is-enabled deltaserve)" = disabled
expect test "$(systemctl is-active deltaserve)" = inactive

systemctl --quiet enable --now deltaserve
expect answers
expect test "$(ps -o user= -p "$(pid)")" = deltaserve
echo "== systemctl enable --now: serves"
first=$(pid)
systemctl reload deltaserve
expect answers
expect test "$(pid)" = "$first"
echo "== systemctl reload: the same process"
kill -KILL "$first"
expect answers "$first"
echo "== a process that is killed: restarted"
second=$(pid)
dpkg --install /given/deltaserve_*.deb >/dev/null
expect answers "$second"
echo "== an upgrade: restarted"
systemctl stop deltaserve
expect test "$(systemctl show --property Result --value deltaserve)" = success
expect test "$(systemctl is-failed deltaserve)" = inactive
echo "== systemctl stop: ended with 0"
systemctl start deltaserve
expect answers
dpkg --purge deltaserve >/dev/null
expect test -z "$(pgrep -x deltaserve)"
expect test ! -e /etc/systemd/system/multi-user.target.wants/deltaserve.service
echo "== purged: stopped and disabled"
