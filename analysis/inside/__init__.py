"""What a trained network does inside: `inductive look`.

A view is a folder here that turns subjects (networks with images, `subject.py`) into panels (a figure, the numbers
behind it, words; `panel.py`), and a line of VIEWS in `look.py`, which writes them. It imports elements and formats,
and, of benchmarks, what loads a finished run. Start reading at `look.py`.
"""
