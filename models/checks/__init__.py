"""What every network must keep: the contract of `models.network` as checks, and what a network cannot tell apart."""
