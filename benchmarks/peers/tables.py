"""The table of trainers side by side, from what each training came to."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.peers.trainings import TRAINERS
from benchmarks.plan.run import Run
from benchmarks.speed.precision import interval
from benchmarks.speed.tables import machine_words, markdown_rows

Row = Mapping[str, Any]
Seeds = Mapping[int, Row]  # seed -> row
HEADER = (
    *("network", "trainer", "test accuracy, %", "ours minus this, points"),
    *("images/s, training", "ours / this", "images/s, whole", "ours / this"),
)


def table(rows: Iterable[Row], runs: Sequence[Run], machine: Mapping[str, Any]) -> str:
    """Markdown: what was measured where, a line for each network and trainer, how much of the machine others used."""
    by_network: dict[str, dict[str, dict[int, Row]]] = {}
    busy = []
    for row in rows:
        by_network.setdefault(row["network"], {}).setdefault(row["trainer"], {})[row["seed"]] = row
        busy += [row["others"]] if row["others"] is not None else []
    lines = [
        [f"`{network}`", trainer, *_cells(trainers[trainer], trainers.get("ours", {}))]
        for network, trainers in by_network.items()
        for trainer in TRAINERS
        if trainer in trainers
    ]
    run = runs[0]
    seeds = len({run.seed for run in runs})
    about = (
        f"{run.dataset}, {run.train_size:,} training and {run.data.test_count:,} test images of {run.resolution} px; "
        f"{run.steps:,} steps of {run.recipe.batch_size} images, recipe `{run.recipe.name}`, float32. Accuracy: mean "
        f"over {seeds} seeds with its 95 % t-interval; differences are paired by seed, likewise. Images/s: trained "
        "images by the processor's seconds: those of the training steps, the making of their images included, and "
        "those of the whole, from the opening of the data to the last file written; medians over the seeds, ratios as "
        "medians of the ratios of each seed. One thread, trainings in turns, each in a process of its own."
    )
    contention = f"Others used {statistics.median(busy):.1f} cores meanwhile (median; at most {max(busy):.1f})."
    parts = [f"Measured {machine['date']} on {machine_words(machine)}.", about]
    return "\n\n".join([*parts, "\n".join(markdown_rows(HEADER, lines)), *([contention] if busy else [])])


def _cells(these: Seeds, ours: Seeds) -> list[str]:
    """What a network and trainer came to, beside ours of the same seeds."""
    shared = [(ours[seed], these[seed]) for seed in these if seed in ours]
    is_ours = these is ours
    points = [100 * (mine["test_accuracy"] - row["test_accuracy"]) for mine, row in shared]
    cells = [spread([100 * row["test_accuracy"] for row in these.values()])]
    cells.append("-" if is_ours or not points else spread(points, signed=True))
    for kind in ("training_seconds", "whole_seconds"):
        cells.append(f"{statistics.median(row['images'] / row[kind] for row in these.values()):,.0f}")
        faster = [row[kind] / mine[kind] for mine, row in shared]
        cells.append("-" if is_ours or not faster else f"{statistics.median(faster):.2f}")
    return cells


def spread(values: Sequence[float], signed: bool = False) -> str:
    """A mean with its 95 % t-interval: '89.12 (88.50 to 89.74)'; of one value the value alone."""
    sign = "+" if signed else ""
    if len(values) == 1:
        return f"{values[0]:{sign}.2f}"
    mean, reach = interval(list(values))
    return f"{mean:{sign}.2f} ({mean - reach:{sign}.2f} to {mean + reach:{sign}.2f})"
