"""`--at attention`: which tokens attend to which. `reading.py` reads, `numbers.py` measures, `view.py` shows."""
