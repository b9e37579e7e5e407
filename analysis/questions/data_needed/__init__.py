"""How many times the images does a model need for what another reaches? Start at `data_needed`."""
