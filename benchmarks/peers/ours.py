"""The suite's own trainer: a run with its record, as `inductive run` makes it."""

import time
from pathlib import Path

from benchmarks.peers.alike import Trained
from benchmarks.plan.run import Run
from benchmarks.plan.study import single
from benchmarks.records.record import read_record
from benchmarks.running.execute import execute
from benchmarks.running.local import keep_memory
from benchmarks.running.task import Settings


def train(run: Run, data: Path, folder: Path) -> Trained:
    """Makes a run's record in a folder: trained, kept, measured on its training images and on the test images."""
    keep_memory()  # as the process of every run does
    used: list[float] = []  # seconds, at the end of each step
    execute(
        *(run, folder, single(run).evaluations[run.id], Settings(data)),
        stop=lambda: False,
        progress=lambda step, steps, rate: used.append(time.process_time()),
    )
    record = read_record(folder / run.id)
    (measured,) = record.evaluations
    seconds = (used[-1] - used[0]) * len(used) / (len(used) - 1)  # the first step taken to be as the others
    return Trained(measured["accuracy"], len(used), seconds)
