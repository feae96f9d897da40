"""Timings side by side in one run, and their ratios: ``python -m benchmarks``."""
