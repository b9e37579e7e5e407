"""Table `start`: what a run costs beside its training: its start, its evaluation at other resolutions, its memory."""

import multiprocessing
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import InductiveError
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import single
from benchmarks.running.execute import execute
from benchmarks.running.local import keep_memory
from benchmarks.running.task import Settings
from benchmarks.speed.cases import DATASET, RESOLUTION, TRAIN, Case, cases_of, run_of, write_images
from benchmarks.speed.clock import Clock, Plan, Tell, Variant, summarise, take_turns
from benchmarks.speed.planning import peak_megabytes
from benchmarks.speed.steps import CLASSES
from benchmarks.speed.sweep import run_all
from benchmarks.speed.tables import Table, milliseconds
from benchmarks.training.evaluation import Measurer
from benchmarks.training.kernels import execution_for
from benchmarks.training.training import build_model

RESOLUTIONS = (RESOLUTION, 48, 64)
START_GOAL = 0.3
STARTS = (0, 1)  # steps of a run that is stopped there
STEPS = 3  # of the run whose memory is looked at: the optimiser's state is there after the first


def measure(plan: Plan, batch: int, device: str, clock: Clock, tell: Tell) -> Table:
    """Times starts and evaluations in turns; the memory of a run's process is looked at once."""
    variants, memory, cases = [], {}, cases_of(plan)
    with tempfile.TemporaryDirectory() as folder:
        data, root = Path(folder) / "data", Path(folder) / "runs"
        settings = Settings(data, device)
        write_images(data)
        for case in cases:
            for steps in STARTS:
                start = partial(run_all, [run_of(case, batch, STEPS, data)], 1, settings, root, until=steps)
                start()  # the fork server is warm from here on
                variants.append(Variant(_start(case, steps), start, _start(case, steps)))
            measurer = measurer_of(run_of(case, batch, STEPS, data), data, device)
            for resolution in RESOLUTIONS:
                call = partial(measurer.logits, "train", Evaluation(resolution=resolution))
                variants.append(Variant(_name(case, resolution), call, _name(case, RESOLUTION)))
        nothing = in_warm_process(peak_megabytes)
        for case in cases:
            run = run_of(case, batch, STEPS, data)
            memory[case.name] = in_warm_process(partial(memory_of, run, root / case.name, settings))
        turns = take_turns(variants, replace(plan, warmup=min(plan.warmup, 1)), clock, tell)
    rows = []
    for case in cases:
        home, *others = (summarise(turns, _name(case, at), _name(case, RESOLUTION)) for at in RESOLUTIONS)
        starts = [summarise(turns, _start(case, steps), _start(case, steps)) for steps in STARTS]
        rate = "-" if home.seconds is None else f"{TRAIN * CLASSES / home.seconds:,.0f}"
        costs = ["-" if one.ratio is None else f"{one.ratio:.2f}" for one in others]
        peak = memory[case.name]
        clean = min(one.clean for one in (*starts, home, *others))
        used = [f"{peak:,.0f}", f"{peak - nothing:,.0f}"]
        rows.append([case.name, *map(milliseconds, starts), rate, *costs, *used, f"{clean} of {home.taken}"])
    return Table(
        name="start",
        about=f"From asking for a run to the end of its process, forked from the warm server, which does everything "
        f"up to the first step (goal: under {START_GOAL * 1000:.0f} ms) or that step, too, batch {batch}. "
        f"Evaluation of one network at several resolutions, on {device}, one thread, float32: images a second at "
        f"{RESOLUTION} px, and the time at the others relative to that. Peak "
        f"resident memory of the process of a run of {STEPS} steps, and what of it is above that of a process that "
        f"has done nothing ({nothing:,.0f} MB, most of them pages of the server that all share).",
        header=[
            *("network", "up to the first step, ms", "with the first step, ms"),
            f"evaluation at {RESOLUTION} px, images/s",
            *(f"at {at} px, relative" for at in RESOLUTIONS[1:]),
            *("peak memory, MB", "its own, MB", "clean rounds"),
        ],
        rows=rows,
        turns=turns,
    )


def _start(case: Case, steps: int) -> str:
    return _name(case, f"start and {steps} steps")


def _name(case: Case, what: object) -> str:
    return f"{case.name} {what}"


def measurer_of(run: Run, data: Path, device: str) -> Measurer:
    """What evaluates a network of a run, as initialised, as `execute` does it."""
    execution = execution_for(run, device)
    images = load_images(DATASET, data)
    subset = draw_subset(images.train_labels, run.data.classes, run.draw, run.train_size, run.validation)
    channels_last = execution["layout"] == "channels_last"
    return Measurer(build_model(run, execution), run, images, subset, channels_last)


def in_warm_process(call: Callable[[], float]) -> float:
    """The value of a call in a new process of the fork server, which `run_all` has warmed."""
    context = multiprocessing.get_context("forkserver")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(theirs, call))
    process.start()
    theirs.close()
    try:
        value: float = ours.recv()
    except EOFError as error:
        raise InductiveError("the process whose memory is looked at died; its error is above") from error
    process.join()
    return value


def _answer(pipe: Connection, call: Callable[[], float]) -> None:
    pipe.send(call())


def memory_of(run: Run, root: Path, settings: Settings) -> float:
    """Executes a run as a child of `local` does. Returns the most megabytes of the host that this process had."""
    keep_memory()
    execute(run, root, single(run).evaluations[run.id], settings, lambda: False)
    return peak_megabytes()
