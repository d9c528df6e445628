#!/bin/sh
# Each defect of the object path that a build switch can make (base/mutation.h) must be found by a test of the real code.
#
# mutations.sh STRESS EPOCH: the two test programs in their mutated builds.
# shellcheck disable=SC2086 # lists of arguments are split into words
set -u
stress=$1 epoch=$2 missed=0
header=$(dirname "$0")/../../base/mutation.h

# number NAME: of an enumerator of enum far_mutation_kind.
number() { grep -o 'FAR_MUTATION_[A-Z_]*,' "$header" | grep -n "^FAR_MUTATION_$1,\$" | head -n 1 | awk -F: '{print $1 - 1}'; }

# status COMMAND...: runs it, whose report is then in $report. 0: it passed; 1: it says that something went wrong, or what the defect
# did to memory ended it; 77: there is no far memory here; 2: anything else, which says nothing of the defect: it did not start, or
# did not end.
status() {
    report=$(timeout 60 "$@" 2>&1)
    case $? in
        0) return 0 ;;
        1) case $report in *", WRONG"* | *"in which neither saw the other"*) return 1 ;; esac ;;
        77) return 77 ;;
        134 | 135 | 139) return 1 ;; # SIGABRT, SIGBUS, SIGSEGV
    esac
    return 2
}

# passes COMMAND...: without a defect it must, for a second.
passes() {
    status "$@" --seconds 1
    case $? in
        0) ;;
        77) exit 77 ;;
        *) echo "fails without a defect: $*: $report" && exit 1 ;;
    esac
}

# found NAME COMMAND...: with the defect it must not pass, within the tries.
found() {
    name=$1
    shift
    for seed in 1 2 3 4 5 6; do
        status "$@" --mutation "$(number "$name")" --seed $seed
        if [ $? = 1 ]; then
            echo "$name: noticed (try $seed)"
            return
        fi
    done
    echo "$name: NOT noticed: $report"
    missed=1
}

tight="--local 8M --data 48M --most 4096 --threads 4 --delays 24 --seconds 6"
held="--local 8M --data 48M --most 4096 --threads 8 --hold-us 3000 --seconds 6"
passes "$stress" --delays 8 --seed 1 --most 262144
passes "$stress" $tight --seed 1
passes "$stress" $held --seed 1
passes "$epoch"
for name in NO_RESCUE EARLY_CLEAN NO_VICTIM; do
    found $name "$stress" $tight
done
found NO_GRACE "$stress" $held
found NO_MEMBARRIER "$epoch" --seconds 20
exit $missed
