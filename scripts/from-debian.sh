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
