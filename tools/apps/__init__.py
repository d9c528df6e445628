"""Real programs as workloads: unmodified Debian binaries on Debian's own package index.

The same workloads serve tools/quickstart, the tests in tests/preload/apps, bench/bench_apps and tools/soak. Each
yields an answer (a hash of everything that the program said) which must be the same with and without far memory.
"""
