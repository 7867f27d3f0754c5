"""Benchmarks: `python -m benchmarks` measures speed; the other files are commands of their own."""
