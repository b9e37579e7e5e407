"""What happens at another image resolution? Retention, areas, ways of testing, ways of carrying positions, the matrix.

Start at `question`.
"""
