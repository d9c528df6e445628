#!/bin/bash
# mutations.sh PROGRAM - a copy of unit_mutations with the mistakes compiled in: passes with none of them made, and each
# one makes its case fail. A mistake that no test notices is a failure here.
set -u
program=$1
out=$(mktemp /tmp/far-test-XXXXXX) || exit 1
trap 'rm -f "$out"' EXIT

TEST_MUTATION=0 timeout 60 "$program" >"$out" 2>&1
status=$?
if [ $status != 0 ]; then
    [ $status = 77 ] || { echo "FAILED: without a mistake"; cat "$out"; }
    exit $status
fi
failed=0
n=0
for name in no_zero_protect no_dirty no_slot_fence no_crc; do
    n=$((n + 1))
    TEST_MUTATION=$n timeout 60 "$program" >"$out" 2>&1
    status=$?
    if [ $status = 1 ] && grep -q "FAILED.*mutation__$name\$" "$out"; then
        echo "found: $name"
    else
        echo "FAILED: $name is not noticed (exit status $status)"
        cat "$out"
        failed=1
    fi
done
exit $failed
