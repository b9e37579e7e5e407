"""What was equal between the models, and what was not. Start at `fairness`."""
