"""How fast the suite is, measured on this machine: `python -m benchmarks.speed`, or `make bench`."""
