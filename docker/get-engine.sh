#!/usr/bin/env bash
# Installs the engine into a folder of the image: get-engine.sh FOLDER
#
# FOLDER/engine    a virtual environment with bpy, numpy and the VRM add-on, as blender/requirements.txt pins them; or
# FOLDER/blender   a full Blender with the add-on, if BLENDER_TARBALL names one (a URL, or a file in docker/);
#                  BLENDER_SHA256 is its checksum.
set -euo pipefail
folder=$1
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/../blender/requirements.txt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3.11 -m venv "$work/pip"
install() {
    "$work/pip/bin/pip" "${@:2}" install --no-input --disable-pip-version-check --no-cache-dir --quiet \
        --no-deps --require-hashes --only-binary :all: -r "$1"
}

# Prints the requirement of the add-on; a full Blender has the other packages.
only_addon() {
    awk '/^[^ #]/ { wanted = /^bpy-vrm-format==/ } wanted' "$requirements"
}

if [ -z "${BLENDER_TARBALL:-}" ]; then
    python3.11 -m venv --without-pip "$folder/engine"
    install "$requirements" --python "$folder/engine/bin/python"
    "$here/prune-engine.sh" "$folder/engine"
    exit
fi

case $BLENDER_TARBALL in
    *://*) tarball=$work/blender.tar
        python3.11 -c 'import sys, urllib.request as r; r.urlretrieve(*sys.argv[1:])' "$BLENDER_TARBALL" "$tarball" ;;
    *) tarball=$here/$BLENDER_TARBALL ;;
esac
if ! echo "${BLENDER_SHA256:?must be the checksum of BLENDER_TARBALL}  $tarball" | sha256sum --check --quiet; then
    echo "BLENDER_TARBALL does not have the checksum BLENDER_SHA256" >&2
    exit 1
fi
mkdir -p "$folder/blender"
tar --extract --file "$tarball" --directory "$folder/blender" --strip-components 1 --no-same-owner
addons=$(echo "$folder"/blender/[0-9]*/scripts/addons_core)
only_addon >"$work/addon.txt"
python3.11 -m venv --without-pip "$work/addon"
install "$work/addon.txt" --python "$work/addon/bin/python"
mv "$work"/addon/lib/python3.11/site-packages/io_scene_vrm "$addons/"
