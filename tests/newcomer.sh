#!/bin/sh
# newcomer.sh SOURCE: what the two commands of README say to a user who may not install packages, where some are missing, and
# what quickstart says before it builds of a program that it does not know or that is not installed.
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

# says PATH PROGRAM WORDS: where programs are looked for in PATH.
says() {
    demo='import sys; sys.path.insert(0, sys.argv.pop(1)); from apps import workloads; workloads.PATH = sys.argv.pop(1); import apps.demo'
    if /usr/bin/python3 -B -c "$demo" "$source/tools" "$1" --build "$work" --check "$2" >"$work/said" 2>&1; then
        echo "quickstart takes $2"
        exit 1
    fi
    if ! grep -q "$3" "$work/said" || grep -q Traceback "$work/said"; then cat "$work/said"; echo "no word of $3"; exit 1; fi
}
says /usr/bin sqlite 'no sqlite here.*sqlite3'
says /nowhere redis 'apt-get install redis-server'
