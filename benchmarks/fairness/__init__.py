"""Is the comparison fair? Each family beside its reference implementation, and its ways to start beside each other.

`python -m benchmarks.fairness` trains them in one plain loop, on the same images in the same batches, and writes the
tables of docs/fairness.md.
"""
