"""Which images does each model get wrong, and what does it take them for? Start at `question`."""
