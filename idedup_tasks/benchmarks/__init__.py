"""Measurements that are run by hand or nightly; see docs/benchmarks.md."""
