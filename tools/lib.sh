# shellcheck shell=bash
# lib.sh - what the scripts in tools/ share: finding the tree, installing Debian packages, saying what goes on.
# Sourced by bash with the current directory anywhere; leaves it at the top of the tree.

FAR_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$FAR_TOP" || exit 1
export LC_ALL=C.UTF-8
# Nothing of ours may change how the tools behave that build and test it.
unset LD_PRELOAD "${!FAR__@}"
FAR_SCRIPT=$(basename "$0")
FAR_STARTED=$SECONDS

if [ -t 1 ]; then FAR_BOLD=$'\033[1m' FAR_PLAIN=$'\033[0m'; else FAR_BOLD='' FAR_PLAIN=''; fi

say() { printf '%s[%3d s] %s%s\n' "$FAR_BOLD" "$((SECONDS - FAR_STARTED))" "$*" "$FAR_PLAIN"; }
die() { printf '%s: %s\n' "$FAR_SCRIPT" "$*" >&2; exit 1; }

# Packages of the groups named, from tools/packages.txt.
packages_of() {
    local group
    for group in "$@"; do
        sed -n "s/^$group: *//p" tools/packages.txt
    done | tr ' ' '\n' | sort -u
}

missing_packages() {
    local package
    for package in $(packages_of "$@"); do
        dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || echo "$package"
    done
}

# apt-get, without questions, and without starting the services that come with a package (redis-server, memcached): a
# policy that says no, unless the machine has one of its own.
apt_get_quietly() {
    local policy=/usr/sbin/policy-rc.d ours='' status
    if [ ! -e $policy ]; then
        ours=1
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -y -q -o Dpkg::Use-Pty=0 "$@"
    status=$?
    [ -z "$ours" ] || rm -f $policy
    return $status
}

# Installs what is missing of the groups named, or explains what cannot be.
need_packages() {
    local missing
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -n "${missing// /}" ] || return 0
    if ! command -v apt-get >/dev/null; then
        die "this needs the Debian packages ${missing}(or what your system calls them), and there is no apt-get here"
    fi
    if [ "$(id -u)" != 0 ]; then
        die "packages are missing, and only root may install them. Run:
    sudo apt-get install ${missing}
and then this again"
    fi
    say "installing: $missing"
    if ! ls /var/lib/apt/lists/*Packages* >/dev/null 2>&1; then
        apt_get_quietly update || die "apt-get update failed: is there a network and a package source?"
    fi
    # shellcheck disable=SC2086 # a list of names
    apt_get_quietly install --no-install-recommends $missing && return 0
    say "trying again with fresh package lists"
    apt_get_quietly update && apt_get_quietly install --no-install-recommends $missing && return 0
    die "apt-get could not install: $missing"
}

# build_preset NAME [--targets TARGET...]: configures and builds. Output is shown when something goes wrong.
build_preset() {
    local preset=$1 log="build/$1.log" targets=()
    shift
    if [ "${1:-}" = --targets ]; then
        shift
        targets=(--target "$@")
    fi
    mkdir -p build 2>/dev/null && [ -w build ] || die "user $(id -un) may not write to $FAR_TOP/build: work in a clone of your own"
    if { cmake --preset "$preset" -DFAR_WERROR=OFF &&
        cmake --build --preset "$preset" -j "$(nproc)" "${targets[@]}"; } >"$log" 2>&1; then
        return 0
    fi
    tail -n 60 "$log"
    echo "$FAR_SCRIPT: the $preset preset does not build; all of it is in $log" >&2
    return 1
}
