"""`inductive show RUN --against RUN`: on which test images two networks differ. Of these two networks, no more."""

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from analysis.frame.predictions import read_correct
from analysis.questions.comparisons.agreement import McNemar, error_consistency, mcnemar
from benchmarks.cli import views
from benchmarks.errors import ConfigError, RecordError
from benchmarks.plan.run import default_evaluation
from benchmarks.records.record import Record
from benchmarks.running.progress import say


def compare(a: Record, b: Record) -> tuple[McNemar, float]:
    """(McNemar's test, error consistency) of two networks on the test part, each at its training resolution.

    Raises ConfigError for other data or one run twice, RecordError when predictions were not kept."""
    if a.id == b.id:
        raise ConfigError("--against", f"{b.id} is the same run")
    data = [record.run().dataset for record in (a, b)]
    if data[0] != data[1]:
        raise ConfigError("--against", f"the test images are others: {a.id} has {data[0]}, {b.id} has {data[1]}")
    right = [_correct(record) for record in (a, b)]
    if right[0].shape != right[1].shape:
        raise RecordError(f"{b.path}: measured on {right[1].size} test images, {a.id} on {right[0].size}")
    return mcnemar(*right), float(error_consistency(np.array(right))[0, 1])


def _correct(record: Record) -> NDArray[np.bool_]:
    run = record.run()
    right = read_correct(record.path, default_evaluation(run, "test", run.resolution).id, "test")
    if right is None:
        raise RecordError(
            f"{record.path}: no predictions of the test part at {run.resolution} px are kept (in a study: predictions)"
        )
    return right


def show(a: Record, b: Record, as_json: bool, console: Console) -> None:
    """Prints the comparison."""
    test, kappa = compare(a, b)
    if as_json:
        views.print_json({"run": a.id, "against": b.id, **asdict(test), "kappa": None if np.isnan(kappa) else kappa})
        return
    images = test.both + test.only_a + test.only_b + test.neither
    say(console, f"{a.id}\nagainst {b.id}, on {images:,} test images")
    rows = [
        ["both right", f"{test.both:,}"],
        ["only the first right", f"{test.only_a:,}"],
        ["only the second right", f"{test.only_b:,}"],
        ["neither right", f"{test.neither:,}"],
    ]
    views.table(console, "", {"": "left", "images": "right"}, rows)
    said = "" if np.isnan(kappa) else f"; error consistency {kappa:.2f} (Cohen's kappa)"
    say(console, f"McNemar's exact test: p = {test.p:.3g}{said}")
    say(
        console,
        "This is about these two networks on these images. Of their architectures it says nothing: another seed of "
        "each is another pair. `inductive report` compares models over seeds.",
    )
