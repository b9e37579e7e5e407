"""`--at features`: what layers hold: likeness of layers, frequencies, receptive fields, places that can be read."""
