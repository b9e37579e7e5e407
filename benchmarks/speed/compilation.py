"""Table `compile`: what torch.compile gives a training step, what it costs, and from how many steps on it has paid.

`kernels.KERNELS` takes its `compile_from` from here: the largest number of steps, over the networks, that earn what
the first compilation costs. On a GPU the table has a row for whole steps as CUDA graphs, too.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.plan.run import Run
from benchmarks.plan.study import single
from benchmarks.running.execute import execute
from benchmarks.running.loop import FIRST_STEPS
from benchmarks.running.task import Settings
from benchmarks.speed.cases import Case, cases_of, run_of, training_of, write_images
from benchmarks.speed.clock import Clock, Plan, Summary, Tell, Turn, Variant, summarise, take_turns
from benchmarks.speed.start import in_warm_process
from benchmarks.speed.sweep import run_all
from benchmarks.speed.tables import Table, milliseconds, ratio_words
from benchmarks.training.compiling import CompileForm
from benchmarks.training.kernels import apply_execution, execution_for

PRECISIONS = ("float32", "bfloat16")
STEPS = 1000  # of the runs that are begun; one step of each is done


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times steps compiled and uncompiled in turns, and first steps with an empty cache and a filled one, once each."""
    forms: tuple[CompileForm, ...] = ("network", "graphs") if device == "cuda" else ("network",)
    cells = [(case, precision) for case in cases_of(plan) for precision in PRECISIONS]
    first: dict[str, float] = {}
    turns: dict[str, list[Turn]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data, root = Path(folder) / "data", Path(folder) / "runs"
        write_images(data)
        run_all([run_of(cells[0][0], batch, STEPS, data)], 1, Settings(data, device), root, until=1)  # warms the server
        for case, precision in cells:
            run = run_of(case, batch, STEPS, data, precision=precision)
            begin = partial(first_step, run, data, root, device)
            first[_name(case, precision, "off")] = in_warm_process(partial(begin, "off"))
            for form in forms:
                tell(f"compiling {case.name}, {precision}, {form}")
                shutil.rmtree(root / ".compiled", ignore_errors=True)
                for cache in ("cold", "warm"):
                    first[f"{_name(case, precision, form)} {cache}"] = in_warm_process(partial(begin, form))
        for precision in PRECISIONS:  # each by itself: a process computes with the settings of one precision
            variants = [
                Variant(_name(case, precision, form), step_of(run, data, device, form), _name(case, precision, "off"))
                for case in cases_of(plan)
                for run in [run_of(case, batch, STEPS, data, precision=precision)]
                for form in ("off", *forms)
            ]
            turns |= take_turns(variants, replace(plan, warmup=max(1, plan.warmup)), clock, tell)
    rows = []
    for case, precision in cells:
        off = _name(case, precision, "off")
        before = summarise(turns, off, off)
        for form in forms:
            name = _name(case, precision, form)
            after = summarise(turns, name, off)
            cold, warm = (first[f"{name} {cache}"] - first[off] for cache in ("cold", "warm"))
            costs = [f"{cold:.1f}", f"{warm:.1f}", earned(before, after, cold)]
            rows.append(
                [case.name, precision, form, milliseconds(before), milliseconds(after), *ratio_words(after), *costs]
            )
    return Table(
        name="compile",
        about=f"A training step (batch {batch}, with its images) on {device}, compiled and uncompiled, and what "
        "compiling adds to the first steps of a run: with nothing compiled before, and with it all on disk. The last "
        "column is how many steps have earned the former.",
        header=[
            *("network", "precision", "form", "uncompiled, ms", "compiled, ms", "relative", "clean rounds"),
            *("first, s", "from disk, s", "steps that earn it"),
        ],
        rows=rows,
        turns=turns,
    )


def earned(before: Summary, after: Summary, cost: float) -> str:
    """Steps after which the time saved at each is what compiling has cost."""
    if before.seconds is None or after.ratio is None:
        return "-"
    saved = before.seconds * (1 - after.ratio)
    return f"{cost / saved:,.0f}" if saved > 0 else "never"


def _name(case: Case, precision: str, form: str) -> str:
    return f"{case.name} {precision} {form}"


def first_step(run: Run, data: Path, root: Path, device: str, form: CompileForm) -> float:
    """Seconds of a run up to the end of its first steps, graphs recorded; leaves nothing but what was compiled."""
    settings = Settings(data, device, compiling=form)
    began = time.perf_counter()
    execute(run, root, single(run).evaluations[run.id], settings, lambda: False, until=FIRST_STEPS)
    seconds = time.perf_counter() - began
    shutil.rmtree(root / run.id)
    return seconds


def step_of(run: Run, data: Path, device: str, form: CompileForm) -> Callable[[], object]:
    """A call that makes the next step of a training, and reads its loss; this process is set up as the run's is."""
    execution = execution_for(run, device, form)
    apply_execution(execution)
    return training_of(run, data, execution).update
