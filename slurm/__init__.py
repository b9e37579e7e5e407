"""From a study to a SLURM cluster and back."""
