#!/bin/sh
# Each defect of the object path that a build switch can make (base/mutation.h) must be found by a test of the real code.
#
# mutations.sh STRESS EPOCH: the two test programs in their mutated builds.
set -u
stress=$1 epoch=$2 missed=0
header=$(dirname "$0")/../../base/mutation.h

# number NAME: of an enumerator of enum far_mutation_kind.
number() { grep -o 'FAR_MUTATION_[A-Z_]*,' "$header" | grep -n "^FAR_MUTATION_$1,\$" | head -n 1 | awk -F: '{print $1 - 1}'; }

# found NAME COMMAND...: it must fail, within the tries.
found() {
    name=$1
    shift
    for seed in 1 2 3 4 5 6; do
        if ! timeout 60 "$@" --mutation "$(number "$name")" $(case $1 in "$stress") echo "--seed $seed" ;; esac) >/dev/null 2>&1; then
            echo "$name: noticed (try $seed)"
            return
        fi
    done
    echo "$name: NOT noticed"
    missed=1
}

if ! timeout 60 "$stress" --seconds 4 --delays 8 --seed 1 --most 262144; then
    echo "the mutated build without a mutation fails"
    exit 1
fi
for name in NO_RESCUE EARLY_CLEAN NO_VICTIM; do
    found $name "$stress" --local 8M --data 48M --most 4096 --threads 4 --seconds 6 --delays 24
done
found NO_GRACE "$stress" --local 8M --data 48M --most 4096 --threads 8 --seconds 6 --hold-us 3000
found NO_MEMBARRIER "$epoch" --seconds 20
exit $missed
