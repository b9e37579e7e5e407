"""From records to one tidy table: runs and evaluations, arms, cells, names, pairs. Imports statistics and wording.

Start at `frame`, then `arms` and `cells`.
"""
