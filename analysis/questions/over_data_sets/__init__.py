"""What holds over several data sets? One number from five on; sentences and a CSV, no chapter. Start at `question`."""
