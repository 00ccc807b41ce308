#!/usr/bin/env bash
# Installs the engine's Debian packages into the image: Python, X client libraries, certificates, and an init.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
work=$(mktemp -d)
chmod 755 "$work"
trap 'rm -rf "$work"' EXIT

# Blender links libGL, which depends on a driver: mesa, with a compiler of 110 MB. Conversions never draw, so an
# empty package provides the driver.
mkdir -p "$work/nothing/DEBIAN"
cat >"$work/nothing/DEBIAN/control" <<'CONTROL'
Package: meshgate-no-driver
Version: 1
Architecture: all
Provides: libglx-mesa0
Maintainer: Meshgate
Description: stands for a driver of OpenGL where nothing is drawn
CONTROL
dpkg-deb --build "$work/nothing" "$work/meshgate-no-driver.deb" >/dev/null

apt-get update
apt-get install -y --no-install-recommends "$work/meshgate-no-driver.deb" ca-certificates python3.11 tini \
    libgl1 libsm6 libxfixes3 libxi6 libxkbcommon0 libxrender1
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log /var/log/alternatives.log
