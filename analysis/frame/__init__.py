"""From records to one tidy table: rows of runs and evaluations, arms, cells, names. Start at `frame`."""
