"""Arrays in, numbers out: intervals, families of comparisons, curves, fits, equivalence. Imports nothing of ours."""
