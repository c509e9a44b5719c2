#!/usr/bin/env bash
# cuda_repository.sh TOOLKIT URL OUT: makes OUT a stand-in of NVIDIA's repository for Debian 12, which URL serves.
#
# It has the packages of deploy/debian12-cuda-packages.txt, the library of matmuls that they depend on, and the keyring
# that deploy/add_cuda_repository.sh fetches, all made of the toolkit in TOOLKIT (/usr/local/cuda-13.0). What they hold
# is less than the real ones, but their names, how they depend on each other and where their files lie are the same.
# Needs dpkg-dev.
set -euo pipefail
toolkit=$1 url=$2 out=$3
version=13.0.0-1
place=usr/local/cuda-13.0
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
rm -rf "$out"
mkdir -p "$out"

# package NAME VERSION DEPENDS: makes a package of the files in $packages/NAME.
package() {
  mkdir -p "$packages/$1/DEBIAN"
  {
    printf 'Package: %s\nVersion: %s\nArchitecture: %s\n' "$1" "$2" "${4:-amd64}"
    printf 'Maintainer: nobody <nobody@example.com>\nDescription: stand-in for tests\n'
    [ -z "$3" ] || printf 'Depends: %s\n' "$3"
  } >"$packages/$1/DEBIAN/control"
  dpkg-deb --root-owner-group -Znone --build "$packages/$1" "$out" >/dev/null
}

# files NAME FOLDER PATTERN...: puts files of the toolkit's FOLDER into the package.
files() {
  local name=$1 folder=$2
  shift 2
  mkdir -p "$packages/$name/$place/$folder"
  (cd "$toolkit/$folder" && find . -mindepth 1 -maxdepth 1 \( "$@" \) -print0) |
    xargs -0 -r -I {} cp -a "$toolkit/$folder/{}" "$packages/$name/$place/$folder/"
}

files cuda-nvcc-13-0 bin -name '*'
files cuda-nvcc-13-0 nvvm -name '*'
files cuda-cccl-13-0 include -name cccl -o -name thrust -o -name cub -o -name cuda -o -name nv
files cuda-cudart-dev-13-0 include ! -name cccl ! -name thrust ! -name cub ! -name cuda ! -name nv ! -name 'cublas*'
files cuda-cudart-dev-13-0 lib64 -name 'libcudart*' -o -name 'libcudadevrt*' -o -name 'libculibos*'
files libcublas-13-0 lib64 -name 'libcublasLt.so.*'
files libcublas-dev-13-0 lib64 -name 'libcublasLt.so'
files libcublas-dev-13-0 include -name 'cublas*'

# The library is found without a variable, as with the real packages.
config=cuda-toolkit-13-0-config-common
mkdir -p "$packages/$config/etc/ld.so.conf.d" "$packages/$config/usr/local" "$packages/$config/DEBIAN"
echo "/$place/lib64" >"$packages/$config/etc/ld.so.conf.d/cuda.conf"
ln -s cuda-13.0 "$packages/$config/usr/local/cuda"
mkdir -p "$packages/libcublas-13-0/DEBIAN"
printf '#!/bin/sh\nldconfig\n' >"$packages/libcublas-13-0/DEBIAN/postinst"
chmod 755 "$packages/libcublas-13-0/DEBIAN/postinst"

package "$config" "$version" ""
package cuda-cccl-13-0 "$version" ""
package cuda-cudart-dev-13-0 "$version" "cuda-cccl-13-0, $config"
package cuda-nvcc-13-0 "$version" "$config"
package libcublas-13-0 "$version" "$config"
package libcublas-dev-13-0 "$version" "libcublas-13-0"
mkdir -p "$packages/cuda-keyring/etc/apt/sources.list.d"
echo "deb [trusted=yes] $url ./" >"$packages/cuda-keyring/etc/apt/sources.list.d/cuda.list"
package cuda-keyring 1.1-1 "" all
(cd "$out" && dpkg-scanpackages --multiversion . 2>/dev/null >Packages)
