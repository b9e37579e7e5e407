"""`--at attention`: which tokens attend to which. `numbers.py` measures, `figures.py` draws, `view.py` composes."""
