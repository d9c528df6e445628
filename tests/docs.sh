#!/bin/sh
# docs.sh SOURCE CTEST BUILD - tests that docs/PARITY.md names exist.
# A name is what stands in backquotes in the last column; X_* stands for any test whose name begins with X_.
set -uf # X_* is no pattern for file names
tests=$("$2" --test-dir "$3" -N | sed -n 's/^ *Test *#[0-9]*: //p')
missing=0
for name in $(sed -n 's/^|.*| *\([^|]*\) *|$/\1/p' "$1/docs/PARITY.md" | grep -o '`[a-z][a-z0-9_*.-]*`' | tr -d '`' | sort -u); do
    case $name in bench_* | --*) continue ;; esac
    pattern="^$(echo "$name" | sed 's/\*$/.*/')"
    if ! echo "$tests" | grep -q -- "$pattern"; then
        echo "docs/PARITY.md names the test $name, which does not exist"
        missing=1
    fi
done
exit $missing
