"""How does the loss fall while a model is trained? Start at `question`."""
