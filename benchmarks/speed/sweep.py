"""Table `sweep`: images a second over whole trainings, against the loop a user would write and against timm's.

Ours is the real thing: as many runs side by side as there are cores, or one on a GPU, each a process of one thread,
through `local.run_tasks`; in its time is all that a study does: processes forked from the warm server, records,
checkpoints, and the evaluation at the end. Of theirs, start-up is left out, and nothing is evaluated or kept. So ours
are longer (a minute, as short runs of a study are): what a start takes weighs as it does there. Rates do not depend on
it else.
"""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.errors import InductiveError
from benchmarks.plan.run import Run
from benchmarks.plan.study import single
from benchmarks.running.local import run_tasks, slots
from benchmarks.running.task import Settings, Task
from benchmarks.speed.cases import RESOLUTION, Case, Quiet, cases_of, run_of, write_images
from benchmarks.speed.clock import Clock, Plan, Summary, Tell, Turn, Variant, summarise, take_turns
from benchmarks.speed.kernels_alone import share_cells, step_and_kernels, take_both
from benchmarks.speed.loops import Elsewhere, workers
from benchmarks.speed.tables import Table

OURS = ("float32", "bfloat16")
GPU_STEPS = 512  # of theirs in a turn, whatever the network
MANY = 10**6  # steps of a run that is begun for some of them
LONGER = 4  # times as many steps as theirs, which start before the clock does
THEIRS = (("plain", "float32"), ("timm", "float32"), ("timm", "bfloat16"))


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times every network in every way, all in turns: theirs of equally many images, ours of LONGER times as many;
    before that, what kernels take of our steps."""
    jobs, cases = slots("cpu") if device == "cpu" else 1, cases_of(plan)
    images: dict[str, int] = {}
    variants: list[Variant] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_images(data)
        shares = turns_of_shares(cases, plan, batch, device, data, clock, tell)
        torch.cuda.empty_cache()  # on a GPU others need the room
        with Elsewhere("plain", batch, device) as plain, Elsewhere("timm", batch, device) as timm:
            for case in cases:
                steps = steps_of(case, device) if plan.measures else 1
                images[case.name] = jobs * steps * batch
                for (kind, precision), loop in zip(THEIRS, (plain, timm, timm), strict=True):
                    if plan.warmup:
                        tell(f"warming up {case.name}, {kind} {precision}")
                        loop.train(case, precision, 1)
                    theirs = partial(loop.train, case, precision, jobs * steps)
                    variants.append(Variant(f"{case.name} {kind} {precision}", theirs, _plain(case)))
                for precision in OURS:
                    if plan.warmup:
                        tell(f"warming up {case.name}, ours {precision}")
                        sweep_of(case, batch, 1, precision, jobs, Path(folder), device)()
                    ours = sweep_of(case, batch, steps * LONGER, precision, jobs, Path(folder), device)
                    variants.append(Variant(f"{case.name} ours {precision}", ours, _plain(case)))
            turns = shares | take_turns(variants, replace(plan, warmup=0, seconds=0.0), clock, tell)
    lengths = "/".join(str(steps_of(case, device) * LONGER) for case in cases)
    return Table(
        name="sweep",
        about=f"Images a second over whole trainings at {RESOLUTION} px, batch {batch}, random crop and flip, AdamW. "
        f"Ours: {jobs} runs of the recipe `plain` side by side on {device}, of {lengths} steps, "
        f"one thread each, their start, records and last evaluation included. Plain: PIL images, torchvision's "
        f"transforms, DataLoader with {workers(device)} workers, float32, torch's default AdamW, `loss.item()` at each "
        f"step, {slots('cpu')} threads, start-up not included, 1/{LONGER} as many images; timm: likewise, by its "
        f"loader, its optimiser factory and its model where it has one. Ratios of images a second: median "
        f"(quartiles) over the rounds in which both turns were clean. Kernels alone: the convolutions and matrix "
        f"products of one training step, forward and backward, made by themselves in turns with whole steps (their "
        f"images included), in one process.",
        header=[
            *("network", "plain", "timm, float32", "timm, bfloat16", "ours, float32", "ours, bfloat16"),
            *("ours / plain, float32", "ours / plain, any precision", "ours / timm, float32", "ours / timm, bfloat16"),
            "clean rounds",
            *(f"{words}, {precision}" for precision in OURS for words in ("kernels alone, ms", "share of a step")),
            "clean rounds, kernels",
        ],
        rows=[_row(case, turns, images[case.name]) for case in cases],
        turns=turns,
    )


def turns_of_shares(
    cases: Sequence[Case], plan: Plan, batch: int, device: str, data: Path, clock: Clock, tell: Tell
) -> dict[str, list[Turn]]:
    """Whole steps and their kernels alone in turns, for each network and precision of ours by itself."""
    turns: dict[str, list[Turn]] = {}
    for case, precision in itertools.product(cases, OURS):
        tell(f"kernels alone of {case.name}, {precision}")
        step, kernels = step_and_kernels(run_of(case, batch, MANY, data, precision=precision), data, device)
        turns |= take_both(f"{case.name} {precision}", step, kernels, plan, clock, tell)
    return turns


def steps_of(case: Case, device: str) -> int:
    """Steps of theirs that fill a turn of some seconds on a core, or on a GPU."""
    return case.steps if device == "cpu" else GPU_STEPS


def sweep_of(
    case: Case, batch: int, steps: int, precision: str, jobs: int, folder: Path, device: str
) -> Callable[[], None]:
    """A call that trains `jobs` runs side by side, anew at each call, and raises InductiveError when one fails."""
    settings = Settings(folder / "data", device)
    runs = [run_of(case, batch, steps, settings.data, seed, precision) for seed in range(jobs)]
    return partial(run_all, runs, jobs, settings, folder / "runs")


_calls = itertools.count()


def run_all(runs: Sequence[Run], jobs: int, settings: Settings, root: Path, until: int | None = None) -> None:
    """Trains runs in a root of their own, removed afterwards. Raises InductiveError when one ends as it should not."""
    place = root / str(next(_calls))
    tasks = [Task(run, single(run).evaluations[run.id], place, settings, until) for run in runs]
    wanted = "finished" if until is None else "interrupted"
    for ending in run_tasks(tasks, jobs, Quiet()):
        if ending.state != wanted:
            raise InductiveError(f"{ending.task.run.id}: {ending.state} ({ending.line})")
    shutil.rmtree(place)


def _plain(case: Case) -> str:
    return f"{case.name} plain float32"


def _row(case: Case, turns: Mapping[str, Sequence[Turn]], images: int) -> list[str]:
    names = [f"{case.name} {kind} {precision}" for kind, precision in THEIRS]
    ours = {precision: f"{case.name} ours {precision}" for precision in OURS}
    rates = [_rate(turns, name, images) for name in names]
    rates += [_rate(turns, name, images * LONGER) for name in ours.values()]
    plain, timm_same, timm_half = names
    same = faster(turns, ours["float32"], plain, LONGER)[1]
    _, best = max((faster(turns, name, plain, LONGER) for name in ours.values()), key=lambda found: found[0])
    over_timm = [faster(turns, ours[p], name, LONGER)[1] for p, name in zip(OURS, (timm_same, timm_half), strict=True)]
    counts = [summarise(turns, name, plain) for name in (*names, *ours.values())]
    shares = [share_cells(turns, f"{case.name} {precision}", case.share) for precision in OURS]
    return [
        *(case.name, *rates, same, best, *over_timm, _fewest(counts)),
        *(cell for cells, _ in shares for cell in cells),
        _fewest([summary for _, summary in shares]),
    ]


def _fewest(summaries: Sequence[Summary]) -> str:
    """The clean rounds of the variant that has the fewest, in words."""
    return min((summary.clean, f"{summary.clean} of {summary.taken}") for summary in summaries)[1]


def _rate(turns: Mapping[str, Sequence[Turn]], name: str, images: int) -> str:
    seconds = summarise(turns, name, name).seconds
    return "-" if seconds is None else f"{images / seconds:,.0f}"


def faster(turns: Mapping[str, Sequence[Turn]], name: str, other: str, more: int = 1) -> tuple[float, str]:
    """How many times faster a variant is than another, doing `more` times as much: the median, and in words with
    quartiles."""
    summary = summarise(turns, other, name)  # the other's time over its own
    if summary.ratio is None or summary.low is None or summary.high is None:
        return 0.0, "-"
    ratio, low, high = (more * value for value in (summary.ratio, summary.low, summary.high))
    return ratio, f"{ratio:.2f} ({low:.2f} to {high:.2f})"
