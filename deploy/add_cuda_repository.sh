#!/usr/bin/env bash
# add_cuda_repository.sh URL: lets apt install packages of NVIDIA's repository at URL. Needs root.
set -euo pipefail

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install -y --no-install-recommends ca-certificates >/dev/null
keyring=$(mktemp --suffix .deb)
/usr/lib/apt/apt-helper download-file "$1/cuda-keyring_1.1-1_all.deb" "$keyring"
dpkg --install "$keyring" >/dev/null
rm "$keyring"
