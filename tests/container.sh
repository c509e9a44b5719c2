#!/usr/bin/env bash
# tests/container.sh [WORK]: builds the image of deploy/Dockerfile and talks to it.
#
# Without a daemon and without a registry: debootstrap makes the base that stands in for
# debian:bookworm-slim, buildah builds the Dockerfile unchanged, and crun runs the result in a network of its own,
# without capabilities and on files that cannot be written to, as `docker run --read-only --cap-drop ALL` would. Then
# clients outside the container, grpcio and the openai package, stream tokens from it.
# Needs root, debootstrap, buildah, crun, python3-grpcio, protobuf-compiler-grpc, a Debian mirror, and
# build/test-venv (./test makes it; or PYTHON=a Python with openai). WORK keeps the base and the
# image between runs; by default a temporary folder, removed afterwards.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$source/build/test-venv/bin/python}
"$python" -c 'import openai'
if [ $# -gt 0 ]; then
  work=$1
  mkdir -p "$work"
else
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
fi
buildah() { command buildah --storage-driver vfs --root "$work/store" --runroot "$work/run" "$@"; }

started=$SECONDS
if [ ! -e "$work/base/etc/debian_version" ]; then
  debootstrap --variant=minbase bookworm "$work/base" >/dev/null
  # The mirror, name service and certificates of this machine.
  cp /etc/resolv.conf /etc/hosts "$work/base/etc/"
  cp -a /etc/apt/apt.conf.d/. "$work/base/etc/apt/apt.conf.d/"
  mkdir -p "$work/base/usr/local/share/ca-certificates"
  cp -L /usr/local/share/ca-certificates/*.crt "$work/base/usr/local/share/ca-certificates/" \
    2>/dev/null || true
fi
base=$(buildah from scratch)
buildah copy --quiet "$base" "$work/base" / >/dev/null
buildah commit --quiet --rm "$base" localhost/base >/dev/null
echo "== base: $((SECONDS - started)) s"

started=$SECONDS
buildah bud --quiet --layers --isolation chroot --network host --pull-never --format docker \
  --build-arg BASE=localhost/base -f "$source/deploy/Dockerfile" -t deltaserve "$source"
echo "== image: $((SECONDS - started)) s"
container=$(buildah from --pull-never localhost/deltaserve)
root=$(buildah mount "$container")
echo "== image's files: $(du -sm "$root" | cut -f 1) MiB, of them the base: $(du -sm "$work/base" | cut -f 1) MiB"

buildah inspect --type image localhost/deltaserve >"$work/image.json"
# One word a line of a list in the image's configuration, or a single value.
config() {
  "$python" - "$work/image.json" "$1" <<'PRINT'
import functools, json, sys
image = json.load(open(sys.argv[1]))["Docker"]["config"]
value = functools.reduce(dict.__getitem__, sys.argv[2].split("."), image)
print("\n".join([value] if isinstance(value, str) else value))
PRINT
}
mapfile -t health < <(config Healthcheck.Test)
[ "$(config User)" = 10001 ] || { echo "the image's user is $(config User)" >&2; exit 1; }

mkdir -p "$work/stubs"
protoc -I "$source/proto" --python_out="$work/stubs" --grpc_out="$work/stubs" \
  --plugin=protoc-gen-grpc="$(command -v grpc_python_plugin)" deltaserve.proto

# The bundle of an OCI runtime: the image's files and its configuration, with the restrictions of `docker run --read-only
# --cap-drop ALL`, the command of deploy/GALLERY.md, and in the network namespace of its caller.
mkdir -p "$work/bundle"
rm -f "$work/bundle/config.json"
(cd "$work/bundle" && crun spec)
"$python" - "$work" "$root" <<'BUNDLE'
import json, sys
work, root = sys.argv[1:]
image = json.load(open(work + "/image.json"))["Docker"]["config"]
spec = json.load(open(work + "/bundle/config.json"))
user = int(image["User"])
spec["process"] |= {"terminal": False, "noNewPrivileges": True, "user": {"uid": user, "gid": user},
                    "env": image["Env"], "args": image["Entrypoint"] + image["Cmd"],
                    "capabilities": dict.fromkeys(spec["process"]["capabilities"], [])}
spec["process"].pop("rlimits", None)
spec["root"] = {"path": root, "readonly": True}
spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "network"]
json.dump(spec, open(work + "/bundle/config.json", "w"))
BUNDLE

crun() { command crun --root "$work/crun" --cgroup-manager=disabled "$@"; }
talk() {
  ip link set lo up
  mount -t tmpfs none /sys/fs/cgroup  # crun 1.8 refuses a machine with both versions of control groups
  crun run --bundle "$work/bundle" try >"$work/server.log" 2>&1 &
  server=$!
  trap 'crun kill try KILL 2>/dev/null || true' EXIT
  for _ in $(seq 300); do
    grep -q '^listening on' "$work/server.log" && break
    kill -0 "$server" || { cat "$work/server.log"; exit 1; }
    sleep 0.1
  done
  cat "$work/server.log"
  crun exec try "${health[@]:1}"
  echo "== health check: ok"
  "$python" "$source/tests/container/openai_client.py" http://127.0.0.1:8080
  /usr/bin/python3 "$source/tests/container/grpc_client.py" 127.0.0.1:50051 "$work/stubs"
  status=$(crun exec try cat /proc/1/status)
  for line in 'Uid:.*10001.*10001' 'CapEff:.*0000000000000000' 'CapBnd:.*0000000000000000' 'NoNewPrivs:.*1'; do
    grep -q "^$line" <<<"$status" || { echo "the process does not have $line"; exit 1; }
  done
  for folder in / /tmp /models /var/cache/huggingface; do
    if crun exec try bash -c ": >$folder/written" 2>/dev/null; then
      echo "$folder can be written to"
      exit 1
    fi
  done
  echo "== runs as user 10001, without capabilities, on files that it cannot write"
  crun kill try TERM
  wait "$server"
  echo "== SIGTERM: ended with 0"
}
export -f talk crun
export work source python
started=$SECONDS
unshare --net --mount bash -euo pipefail -c "$(declare -p health); talk"
echo "== clients: $((SECONDS - started)) s"
