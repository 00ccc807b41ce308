#!/usr/bin/env bash
# Takes out of an engine what no conversion uses: prune-engine.sh ENVIRONMENT
#
# A converter never renders. What only renderers need is removed; libraries that Blender is linked against for rendering
# are replaced by ones of the same name that have nothing in them: each of their functions returns 0, which says that
# there is no such device. tests/deploy/ converts every pair of formats with what is left.
set -euo pipefail
packages=$1/lib/python3.11/site-packages
bpy=$packages/bpy
libraries=$bpy/lib
cd "$bpy"/[0-9]*
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Every pattern must find something: a new Blender that calls its parts otherwise is to be noticed.
remove() {
    local path
    for path in "$@"; do
        [ -e "$path" ] || { echo "there is no $path to prune" >&2; exit 1; }
        rm -rf "$path"
    done
}

# Cycles' kernels for graphics cards; its settings stay, since .blend files have them.
remove scripts/addons_core/cycles/{lib,shader,source}
# Brushes and node groups to drag into a scene, rigs to build, add-ons that are windows.
remove datafiles/assets/brushes datafiles/assets/nodes datafiles/studiolights
remove scripts/addons_core/{rigify,viewport_vr_preview} scripts/freestyle scripts/templates_*
# Python bindings: of USD, only what reads layers is asked for.
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

# nothing FILE: puts a library into the place of FILE that defines what others use of it.
nothing() {
    local file=$libraries/$1 other
    nm --dynamic --defined-only "$file" | awk '{ print $3 }' | sort -u >"$work/defined"
    for other in "$bpy/__init__.so" "$libraries"/*.so*; do
        [ "$other" = "$file" ] || nm --dynamic --undefined-only "$other" | awk '{ print $2 }'
    done | sort -u | comm -12 - "$work/defined" >"$work/used"
    if ! [ -s "$work/used" ] || grep -q '^_Z' "$work/used"; then
        echo "$1 is not used by its C functions alone" >&2
        exit 1
    fi
    sed 's/.*/.globl &\n.type &, @function\n&: xorl %eax, %eax\n ret/' "$work/used" >"$work/nothing.s"
    echo '.section .note.GNU-stack, "", @progbits' >>"$work/nothing.s"
    gcc -shared -nostdlib -Wl,-soname,"$1" -o "$file" "$work/nothing.s"
}

# Denoising, kernels of oneAPI, ray tracing. Devices first: they use the libraries.
remove "$libraries"/libOpenImageDenoise_device_*
nothing libOpenImageDenoise.so.2
remove "$libraries"/libOpenImageDenoise_core.so.*
nothing libcycles_kernel_oneapi_aot.so
nothing libembree4.so.4

# Names of Blender's functions, for debuggers.
strip --strip-unneeded "$bpy/__init__.so"
