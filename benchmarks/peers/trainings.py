"""One training after the other, each in a process of its own, and what is noted of each.

The processes are forked from the server of our runs, which has loaded everything: starting Python and importing are in
nobody's time. One thread computes, and the images are made in the same process: on one core that is the fastest. Time
is the processor's, so that it means the same while others use the machine.
"""

import importlib
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

import models
from benchmarks.errors import InductiveError
from benchmarks.peers.alike import check_alike
from benchmarks.plan.run import Run
from benchmarks.running.local import warm_context
from benchmarks.speed.clock import Clock

TRAINERS = {"timm": "timm_train", "plain": "plain", "ours": "ours"}  # names and modules, in the order of a round


def name_of(run: Run) -> str:
    """A run's network for tables: model, position, size, and what else is not as the size has it."""
    kept: dict[str, Any] = {key: run.options[key] for key in ("position", "scale") if key in run.options}
    usual = models.resolve_options(run.model, size=run.size, options=kept)
    changed = [f", {key} {value}" for key, value in run.options.items() if value != usual[key]]
    return " ".join(filter(None, (run.model, str(kept.get("position", "")), run.size))) + "".join(changed)


def key_of(run: Run, trainer: str) -> str:
    return f"{run.id} {trainer}"


def trainings(
    runs: Sequence[Run], data: Path, root: Path, known: Mapping[str, Any], clock: Clock
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Trains every run by every trainer, in turns, seed by seed, but for those `known`; yields each by its key.

    The records of our own runs are made under `root`. Raises InductiveError for a run that cannot be given to all, or a
    training that fails.
    """
    for run in runs:
        check_alike(run)
    for run in sorted(runs, key=lambda run: run.seed):
        for trainer in TRAINERS:
            if (key := key_of(run, trainer)) not in known:
                yield key, train_apart(trainer, run, data, root, clock)


def train_apart(trainer: str, run: Run, data: Path, root: Path, clock: Clock) -> dict[str, Any]:
    """A training in a process of its own: what it came to, its seconds, and the cores that others used meanwhile."""
    context = warm_context()
    pipe, theirs = context.Pipe()
    before, began = clock.others(), clock.now()
    process = context.Process(target=_train, args=(theirs, trainer, run, data, root))
    process.start()
    theirs.close()
    try:
        row, failure = pipe.recv()
    except EOFError:
        row, failure = {}, "its process died"
    process.join()
    after, elapsed = clock.others(), clock.now() - began
    if failure:
        raise InductiveError(f"{key_of(run, trainer)}: {failure}")
    others = None if before is None or after is None else round(max(0.0, after - before) / elapsed, 2)
    return {"network": name_of(run), "seed": run.seed, "trainer": trainer, "run": run.id, **row, "others": others}


def _train(pipe: Connection, trainer: str, run: Run, data: Path, root: Path) -> None:
    torch.set_num_threads(1)
    try:
        module = importlib.import_module(f"benchmarks.peers.{TRAINERS[trainer]}")
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            trained = module.train(run, data, root if trainer == "ours" else Path(folder))
            seconds = time.process_time() - began
    except Exception as error:  # noqa: BLE001  (told to the process that asked)
        pipe.send(({}, f"{type(error).__name__}: {error}"))
    else:
        images = trained.steps * run.recipe.batch_size
        pipe.send(({**asdict(trained), "images": images, "whole_seconds": seconds}, ""))
