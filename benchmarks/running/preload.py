"""Imported once by the fork server, so that a run's process starts with everything loaded (0.03 s instead of 3 s).

Nothing of CUDA and no second thread may be started here: neither survives a fork. Modules may be imported, but no
optimiser makes a step (on any device it asks whether CUDA captures a graph) and nothing goes backward (that starts the
threads of autograd).
"""

import importlib

import scipy.special  # noqa: F401  (mixup and RandAugment)
import sklearn.datasets  # noqa: F401  (digits)
import torch
import torch._dynamo  # which the first optimiser would import, in nearly two seconds

import benchmarks.running.execute
import benchmarks.running.local  # noqa: F401
import models
from benchmarks.plan.run import make_run
from benchmarks.records import sources
from benchmarks.slices import slice_digests

torch.set_num_threads(1)
_entries = [models.family(name).entry for name in models.model_names()]
_entries += [one.entry for known in models.PARTS.values() for one in known.values()]
for _entry in _entries:
    importlib.import_module(_entry.partition(":")[0])
for _entry in _entries:  # parsed once (a third of a second for each run otherwise), and as they were when loaded
    slice_digests((_entry,))
sources.run_sources(make_run({}))
sources.evaluation_code()
LOADED = True
