"""Which assumption does a model rest on? What networks keep of their accuracy where one thing is changed in the images.

Start at `question`.
"""
