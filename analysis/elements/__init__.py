"""What a question is made of. Imports frame, wording and statistics. Start at `question`, its interface.

`reported` (an arm of a report), `claims`, `sections`, `drawings`, tables of `linked` cells; the look of figures.
"""
