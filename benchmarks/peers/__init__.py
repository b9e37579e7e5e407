"""The suite's trainer beside others: the same network, images, batch, optimiser and schedule, trained three ways.

`python -m benchmarks.peers` trains the runs of a study by timm's package, by a plain PyTorch loop and by the suite,
each in a process of its own, and writes the table of docs/results/side-by-side.md. Start with `trainings.py`.
"""
