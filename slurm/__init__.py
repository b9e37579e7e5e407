"""From a study to a SLURM cluster and back: `submit` sends jobs, `worker` is their body, `ledger` knows what was sent.

A verb is a file: `submit` (and retry), `cancel`, `logs`, `jobs`, `status`, `check` (and init). Start at `submit`.
"""
