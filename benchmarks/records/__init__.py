"""What is kept of a run: its record on disk, attempts, checkpoints, evaluations, sources; and what a reader may trust.

Imports plan and data. Start at `record`; docs/records.md describes the format.
"""
