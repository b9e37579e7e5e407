"""For `inductive show RUN --against RUN`: on which test images two networks differ. Of these two networks, no more."""

import numpy as np
from numpy.typing import NDArray

from analysis.frame.predictions import read_correct
from analysis.questions.comparisons.agreement import McNemar, error_consistency, mcnemar
from benchmarks.data.dataset import Places
from benchmarks.errors import ConfigError, RecordError
from benchmarks.plan.run import Run, default_evaluation
from benchmarks.records.record import Record


def compare(a: Record, b: Record, places: Places | None = None) -> tuple[McNemar, float]:
    """(McNemar's test, error consistency) of two networks on the test part, each at its training resolution.

    `places` say where data sets that are folders lie (see `Record.run`). Raises ConfigError for other data or one run
    twice, RecordError when predictions were not kept."""
    if a.id == b.id:
        raise ConfigError("--against", f"{b.id} is the same run")
    runs = [record.run(places) for record in (a, b)]
    data = [run.dataset for run in runs]
    if data[0] != data[1]:
        raise ConfigError("--against", f"the test images are others: {a.id} has {data[0]}, {b.id} has {data[1]}")
    digests = [(record.execution or {}).get("data", {}).get("test") for record in (a, b)]  # absent in early records
    if None not in digests and digests[0] != digests[1]:
        raise ConfigError("--against", f"the test images are others: {data[0]} was changed between {a.id} and {b.id}")
    right = [_correct(record, run) for record, run in zip((a, b), runs, strict=True)]
    if right[0].shape != right[1].shape:
        raise RecordError(f"{b.path}: measured on {right[1].size} test images, {a.id} on {right[0].size}")
    return mcnemar(*right), float(error_consistency(np.array(right))[0, 1])


def _correct(record: Record, run: Run) -> NDArray[np.bool_]:
    """Of each test image whether the network was right."""
    right = read_correct(record.path, default_evaluation(run, "test", run.resolution).id, "test")
    if right is None:
        raise RecordError(
            f"{record.path}: no predictions of the test part at {run.resolution} px are kept (in a study: predictions)"
        )
    return right
