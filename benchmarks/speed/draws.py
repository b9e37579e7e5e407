"""Table `draws`: what the host takes for a step's draws, by which a GPU's augmentation is decided."""

from collections.abc import Iterator
from functools import partial
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.plan.run import make_run
from benchmarks.speed.clock import Clock, Plan, Tell, Variant, summarise, take_turns
from benchmarks.speed.tables import Table
from benchmarks.training.augment import Change
from benchmarks.training.batches import Batches, block_steps
from benchmarks.training.pixels import Selected

RECIPES = ("plain", "strong", "cct", "better-vit", "deit")
MORE = 8  # times the batch, for the second row of a recipe
TRAIN = 50_000
GOALS = {("strong", 128): 100, ("strong", 1024): 400}


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times the draws of one block after another, in turns."""
    cases = {f"{recipe} {size}": (recipe, size) for recipe in RECIPES for size in (batch, MORE * batch)}
    images = Selected(np.zeros((1, 3, 32, 32), dtype=np.uint8), np.zeros(TRAIN, dtype=np.int64))  # all are one
    streams = {name: stream(*case, images) for name, case in cases.items()}
    variants = [Variant(name, partial(next, blocks(one)), name) for name, one in streams.items()]
    turns = take_turns(variants, plan, clock, tell)
    rows = []
    for name, (recipe, size) in cases.items():
        summary, steps = summarise(turns, name, name), streams[name].block_steps
        each = "-" if summary.seconds is None else f"{summary.seconds / steps * 1e6:.0f}"
        goal = f"; goal {GOALS[recipe, size]}" if (recipe, size) in GOALS else ""
        rows.append([f"`{recipe}`", f"{size:,}", str(steps), each + goal, f"{summary.clean} of {summary.taken}"])
    return Table(
        name="draws",
        about=f"What the host decides for a step, order and all augmentations, on {TRAIN:,} images of 32 px; several "
        f"steps at once, as for a GPU, nothing being done to an image.",
        header=["recipe", "batch", "steps at once", "a step, µs", "clean rounds"],
        rows=rows,
        turns=turns,
    )


def stream(recipe: str, batch: int, images: Selected) -> Batches:
    """A run's batches, with blocks of as many steps as on a GPU."""
    run = make_run(
        {
            "model": "resnet",
            "dataset": "cifar10",
            "train_size": TRAIN,
            "validation": 0,
            "recipe": {"name": recipe, "batch_size": batch},
        }
    )
    made = Batches(run, images, np.zeros(TRAIN, dtype=np.int64), torch.device("cpu"))
    made.block_steps = block_steps(run, torch.device("cuda"))
    return made


def blocks(batches: Batches) -> Iterator[tuple[NDArray[np.int64], list[Change]]]:
    """What is drawn for one block after another."""
    return (batches.drawn(step) for step in count(0, batches.block_steps))
