# shellcheck shell=bash
# To be sourced: files of Debian's packages for the tests, without root and without installing anything.

# unpack_debs FOLDER PACKAGE...: unpacks the packages into FOLDER. It fails where they cannot be had, and says why.
unpack_debs() (
    folder=$1
    shift
    type apt-get dpkg-deb >/dev/null 2>&1 || { echo "there is no apt here" && return 1; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # Lists of its own where the system's are absent or old: only root may write those.
    lists=(-o "Dir::State=$work/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$work/cache"
        -o Debug::NoLocking=1)
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
    apt() { (cd "$work" && timeout 120 apt-get -qq "$@" >/dev/null 2>&1); }
    apt download "$@" || { apt "${lists[@]}" update && apt "${lists[@]}" download "$@"; } ||
        { echo "the packages $* cannot be had from here" && return 1; }
    for deb in "$work"/*.deb; do dpkg-deb --extract "$deb" "$folder"; done
)

# get_tool NAME PROGRAM PACKAGE...: target/tools/NAME, from the system where it is there, else from the packages, in which it
# is usr/PROGRAM. It fails where they cannot be had, and says why.
get_tool() (
    name=$1 program=$2
    shift 2
    tools=$PWD/target/tools
    [ -x "$tools/$name" ] && exit 0
    mkdir -p "$tools"
    if command -v "$name" >/dev/null; then
        ln -sf "$(command -v "$name")" "$tools/$name"
        exit 0
    fi
    work=$(mktemp -d "$tools/$name.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    unpack_debs "$work" "$@" || exit 1
    rm -rf "$tools/$name-files"
    mv "$work/usr" "$tools/$name-files" || exit 1
    # A program may be another one that goes by the name that it is called.
    cat >"$work/$name" <<TOOL
#!/usr/bin/env bash
files=\$(dirname "\$(readlink -f "\$0")")/$name-files
LD_LIBRARY_PATH=\$(echo "\$files"/lib/*-linux-gnu) exec -a $name "\$files/$program" "\$@"
TOOL
    chmod +x "$work/$name"
    mv "$work/$name" "$tools/$name"
)
