"""The data sets: declared (`catalogue`, `folders`), read (`readers`), decoded once (`store`), drawn from (`subsets`).

Imports the files at the door of benchmarks alone. Start at `dataset`.
"""
