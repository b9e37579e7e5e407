"""`--at positions`: what a positional encoding says of places. `numbers.py` measures, `figures.py` draws."""
