# shellcheck shell=bash
# To be sourced: unpacks Debian packages for the tests, without root and without installing them.

# unpack_debs FOLDER PACKAGE...: unpacks the packages into FOLDER; fails and prints why if it cannot.
unpack_debs() (
    folder=$1
    shift
    type apt-get dpkg-deb >/dev/null 2>&1 || { echo "apt is missing" && return 1; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # Own package lists, if the system's are absent or old: only root may update those.
    lists=(-o "Dir::State=$work/state" -o "Dir::State::status=/var/lib/dpkg/status" -o "Dir::Cache=$work/cache"
        -o Debug::NoLocking=1)
    mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
    apt() { (cd "$work" && timeout 120 apt-get -qq "$@" >/dev/null 2>&1); }
    apt download "$@" || { apt "${lists[@]}" update && apt "${lists[@]}" download "$@"; } ||
        { echo "the packages $* cannot be downloaded" && return 1; }
    for deb in "$work"/*.deb; do dpkg-deb --extract "$deb" "$folder"; done
)

# get_tool NAME PROGRAM PACKAGE...: creates target/tools/NAME, a link to the system's NAME, else usr/PROGRAM from the
# packages; fails and prints why if they cannot be downloaded.
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
    # One program may serve several names, so it is started under this name.
    cat >"$work/$name" <<TOOL
#!/usr/bin/env bash
files=\$(dirname "\$(readlink -f "\$0")")/$name-files
LD_LIBRARY_PATH=\$(echo "\$files"/lib/*-linux-gnu) exec -a $name "\$files/$program" "\$@"
TOOL
    chmod +x "$work/$name"
    mv "$work/$name" "$tools/$name"
)
