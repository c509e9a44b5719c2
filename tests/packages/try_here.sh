#!/usr/bin/env bash
# try_here.sh BUILD: tries the packages in BUILD/packages and `cmake --install BUILD` on this machine, without
# installing anything outside a temporary folder. tests/packages.sh tries them for good, on bare systems.
set -euo pipefail
build=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
prompt=(--prompt "Once upon a time" --max-tokens 8 --temperature 0)

generates() {
  [[ $("$1" generate --model bundled "${prompt[@]}") == *"little girl named"* ]]
}

dpkg-deb --extract "$build"/packages/*.deb "$work/debian"
generates "$work/debian/usr/bin/deltaserve"
# The libraries that differ between releases come from the package and not from this machine.
outside=$(ldd "$work/debian/usr/bin/deltaserve" | grep -E 'lib(absl|boost|cares|gpr|grpc|hwy|re2|sentencepiece)' | grep -v "$work" || true)
[ -z "$outside" ] || { echo "not in the package: $outside"; exit 1; }
depends=$(dpkg-deb --field "$build"/packages/*.deb Depends)
if [[ $depends =~ lib(absl|boost|c-ares|cares|grpc|hwy|re2|sentencepiece) ]]; then
  echo "the package depends on a library of one release: $depends"
  exit 1
fi
echo "== the Debian package: ok, needs $depends"

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --no-index "$build"/packages/*.whl
"$work/venv/bin/python" "$here/use_wheel.py"
generates "$work/venv/bin/deltaserve"
echo "== the wheel: ok"

cmake --install "$build" --prefix "$work/installed" --strip >/dev/null
generates "$work/installed/bin/deltaserve"
# The tree can be moved.
mv "$work/installed" "$work/moved"
generates "$work/moved/bin/deltaserve"
for file in share/doc/deltaserve/LICENSE share/doc/deltaserve/THIRD_PARTY_NOTICES.md share/doc/deltaserve/README.md \
  share/doc/deltaserve/GALLERY.md share/deltaserve/proto/deltaserve.proto \
  lib/systemd/system/deltaserve.service share/man/man1/deltaserve.1.gz share/bash-completion/completions/deltaserve \
  share/zsh/vendor-completions/_deltaserve share/fish/vendor_completions.d/deltaserve.fish; do
  [ -s "$work/moved/$file" ] || { echo "cmake --install leaves out $file"; exit 1; }
  # The Debian package has its licence as its copyright, and compressed documents.
  [[ $file == */LICENSE ]] || ls "$work/debian/usr/$file"* >/dev/null || { echo "the Debian package leaves out $file"; exit 1; }
done
echo "== cmake --install: ok"
