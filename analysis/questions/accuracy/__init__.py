"""How accurate is each model with so many images? `ranking` is for every question. Start at `question`."""
