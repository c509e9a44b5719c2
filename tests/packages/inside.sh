#!/usr/bin/env bash
# Runs inside a bare system: installs, uses and removes the packages in /given. tests/packages.sh starts it.
set -euo pipefail
export HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
cd /tmp

# step WHAT COMMAND...: runs it, and says how long it took or shows what it wrote.
step() {
  local what=$1 started=${EPOCHREALTIME/./}
  shift
  "$@" >/tmp/step.log 2>&1 || { echo "== $what: failed"; tail -n 40 /tmp/step.log; exit 1; }
  echo "== $what: $(((${EPOCHREALTIME/./} - started) / 100000))" | sed -E 's/([0-9])$/.\1 s/; s/: \./: 0./'
}

expect() {
  "$@" || { echo "this does not hold: $*"; exit 1; }
}

serves() {
  grep -q '^listening on' /tmp/server.log
}

# Serves as the unit of the package does, asks for a completion over HTTP, and ends the server with SIGTERM.
serve_as_the_service() {
  local server reply
  runuser -u deltaserve -- deltaserve serve --config /etc/deltaserve/deltaserve.toml >/tmp/server.log 2>&1 &
  server=$!
  for _ in $(seq 600); do
    if serves; then break; fi
    kill -0 "$server" || { cat /tmp/server.log; return 1; }
    sleep 0.1
  done
  exec 3<>/dev/tcp/127.0.0.1/8080
  local body='{"prompt": "Once upon a time", "max_tokens": 8, "temperature": 0}'
  printf 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
    "${#body}" "$body" >&3
  reply=$(cat <&3)
  echo "$reply"
  [[ $reply == *'"model":"bundled"'*'little girl named'* || $reply == *'little girl named'*'"model":"bundled"'* ]]
  kill -TERM "$(pgrep -P "$server" -x deltaserve 2>/dev/null || pidof deltaserve)"
  wait "$server"
}

try_debian_package() {
  step "apt-get update" apt-get update
  step "apt-get install ./deltaserve.deb" apt-get install -y /given/deltaserve_*.deb
  expect getent passwd deltaserve >/dev/null
  expect test ! -e /etc/systemd/system/multi-user.target.wants/deltaserve.service
  # A minimal system may leave out manual pages and other documents of all packages.
  expect test -s /usr/share/bash-completion/completions/deltaserve
  step "serve, complete over HTTP, stop" serve_as_the_service
  step "generate" deltaserve generate --model bundled --prompt "Once upon a time" --max-tokens 8
  step "the same version again" apt-get install -y --reinstall /given/deltaserve_*.deb
  step "apt-get remove" apt-get remove -y deltaserve
  expect test -e /etc/deltaserve/deltaserve.toml
  expect test ! -e /usr/bin/deltaserve
  mkdir -p /var/cache/deltaserve/hub
  step "apt-get purge" apt-get purge -y deltaserve
  local left
  left=$(find / -xdev \( -path /given -o -path /tmp -o -path /proc -o -path /dev \) -prune -o -name '*deltaserve*' -print)
  [ -z "$left" ] || { echo "purging left: $left"; exit 1; }
}

try_wheel() {
  step "apt-get install python3-venv" apt-get install -y --no-install-recommends python3-venv ca-certificates
  step "python3 -m venv" python3 -m venv /tmp/venv
  step "pip install deltaserve.whl" /tmp/venv/bin/pip install --no-index /given/deltaserve-*.whl
  step "deltaserve generate" /tmp/venv/bin/deltaserve generate --model bundled --prompt "Once upon a time" --max-tokens 8
  step "with Server() as server" /tmp/venv/bin/python /given/use_wheel.py
  step "pip uninstall" /tmp/venv/bin/pip uninstall -y deltaserve
  local left
  left=$(find /tmp/venv -name '*deltaserve*')
  [ -z "$left" ] || { echo "uninstalling left: $left"; exit 1; }
}

ip link set lo up 2>/dev/null || true
grep PRETTY_NAME /etc/os-release
try_debian_package
try_wheel
