"""What a study will take before it is started: parameters, MACs, time, files and bytes, each cell and in all."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import models
from benchmarks.errors import RecordError
from benchmarks.plan.recipes import augmentation_words
from benchmarks.plan.run import Evaluation, Run, canonical
from benchmarks.plan.study import Study
from benchmarks.records.record import read_record

# Assumed where nothing was measured, for one single-threaded CPU process: arithmetic at this rate, and a fixed time a
# step for the small operations of a small network. Forward and backward take three forward passes.
CPU_FLOPS = 25e9
GPU_FLOPS = 2e12  # of a run on a GPU, by `submit` alone, which knows that there is one
STEP_SECONDS = 0.004
ASSUMPTION = (
    f"assumed {CPU_FLOPS / 1e9:.0f} GFLOP/s a CPU core and {STEP_SECONDS * 1e3:.0f} ms a step where no run of the same "
    f"model has been measured here; a GPU is faster by a factor this does not know"
)
FILES_PER_RUN = 10
STARTS_READ = 20  # records, of a study's
OTHER_BYTES = 40_000  # a record without weights and predictions


@dataclass(frozen=True)
class Cell:
    """All the runs that differ only in draw and seed. `seconds` and `bytes` are for one run of it."""

    runs: tuple[Run, ...]
    parameters: Mapping[str, int]
    macs: int
    seconds: float
    measured: bool
    bytes: int


@lru_cache(maxsize=1024)
def _facts(
    model: str, size: str, options: tuple[tuple[str, Any], ...], image: int, channels: int, classes: int, shown: int
) -> Any:
    import torch

    with torch.device("meta"):
        network = models.create_model(
            model, image_size=image, in_channels=channels, num_classes=classes, size=size, **dict(options)
        )
    return network.describe(shown, shown)


def facts(run: Run, resolution: int | None = None) -> Any:
    """What the network says of itself at a resolution, by default of training: parameters, MACs (computed on the
    meta device). Raises models.ModelError when it cannot take that resolution."""
    data, shown = run.data, resolution or run.resolution
    options = tuple(run.options.items())
    return _facts(run.model, run.size, options, run.resolution, data.channels, data.classes, shown)


def cell_key(run: Run) -> str:
    """The same for all runs of a cell: the configuration without draw and seed."""
    settings = run.settings()
    del settings["draw"], settings["seed"]
    return canonical(settings)


def cell_name(run: Run) -> str:
    """A run's id without draw, seed and digest, with the size and recipe: names a cell in tables."""
    name = run.model if run.position == "-" else f"{run.model} {run.position}"
    return f"{name} {run.size}, {run.dataset} n={run.train_size} r={run.resolution}, {run.recipe.name}"


def cells(study: Study, root: Path) -> list[Cell]:
    """The cells of a study in its order, with what each run of them takes."""
    groups: dict[str, list[Run]] = {}
    for run in study.runs:
        groups.setdefault(cell_key(run), []).append(run)
    rates = measured_rates(root, study)
    return [_cell(study, tuple(runs), rates) for runs in groups.values()]


def _cell(study: Study, runs: tuple[Run, ...], rates: Mapping[str, float]) -> Cell:
    run = runs[0]
    known = facts(run)
    macs = int(known.macs)
    rate = rates.get(speed_key(run))
    evaluations = study.evaluations[run.id]
    images = sum(_part_sizes(run)[one.part] for one in evaluations)
    classes = run.data.classes
    kept = images * 2 * classes if images * 2 * classes <= 4_000_000 else images * 10
    weights = 4 * sum(known.parameters.values())
    return Cell(
        runs,
        known.parameters,
        macs,
        run_seconds(run, evaluations, macs, rate, CPU_FLOPS),
        rate is not None,
        weights + int(kept) + OTHER_BYTES,
    )


def run_seconds(run: Run, evaluations: Sequence[Evaluation], macs: int, rate: float | None, flops: float) -> float:
    """Seconds of a run with its evaluations, by the images a second of its training where they were measured (an
    image that is only evaluated takes a third), else by an assumed rate of `flops` a second."""
    batch = run.recipe.batch_size
    area = _training_area(run)
    assumed = batch / (STEP_SECONDS + 6 * macs * batch * area / flops)
    work = sum(_images(run, one, _part_sizes(run)[one.part]) for one in evaluations)
    evaluated = work / (3 * rate * area) if rate else work * (2 * macs / flops + STEP_SECONDS / 256)
    return run.steps * batch / (rate or assumed) + evaluated


def _part_sizes(run: Run) -> dict[str, int]:
    """Images of the parts that can be evaluated."""
    return {"test": run.data.test_count, "test_unique": run.data.test_count, "validation": run.part_sizes[1]}


def _training_area(run: Run) -> float:
    """Area of the training images, in images of the training resolution: the mean over the recipe's resolutions."""
    several = run.recipe.train_resolutions
    if not several or models.family(run.model).resizes_input:
        return 1.0
    return sum((side / run.resolution) ** 2 for side in several) / len(several)


def _images(run: Run, one: Evaluation, count: int) -> float:
    """What an evaluation of `count` images takes, in images of the training resolution."""
    if one.batchnorm == "reestimated" and one.part == "test":  # its statistics serve every part
        count += run.part_sizes[0]
    return count if one.images == "patch" else count * (one.resolution / run.resolution) ** 2


def speed_key(run: Run) -> str:
    """What decides the speed of a run: its network, resolution, precision, batch and augmentation, not its data."""
    return canonical(
        [
            run.model,
            run.size,
            dict(run.options),
            run.resolution,
            run.precision,
            run.recipe.batch_size,
            augmentation_words(run.recipe, run.data.flips),
        ]
    )


def measured_start(root: Path, study: Study) -> float:
    """The longest start of an attempt (s, to its first step) in a few records of the study; 0 where there is none."""
    found = [0.0]
    recorded = (run for run in study.runs if (root / run.id / "config.json").exists())
    for run in islice(recorded, STARTS_READ):
        with suppress(RecordError):
            attempts = read_record(root / run.id).attempts
            found += [float(one["seconds"]["start"]) for one in attempts if one["seconds"]]
    return max(found)


def measured_rates(root: Path, study: Study) -> dict[str, float]:
    """Images a second by speed key, from records of the study's runs that are there."""
    rates: dict[str, float] = {}
    for run in study.runs:
        if speed_key(run) in rates or not (root / run.id / "config.json").exists():
            continue
        try:
            attempts = read_record(root / run.id).attempts
        except RecordError:
            continue
        measured = [attempt["images_per_second"] for attempt in attempts if attempt["images_per_second"]]
        if measured:
            rates[speed_key(run)] = float(measured[-1])
    return rates
