"""What is to be trained: a study's text expands to runs, their evaluations and the comparisons that it declares.

Imports data. Start at `run`, then `study`.
"""
