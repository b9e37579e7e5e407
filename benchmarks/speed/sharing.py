"""Table `sharing`: images a second of one, two, four and eight runs that share a GPU, with NVIDIA's MPS or without.

Whole runs, as in the table `sweep`: their start, records and last evaluation are in the time. MPS is never started
here: the table says whether its daemon ran, and bears its name then.
"""

import tempfile
from pathlib import Path

from benchmarks.running.gpus import mps_runs
from benchmarks.speed.cases import RESOLUTION, Case, cases_of, write_images
from benchmarks.speed.clock import Clock, Plan, Tell, Turn, Variant, summarise, take_turns
from benchmarks.speed.sweep import faster, sweep_of
from benchmarks.speed.tables import Table

ALL_RUNS, TRIED = (1, 2, 4, 8), (1, 2)  # side by side; where the script is only tried
STEPS = 300  # of each run: a few seconds
CASES = ("ViT 192x6, patch 4", "ResNet-20", "ViT 64x2, patch 8")  # none fills a GPU by itself
PRECISION = "bfloat16"


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times so many runs side by side on a GPU (on a CPU: on as many cores), each network by itself."""
    steps, together = (STEPS, ALL_RUNS) if plan.measures else (1, TRIED)
    once = Plan(plan.rounds, plan.most, warmup=0, seconds=0.0, patience=plan.patience)
    turns: dict[str, list[Turn]] = {}
    cases = [case for case in cases_of(plan) if case.name in CASES]
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "data")
        for case in cases:
            tell(f"warming up {case.name}")
            sweep_of(case, batch, 1, PRECISION, 1, Path(folder), device)()
            variants = [
                Variant(_name(case, runs), sweep_of(case, batch, steps, PRECISION, runs, Path(folder), device), one)
                for one in [_name(case, 1)]
                for runs in together
            ]
            turns |= take_turns(variants, once, clock, tell)
    rows = []
    for case in cases:
        found = [summarise(turns, _name(case, runs), _name(case, runs)) for runs in together]
        rates = [
            "-" if one.seconds is None else f"{runs * steps * batch / one.seconds:,.0f}"
            for runs, one in zip(together, found, strict=True)
        ]
        gains = [faster(turns, _name(case, runs), _name(case, 1), runs)[1] for runs in together[1:]]
        rows.append([case.name, *rates, *gains, f"{min(one.clean for one in found)} of {found[0].taken}"])
    return Table(
        name="sharing with MPS" if mps_runs() else "sharing",
        about=f"Images a second in all, over whole trainings of {steps:,} steps in {PRECISION} at {RESOLUTION} px, "
        f"batch {batch}, of so many runs side by side on one {device}, "
        f"{'with' if mps_runs() else 'without'} NVIDIA's MPS; start, records and last evaluation are in the time.",
        header=[
            "network",
            *(f"{runs} run{'s' if runs > 1 else ''}" for runs in together),
            *(f"{runs} over 1" for runs in together[1:]),
            "clean rounds",
        ],
        rows=rows,
        turns=turns,
    )


def _name(case: Case, runs: int) -> str:
    return f"{case.name} {runs} {PRECISION}"
