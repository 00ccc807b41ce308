#!/usr/bin/env bash
# Removes the parts of an engine that no conversion uses: prune-engine.sh ENVIRONMENT
#
# A converter never renders. Files for rendering are removed; rendering libraries that Blender links are replaced by
# stubs of the same name, whose functions return 0: no such device. tests/deploy/ converts every pair of formats with
# the rest.
set -euo pipefail
packages=$1/lib/python3.11/site-packages
bpy=$packages/bpy
libraries=$bpy/lib
cd "$bpy"/[0-9]*
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Every pattern must match, so that renamed parts of a new Blender are noticed.
remove() {
    local path
    for path in "$@"; do
        [ -e "$path" ] || { echo "$path to prune does not exist" >&2; exit 1; }
        rm -rf "$path"
    done
}

# Cycles' kernels for graphics cards; its settings stay, since .blend files use them.
remove scripts/addons_core/cycles/{lib,shader,source}
# Assets to drag into a scene, rig generators, and add-ons for the user interface.
remove datafiles/assets/brushes datafiles/assets/nodes datafiles/studiolights
remove scripts/addons_core/{rigify,viewport_vr_preview} scripts/freestyle scripts/templates_*
# Python bindings; of USD's, conversions use only those that read layers.
remove python/lib/python3.11/site-packages/{MaterialX,OpenImageIO,PyOpenColorIO,oslquery,openvdb*}
cd python/lib/python3.11/site-packages/pxr
for module in *; do
    case $module in
        __init__.py | __pycache__ | Ar | Gf | Plug | Sdf | Tf | Trace | Ts | Vt | Work) ;;
        *) remove "$module" ;;
    esac
done
cd "$packages"
remove numpy/{f2py,distutils}
remove numpy/tests numpy/*/tests

# stub FILE: replaces FILE by a library that defines only the functions that others use.
stub() {
    local file=$libraries/$1 other
    nm --dynamic --defined-only "$file" | awk '{ print $3 }' | sort -u >"$work/defined"
    for other in "$bpy/__init__.so" "$libraries"/*.so*; do
        [ "$other" = "$file" ] || nm --dynamic --undefined-only "$other" | awk '{ print $2 }'
    done | sort -u | comm -12 - "$work/defined" >"$work/used"
    if ! [ -s "$work/used" ] || grep -q '^_Z' "$work/used"; then
        echo "$1 is not used, or not only through C functions" >&2
        exit 1
    fi
    sed 's/.*/.globl &\n.type &, @function\n&: xorl %eax, %eax\n ret/' "$work/used" >"$work/stub.s"
    echo '.section .note.GNU-stack, "", @progbits' >>"$work/stub.s"
    gcc -shared -nostdlib -Wl,-soname,"$1" -o "$file" "$work/stub.s"
}

# Denoising, oneAPI kernels, ray tracing. Devices are removed first, since they use the libraries.
remove "$libraries"/libOpenImageDenoise_device_*
stub libOpenImageDenoise.so.2
remove "$libraries"/libOpenImageDenoise_core.so.*
stub libcycles_kernel_oneapi_aot.so
stub libembree4.so.4

# Symbols for debuggers.
strip --strip-unneeded "$bpy/__init__.so"
