#!/bin/sh
# docs.sh SOURCE CTEST BUILD - tests that docs/PARITY.md names exist, and README.md shows how the two examples differ.
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

difference() { diff -U1 "$1/docs/example/plain.c" "$1/docs/example/far.c" | sed -e '1,2d' -e 's/^@@.*/@@/'; }
if [ "$(sed -n '/The whole difference/,/<\/details>/{/^```diff/,/^```$/p}' "$1/README.md" | sed '1d;$d')" != "$(difference "$1")" ]; then
    echo "README.md: 'The whole difference' is not that of docs/example/plain.c and far.c any more"
    missing=1
fi
exit $missing
