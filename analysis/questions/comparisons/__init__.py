"""The comparisons a study declares, likelihood, error consistency and variance. Start at `comparisons`."""
