"""What decides a run's weights (the step, batches, augmentations, kernels), and what measures them.

Imports plan and data. Start at `training`: a network, an optimiser, a step.
"""
