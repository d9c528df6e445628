#!/bin/bash
# example.sh pie|nopie|static PLAIN FAR LIBRARY FARCTL - the worked example of docs/example: the annotated program prints byte
# for byte what the plain one prints: without the library, with it and all local, and with it at a tenth of its data.
#
# The package list is made here, from a fixed seed: 16000 packages with 2000 bytes each, about 40 MB of objects.
set -u
kind=$1 plain=$2 far=$3 library=$4 farctl=$5
dir=$(mktemp -d /tmp/far-test-XXXXXX) || exit 1
trap 'rm -rf "$dir"' EXIT

awk 'BEGIN {
    srand(7)
    for (i = 0; i < 16000; i++) {
        printf "Package: p%d\nSection: s%d\nInstalled-Size: %d\nDepends:", i, i * i % 23, int(rand() * 9000)
        for (k = 1; k < 5 && i > 50; k++)
            printf " p%d (>= %d.0)%s", int(rand() * (k == 1 ? i : 50)), k, k < 4 ? "," : ", nobody | p1"
        printf "\nDescription:"
        for (k = 0; k < 6; k++)
            printf " word%d", int(exp(rand() * 8))
        printf "\nTags:"
        for (k = 0; k < 180; k++)
            printf " tag%d", int(rand() * 1000000)
        print "\n"
    }
}' >"$dir/packages"
queries=(needs=p15999 needs=p777 needs=none words=word1,word2 words=word3,word5,word8 words=word2500 words=none sections check)

run() {
    local name=$1
    shift
    if ! "$@" "$dir/packages" "${queries[@]}" >"$dir/$name" 2>"$dir/errors"; then
        echo "example.sh: $name: failed: $(cat "$dir/errors")"
        exit 1
    fi
    cmp "$dir/$name" "$dir/plain" || exit 1
    echo "$name: the same"
}

"$plain" "$dir/packages" "${queries[@]}" >"$dir/plain" || exit 1
grep -q '^needs p15999: [0-9]\{2,\} packages, [0-9]* bytes, [1-9]' "$dir/plain" &&
    grep -q '^words: [1-9]' "$dir/plain" || { cat "$dir/plain"; exit 1; } # the list is as thought
run alone "$far"
run preloaded env LD_PRELOAD="$library" "$far"
[ "$kind" = static ] && exit 0 # not to be preloaded

# Most of it has been away.
env LD_PRELOAD="$library" FAR_LOCAL=4M "$far" "$dir/packages" "${queries[@]}" >"$dir/tenth" &
pid=$!
until "$farctl" stat --final --json $pid >"$dir/stat" 2>/dev/null; do
    kill -0 $pid || break
    sleep 0.05
done
wait $pid || exit 1
cmp "$dir/tenth" "$dir/plain" || exit 1
fetched=$(grep -oE '"object_(fetches|prefetches)": *[0-9]*' "$dir/stat" | awk -F: '{ n += $2 } END { print n + 0 }')
echo "tenth: the same, $fetched objects fetched"
[ "${fetched:-0}" -gt 10000 ]
