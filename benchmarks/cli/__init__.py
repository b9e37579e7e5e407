"""The command `inductive`: a verb is a file here or in slurm/. Imports all rooms, inside verbs. Start at `main`."""
