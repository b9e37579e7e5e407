"""Data sets that are drawn, each a probe of one assumption about images.

Read `probes.py` first: what each asks, its chance and its ceiling. Each other file draws one of them, by `drawing.py`
and `shapes.py`.
"""
