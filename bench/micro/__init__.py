"""Microbenchmarks of the hot paths: `make micro`.

Each file is a pytest module whose tests take pytest-benchmark's `benchmark`; the group says what is
compared with what. `tests/bench/test_micro.py` runs every one of them once, untimed.
"""
