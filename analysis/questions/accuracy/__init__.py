"""How accurate is each model with so many images? Start at `data_efficiency`."""
