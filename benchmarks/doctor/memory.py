"""A GPU without the memory for a batch: the run must halve its micro-batch, and end as if nothing had been short."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.doctor.as_runs_do import as_runs_do
from benchmarks.doctor.findings import Answer
from benchmarks.doctor.isolation import release
from benchmarks.files import read_json
from benchmarks.plan.run import Run
from benchmarks.plan.study import single
from benchmarks.records.metrics import read_metrics
from benchmarks.running.execute import execute
from benchmarks.running.rerun import RELATIVE_LOSS
from benchmarks.running.task import Settings
from benchmarks.speed.cases import training_of


def halved(run: Run, root: Path, settings: Settings) -> Answer:
    """Trains a run (without BatchNorm, which would normalise by fewer images) with room for half of its batch.

    To be called in a process of its own: what it may take of the GPU stays limited.
    """
    batch = run.recipe.batch_size
    whole, half = (as_runs_do(run, "cuda", partial(_peak, run, settings.data, size)) for size in (batch, batch // 2))
    expected = read_metrics(_finished(run, root / "plenty", settings) / "metrics.jsonl")
    release()
    total = torch.cuda.get_device_properties(0).total_memory
    room = (whole + half) // 2
    torch.cuda.set_per_process_memory_fraction(room / total)
    try:
        folder = _finished(run, root / "short", settings)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    size = read_json(folder / "execution.json")["micro_batch"]
    rows = read_metrics(folder / "metrics.jsonl")
    pairs = zip(rows, expected, strict=True)
    loss = max(abs(here["loss"] - there["loss"]) / abs(there["loss"]) for here, there in pairs)
    words = f"{room / 2**20:,.0f} MiB for batches of {batch}: micro-batches of {size}, loss {loss:.0e} from the whole's"
    fine = size == batch // 2 and loss <= RELATIVE_LOSS
    return Answer("ok" if fine else "differs", words, {"micro_batch": size, "loss": loss, "room": room})


def _peak(run: Run, data: Path, size: int, execution: Mapping[str, Any]) -> int:
    """The most bytes that the allocator has held in two steps of micro-batches of a size: in the second the optimiser
    has its state."""
    release()
    torch.cuda.reset_peak_memory_stats()
    training = training_of(run, data, {**execution, "micro_batch": size})
    for _ in range(2):
        training.update()
    return torch.cuda.max_memory_reserved()


def _finished(run: Run, root: Path, settings: Settings) -> Path:
    """Executes a run and returns its folder."""
    execute(run, root, single(run).evaluations[run.id], settings, lambda: False)
    release()
    return root / run.id
