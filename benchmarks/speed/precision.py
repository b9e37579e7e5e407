"""Table `bf16`: what bfloat16 does to accuracy, in real runs with and without it that share subsets and seeds."""

import math
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scipy import stats

from benchmarks.errors import InductiveError
from benchmarks.plan.run import Run, make_run
from benchmarks.plan.study import single
from benchmarks.records.record import read_record
from benchmarks.running.local import run_tasks, slots
from benchmarks.running.task import Settings, Task
from benchmarks.speed.cases import Quiet
from benchmarks.speed.clock import Clock, Plan, Tell
from benchmarks.speed.tables import Table

MODELS = ("vit", "resnet")
PRECISIONS = ("float32", "bfloat16")
SEEDS, QUICK_SEEDS = 5, 2
STEPS, QUICK_STEPS = 500, 2
TRAIN_SIZE = 1000


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Trains both models in both precisions over the seeds, and compares them seed by seed."""
    seeds, steps = (SEEDS, STEPS) if plan.measures else (QUICK_SEEDS, QUICK_STEPS)
    runs = {
        (model, precision, seed): digits_run(model, precision, seed, steps)
        for model in MODELS
        for seed in range(seeds)
        for precision in PRECISIONS
    }
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tell(f"{len(runs)} runs of {steps} steps")
        settings = Settings(root / "data", device)
        tasks = [Task(run, single(run).evaluations[run.id], root, settings) for run in runs.values()]
        began = clock.now()
        for ending in run_tasks(tasks, slots(device), Quiet()):
            if ending.state != "finished":
                raise InductiveError(f"{ending.task.run.id}: {ending.state} ({ending.line})")
        seconds = clock.now() - began
        accuracy = {key: accuracy_of(root / run.id) for key, run in runs.items()}
    rows = []
    for model in MODELS:
        full, half = ([accuracy[model, precision, seed] for seed in range(seeds)] for precision in PRECISIONS)
        differences = [100 * (theirs - mine) for mine, theirs in zip(full, half, strict=True)]
        mean, reach = interval(differences)
        means = [f"{100 * statistics.mean(values):.2f}" for values in (full, half)]
        words = f"{mean:+.2f} ({mean - reach:+.2f} to {mean + reach:+.2f})"
        rows.append([f"`{model}`", *means, words, str(seeds)])
    return Table(
        name="bf16",
        about=f"Test accuracy (%) on the bundled digits, n = {TRAIN_SIZE}, size `pico`, recipe `digits`, {steps} "
        f"steps, on {device}; runs of one seed share subset, initial weights, order and augmentation. Difference of "
        f"bfloat16 to float32 in points, paired by seed: mean with its 95 % t-interval. It took "
        f"{seconds / 60:.0f} minutes.",
        header=["model", *PRECISIONS, "difference", "seeds"],
        rows=rows,
        turns={},
    )


def digits_run(model: str, precision: str, seed: int, steps: int) -> Run:
    """One of the runs."""
    settings = {"model": model, "size": "pico", "train_size": TRAIN_SIZE, "recipe": "digits", "seed": seed}
    return make_run({**settings, "budget": {"steps": steps}, "precision": precision})


def accuracy_of(folder: Path) -> float:
    """Accuracy (0..1) of a finished run on the test part."""
    done = {one["evaluation"]["part"]: one["accuracy"] for one in read_record(folder).evaluations}
    return float(done["test"])


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean and half the length of its 95 % t-interval."""
    spread = statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), float(stats.t.ppf(0.975, len(values) - 1)) * spread
