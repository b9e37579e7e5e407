"""Is a difference the architecture's, or the tuning's? What the search of a study came to. Start at `question`."""
