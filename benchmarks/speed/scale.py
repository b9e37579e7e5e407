"""Table `scale`: how the time of a sweep grows with the number of runs, and of those side by side."""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.plan.run import Run, make_run
from benchmarks.running.local import slots
from benchmarks.running.task import Settings
from benchmarks.speed.clock import Clock, Plan, Tell, Variant, summarise, take_turns
from benchmarks.speed.sweep import run_all
from benchmarks.speed.tables import Table, ratio_words

RUNS, QUICK_RUNS = (10, 100, 1000), (2, 4)
STEPS, TRAIN_SIZE = 10, 100
MOST_ROUNDS = 3  # a round takes many minutes


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times sweeps of tiny runs one at a time and in all slots (cores, GPUs), in turns."""
    counts = RUNS if plan.measures else QUICK_RUNS
    jobs = sorted({1, slots(device)})
    few = replace(
        plan, warmup=0, seconds=0.0, rounds=min(plan.rounds, MOST_ROUNDS), most=min(plan.most, 2 * MOST_ROUNDS)
    )
    with tempfile.TemporaryDirectory() as folder:
        settings, root = Settings(Path(folder) / "data", device), Path(folder) / "runs"
        run_all([tiny(0)], 1, settings, root)  # the fork server is warm from here on
        variants = [
            Variant(_name(count, cores), partial(run_all, runs, cores, settings, root), _name(count, 1))
            for count in counts
            for runs in [[tiny(seed) for seed in range(count)]]
            for cores in jobs
        ]
        turns = take_turns(variants, few, clock, tell)
    rows = []
    for count in counts:
        for cores in jobs:
            summary = summarise(turns, _name(count, cores), _name(count, 1))
            times = ["-", "-"] if summary.seconds is None else _times(summary.seconds, count)
            rows.append([f"{count:,}", str(cores), *times, *ratio_words(summary)])
    return Table(
        name="scale",
        about=f"Sweeps of tiny runs (`vit` of size `pico` on the bundled digits, n = {TRAIN_SIZE}, {STEPS} steps, all "
        f"evaluations and records) on {device} from the warm server: the time of all of them, and that of several "
        f"side by side relative to one at a time.",
        header=["runs", "side by side", "seconds", "ms a run", "relative to one", "clean rounds"],
        rows=rows,
        turns=turns,
    )


def tiny(seed: int) -> Run:
    """One of the runs."""
    settings = {"size": "pico", "train_size": TRAIN_SIZE, "recipe": "digits", "budget": {"steps": STEPS}, "seed": seed}
    return make_run(settings)


def _name(count: int, cores: int) -> str:
    return f"{count} runs on {cores}"


def _times(seconds: float, count: int) -> list[str]:
    return [f"{seconds:.1f}", f"{seconds / count * 1e3:.0f}"]
