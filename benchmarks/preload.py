"""Imported once by the fork server, so that a run's process starts with everything loaded (0.03 s instead of 3 s).

Nothing of CUDA and no second thread may be started here: neither survives a fork.
"""

import importlib

import scipy.special  # noqa: F401  (mixup and RandAugment)
import sklearn.datasets  # noqa: F401  (digits)
import torch

import benchmarks.local  # noqa: F401
import models

torch.set_num_threads(1)
for _name in models.model_names():
    importlib.import_module(models.family(_name).entry.partition(":")[0])
_weight = torch.nn.Parameter(torch.zeros(1))
_optimizer = torch.optim.AdamW([_weight], fused=True)  # imports what torch loads at the first optimiser
_weight.sum().backward()
_optimizer.step()
LOADED = True
