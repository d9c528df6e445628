#!/bin/sh
# newcomer.sh SOURCE: what the two commands of README say to a user who may not install packages, where some are missing.
set -eu
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

printf '#!/bin/sh\nexit 1\n' >"$work/dpkg-query" # nothing is installed
printf '#!/bin/sh\n[ "$*" = -u ] && echo 1000\n' >"$work/id"
printf '#!/bin/sh\necho apt-get was called\n' >"$work/apt-get"
chmod +x "$work"/*

for command in quickstart test; do
    if PATH=$work:$PATH "$source/tools/$command" >"$work/said" 2>&1; then
        echo "tools/$command: success without its packages"
        exit 1
    fi
    for package in $(sed -n 's/^build: *//p' "$source/tools/packages.txt"); do
        grep -q "sudo apt-get install.* $package\( \|$\)" "$work/said" || { cat "$work/said"; echo "no word of $package"; exit 1; }
    done
    if grep 'apt-get was called' "$work/said"; then exit 1; fi
done
