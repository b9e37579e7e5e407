"""What does each positional encoding add? Start at `question`."""
