"""Table `planning`: how long it takes to plan a large study, and what memory (expand, validate, ids, evaluations).

Each is planned in a process of its own, torch-free as planning is: `python -m benchmarks.speed.planning RUNS`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # they load torch
    from benchmarks.speed.clock import Clock, Plan, Tell
    from benchmarks.speed.tables import Table

SIZES, RESOLUTIONS = 5, 4  # of the grid, beside the models and the seeds


RUNS, QUICK_RUNS = (1000, 10_000, 100_000), (100,)
GOAL_SECONDS, GOAL_MEGABYTES = 30, 1000  # for the most of them


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times planning in processes of their own, in turns."""
    from benchmarks.speed.clock import Variant, summarise, take_turns
    from benchmarks.speed.tables import Table

    asked = RUNS if plan.measures else QUICK_RUNS
    found: dict[str, dict[str, float]] = {}

    def elsewhere(runs: int) -> None:
        command = (sys.executable, "-m", "benchmarks.speed.planning", str(runs))
        found[str(runs)] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    variants = [Variant(str(runs), partial(elsewhere, runs), str(runs)) for runs in asked]
    turns = take_turns(variants, replace(plan, warmup=0, seconds=0.0), clock, tell)
    rows = []
    for name, taken in found.items():
        summary = summarise(turns, name, name)
        seconds = "-" if summary.seconds is None else f"{summary.seconds:.1f}"
        sizes = [f"{taken['runs']:,}", f"{taken['evaluations']:,}"]
        rows.append([*sizes, seconds, f"{taken['megabytes']:,.0f}", f"{summary.clean} of {summary.taken}"])
    return Table(
        name="planning",
        about=f"Planning a study: its grid expanded, every run validated and its id computed, its evaluations listed, "
        f"in a new process each, Python's start included. Goal for {RUNS[-1]:,} runs: under {GOAL_SECONDS} s and "
        f"{GOAL_MEGABYTES:,} MB.",
        header=["runs", "evaluations", "seconds", "peak memory, MB", "clean rounds"],
        rows=rows,
        turns=turns,
    )


def grid(runs: int) -> dict[str, Any]:
    """A study of at least `runs` runs: twenty models and encodings, five subset sizes, four resolutions, and seeds.

    Every run is measured at three resolutions, on the test and on the validation part.
    """
    import models

    listed = [{"name": "vit", "position": list(models.position_names())}]
    listed += [{"name": name} for name in ("resnet", "convnext", "conv_stem_vit", "cct")]
    cells = (len(models.position_names()) + len(listed) - 1) * SIZES * RESOLUTIONS
    return {
        "question": "How long does planning take?",
        "dataset": "cifar10",
        "recipe": "plain",
        "train_size": [100, 300, 1000, 3000, 10_000][:SIZES],
        "resolution": [24, 32, 40, 48][:RESOLUTIONS],
        "seed": list(range(-(-runs // cells))),
        "test_resolutions": [24, 32, 48],
        "invalid": "leave_out",
        "models": listed,
    }


def peak_megabytes() -> float:
    """The most memory (MB, resident) this process has used so far.

    From /proc where there is one: `getrusage` counts what the parent had when it started this process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def planned(runs: int) -> dict[str, float]:
    """Expands the grid: every run validated, its id computed, its evaluations listed."""
    start = time.perf_counter()
    from benchmarks.plan.study import expand

    study = expand(grid(runs), "planning")
    evaluations = sum(map(len, study.evaluations.values()))
    seconds = time.perf_counter() - start
    return {"runs": len(study.runs), "evaluations": evaluations, "seconds": seconds, "megabytes": peak_megabytes()}


if __name__ == "__main__":
    print(json.dumps(planned(int(sys.argv[1]))))
