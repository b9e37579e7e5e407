"""The command `inductive`: a verb is a file here: its flags, what it does and what it prints. Start at `main`.

Imports all other rooms (what is heavy, slurm and analysis inside the verbs); nobody imports it. What the verbs of a
cluster do is in slurm/.
"""
