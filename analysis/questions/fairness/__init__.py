"""What was equal between the models, and what was not? The ledger, and the cost of an image. Start at `question`."""
