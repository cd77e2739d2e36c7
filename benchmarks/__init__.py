"""What measures speed: `python -m benchmarks.updates --help` and its neighbours; `make bench` runs three of them."""
