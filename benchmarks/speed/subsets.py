"""Table `subsets`: what it takes to plan on, and to draw from, a data set of ImageNet's size: 1,281,167 images of 1,000
unequal classes.

Each job is done in a process of its own, torch-free as planning is: `python -m benchmarks.speed.subsets JOB`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmarks import randomness
from benchmarks.data.subsets import draw_subset, part_sizes
from benchmarks.plan.run import make_run
from benchmarks.records.record import write_subset
from benchmarks.speed.planning import peak_megabytes

if TYPE_CHECKING:  # they load torch
    from benchmarks.speed.clock import Clock, Plan, Tell
    from benchmarks.speed.tables import Table

IMAGES, CLASSES, LEAST, MOST, FULL = 1_281_167, 1000, 732, 1300, 895  # FULL of the classes have MOST images
SHARES, DRAWS, VALIDATION = (0.05, 0.1, 0.3, 0.5, 1.0), 3, 0.2  # of ConViT's protocol
GOAL_SECONDS, GOAL_MEGABYTES = 60, 2000


def class_counts() -> tuple[int, ...]:
    """Images of each class, as unequal as ImageNet's: their number, the least, the most, and how many have the most."""
    stream, few = randomness.key(0, "sizes of classes"), CLASSES - FULL
    drawn = randomness.hashes(stream, np.arange(2 * few)).reshape(2, few) % np.uint64(MOST - LEAST)
    fewer = LEAST + drawn.max(axis=0).astype(np.int64)
    fewer[fewer.argmin()] = LEAST
    while missing := IMAGES - FULL * MOST - int(fewer.sum()):
        fewer[np.flatnonzero((fewer > LEAST) & (fewer < MOST - 1))[:missing]] += 1
    counts = np.concatenate([fewer, np.full(FULL, MOST)])
    return tuple(counts[randomness.permutation(stream, CLASSES)].tolist())


def labels() -> NDArray[np.int64]:
    """The class of each image (IMAGES,), in a mixed order."""
    mixed = randomness.permutation(randomness.key(0, "order of images"), IMAGES)
    return np.repeat(np.arange(CLASSES), class_counts())[mixed]


def plan_sizes() -> None:
    """The sizes of the parts of every share and draw, as expanding a study asks for them."""
    counts = class_counts()
    for share in SHARES:
        for number in range(DRAWS):
            part_sizes(counts, number, round(share * IMAGES), VALIDATION)


def refuse() -> None:
    """The nearest size that is possible, for one that leaves some class out of the validation part."""
    from benchmarks.errors import ImpossibleError

    try:
        part_sizes(class_counts(), 0, CLASSES, VALIDATION)
    except ImpossibleError:
        return
    raise AssertionError("a size that leaves out classes was not refused")


def draw(share: float) -> None:
    """From labels to both parts."""
    draw_subset(labels(), CLASSES, 0, round(share * IMAGES), VALIDATION)


def keep() -> None:
    """From labels to the manifest of all images on disk."""
    subset = draw_subset(labels(), CLASSES, 0, IMAGES, VALIDATION)
    with tempfile.TemporaryDirectory() as folder:
        write_subset(Path(folder), make_run({"validation": VALIDATION}), subset)


JOBS: dict[str, Callable[[], None]] = {
    f"plan {len(SHARES)} shares x {DRAWS} draws": plan_sizes,
    "refuse a size": refuse,
    "draw 5 %": partial(draw, 0.05),
    "draw 100 %": partial(draw, 1.0),
    "draw 100 %, write its manifest": keep,
}


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times the jobs in processes of their own, in turns."""
    from benchmarks.speed.clock import Variant, summarise, take_turns
    from benchmarks.speed.tables import Table

    found: dict[str, dict[str, float]] = {}

    def elsewhere(name: str) -> None:
        command = (sys.executable, "-m", "benchmarks.speed.subsets", name)
        found[name] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    variants = [Variant(name, partial(elsewhere, name), name) for name in JOBS]
    turns = take_turns(variants, replace(plan, warmup=0, seconds=0.0), clock, tell)
    rows = []
    for name in JOBS:
        summary = summarise(turns, name, name)
        seconds = "-" if summary.seconds is None else f"{summary.seconds:.1f}"
        measured = [f"{found[name]['cpu']:.1f}", f"{found[name]['megabytes']:,.0f}"]
        rows.append([name, seconds, *measured, f"{summary.clean} of {summary.taken}"])
    return Table(
        name="subsets",
        about=f"Subsets of {IMAGES:,} images of {CLASSES:,} unequal classes ({LEAST:,} to {MOST:,} images, {FULL} of "
        f"them {MOST:,}), {VALIDATION:.0%} of each for validation, in a new process each, Python's start and the "
        f"making of the labels included. Goal from labels to both parts: under {GOAL_SECONDS} s and "
        f"{GOAL_MEGABYTES:,} MB.",
        header=["job", "seconds", "of a core, s", "peak memory, MB", "clean rounds"],
        rows=rows,
        turns=turns,
    )


if __name__ == "__main__":
    JOBS[sys.argv[1]]()
    print(json.dumps({"cpu": time.process_time(), "megabytes": peak_megabytes()}))
