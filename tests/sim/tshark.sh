#!/bin/sh
# A capture of simulated connections must be packets that somebody else's parser finds nothing wrong with.
#     tshark.sh SIM_TCP [FIRST_SEED [SEEDS]]         exit 77: no tshark here
set -eu
sim=$1 first=${2:-1} seeds=${3:-60}
command -v tshark >/dev/null || exit 77
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
wrong='_ws.malformed || tcp.checksum.status == 0 || ip.checksum.status == 0 || tcp.option.len.invalid'
wrong="$wrong || tcp.options.wscale.shift.invalid || _ws.expert.severity == error"
# The bytes are random: they are not to be taken for any protocol that they happen to look like.
only="-d tcp.port==7170,data"
"$sim" --from "$first" --seeds "$seeds" --clean --pcap "$dir/pcap" >/dev/null
tshark -r "$dir/pcap" $only -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE -Y "$wrong" >"$dir/wrong" 2>"$dir/err" || {
    cat "$dir/err"
    exit 1
}
# That the filter sees checksums at all: right ones are there.
right=$(tshark -r "$dir/pcap" $only -o tcp.check_checksum:TRUE -Y 'tcp.checksum.status == 1' -c 200 2>/dev/null | wc -l)
if [ -s "$dir/wrong" ] || [ "$right" = 0 ]; then
    echo "$(wc -l <"$dir/wrong") bad packets, $right good ones; the first bad:"
    head -3 "$dir/wrong"
    exit 1
fi
echo "$seeds connections from seed $first: no packet malformed, every checksum right"
