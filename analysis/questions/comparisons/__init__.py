"""Which of the declared differences are there, and do networks agree? Families, another test set, likelihood, error
consistency, shares of variance. `verdicts` is for every question. Start at `question`."""
