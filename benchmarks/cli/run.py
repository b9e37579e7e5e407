"""`inductive run`: a study on this machine; and what `train` and `rerun` do as well (settings, processes, the end).

What loads torch is imported inside, so that `--help` and a mistyped flag are answered at once.
"""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

import models
from benchmarks.cli.options import options
from benchmarks.console import count, duration, say, terminal
from benchmarks.data.dataset import Places
from benchmarks.errors import DONE, FAILED, INTERRUPTED, OTHERS, ConfigError
from benchmarks.plan.study import Study, load_study
from benchmarks.records.record import check_root
from benchmarks.records.stages import whole
from benchmarks.records.states import RunState, counted, run_state, selected
from benchmarks.records.study_texts import keep_text
from benchmarks.running import preflight
from benchmarks.running.left import Left, left
from benchmarks.running.progress import reporter_for
from benchmarks.running.task import Ending, Task
from benchmarks.running.together import launched

if TYPE_CHECKING:
    from benchmarks.running.task import Settings
    from benchmarks.running.together.launched import Start
    from benchmarks.running.together.links import Door
    from benchmarks.training.kernels import CompileChoice


@click.command()
@click.argument("study")
@options("only", "runs", "data", "device", "gpus_per_run", "recompute", "compile", "checkpoint", "accept", "workers")
@options("decoder", "plugin")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs side by side, with CUDA on each GPU or group of --gpus-per-run; default: one a core or GPU.",
)
def run(study: str, only: str | None, jobs: int | None, root: Path, data: Path, **flags: Any) -> int:
    """Bring a study as far as it can be brought on this machine."""
    start = launched.started(flags["gpus_per_run"])
    if jobs and start.nodes > 1:
        raise ConfigError(
            "--jobs", f"{start.by} has started this on {start.nodes} nodes, which compute one run at a time"
        )
    with on_all_nodes(start, root) as door:
        if not start.leads:
            return DONE
        places = Places(data, root)
        loaded = load_study(study, places)
        if (root / ".submissions").is_dir():
            from slurm.status import settle_lost

            settle_lost(whole(loaded, places), root)
        settings = settings_for(data, **flags | {"gpus_per_run": start.ranks}, nodes=start.nodes)
        return run_stages(loaded, places, only, jobs, root, settings, terminal(), door)


@contextmanager
def on_all_nodes(start: Start, root: Path) -> Iterator[Door | None]:
    """The door to the other nodes that compute runs with this one. On any of these, what the first node asks for has
    been done when this is entered, so nothing is left to do."""
    if start.nodes == 1 or start.idle:
        yield None
        return
    from benchmarks.running.together import nodes

    if start.node:
        nodes.follow(start, root)
        yield None
        return
    with nodes.leading(start, root) as door:
        yield door


def settings_for(
    data: Path,
    device: str,
    checkpoint_every: float,
    accept_code: bool,
    compiling: CompileChoice = "rule",
    workers: int | None = None,
    decoder: str = "pillow",
    gpus_per_run: int = 1,
    checkpoint_activations: bool = False,
    nodes: int = 1,
) -> Settings:
    """Execution settings from flags, the device chosen. Raises ConfigError for what cannot be had here."""
    from benchmarks.data.decoders import check_decoder
    from benchmarks.running.task import Settings
    from benchmarks.training.kernels import check_compile, choose_device

    if not math.isfinite(checkpoint_every):
        raise ConfigError("--checkpoint-every", f"{checkpoint_every} is not a number of seconds")
    command = shlex.join(["inductive", *sys.argv[1:]])
    plugins = models.loaded_plugins()
    device = choose_device(device)
    check_compile(compiling, device)
    check_decoder(decoder, "--decoder")
    check_gpus(gpus_per_run, device, nodes)
    return Settings(
        data,
        device,
        checkpoint_every,
        accept_code=accept_code,
        compiling=compiling,
        command=command,
        plugins=plugins,
        decoder=decoder,
        workers=workers,
        gpus_per_run=gpus_per_run,
        checkpoint_activations=checkpoint_activations,
    )


def gpus_for(settings: Settings, nodes: int = 1) -> tuple[str, ...]:
    """The GPUs of this node that one run is computed by; () where it takes torch's first, or none."""
    from benchmarks.running import gpus

    several = settings.device == "cuda" and settings.gpus_per_run > 1
    return gpus.given()[: settings.gpus_per_run // nodes] if several else ()


def check_gpus(gpus_per_run: int, device: str, nodes: int = 1) -> None:
    """Raises ConfigError for more GPUs a run than there are on as many nodes as this one."""
    if gpus_per_run == 1:
        return
    from benchmarks.running import gpus

    if device == "mps":
        raise ConfigError("--gpus-per-run", f"{gpus_per_run}: mps has one GPU; allowed: 1")
    if device == "cuda" and gpus_per_run > nodes * (there := len(gpus.given())):
        where = "here" if nodes == 1 else f"on each of {nodes} nodes"
        raise ConfigError(
            "--gpus-per-run", f"{gpus_per_run}, and there {'is' if there == 1 else 'are'} {there} {where}"
        )


def run_stages(
    study: Study,
    places: Places,
    only: str | None,
    jobs: int | None,
    root: Path,
    settings: Settings,
    console: Console,
    door: Door | None = None,
) -> int:
    """`run_study` of a study, and then of what confirms its search, which follows from what that has come to: of the
    cells that are searched, though trials of others have failed, or another command still has them."""
    known = whole(study, places)
    while True:
        code = run_study(known, only, jobs, root, settings, console, door)
        before, known = known, whole(study, places)
        if code == INTERRUPTED or known.runs == before.runs:
            return code
        say(
            console,
            f"{study.name}: searched; {count(len(known.runs) - len(before.runs), 'runs')} confirm what was chosen",
        )


def run_study(
    study: Study,
    only: str | None,
    jobs: int | None,
    root: Path,
    settings: Settings,
    console: Console,
    door: Door | None = None,
) -> int:
    """Trains and evaluates what of a study is left to do: first the runs that can start, then those that start from
    them. Returns the exit code, the graver of the two.

    Runs whose start has no weights are set aside. Raises ConfigError where nothing else is left."""
    runs = selected(study, only)
    check_root(root)
    keep_text(study, root)
    for line in preflight.decode(study, runs, settings.data):
        say(console, line)
    for line in preflight.learned_words(study.runs, root):
        say(console, line)
    codes: list[int] = []
    ended: dict[str, str] | None = None
    while True:
        states = [run_state(run, root, study.evaluations[run.id]) for run in runs]
        todo = left(states, root, accept_code=settings.accept_code, ended=ended)
        endings, code = _work(study, todo, jobs, root, settings, console, door)
        codes.append(code)
        if todo.later and door is not None and any(ending.state == "lost" for ending in endings):
            say(console, f"{count(len(todo.later), 'runs')}, which start from these, do not follow: a node is gone")
            break
        if code == INTERRUPTED or not todo.later:
            break
        ended = todo.ended({ending.task.run.id: ending.state for ending in endings})
        runs = tuple(one.run for one in todo.later)
    return next(one for one in (INTERRUPTED, FAILED, OTHERS, DONE) if one in codes)


def _work(
    study: Study,
    todo: Left,
    jobs: int | None,
    root: Path,
    settings: Settings,
    console: Console,
    door: Door | None,
) -> tuple[list[Ending], int]:
    """Says what of a study is to be done now, does it, and says how it ended; with the exit code of this part."""
    for one in todo.states:
        if one.run.id in todo.aside:
            say(console, preflight.aside_words(one.run, todo.aside[one.run.id]))
    nodes = 1 if door is None else door.nodes
    slots = slots_for(replace(settings, predictions=study.predictions), jobs, len(todo.now), nodes)
    tasks = [
        Task(one.run, study.evaluations[one.run.id], root, slots.settings, missing=one.missing, gpus=slots.gpus)
        for one in todo.now
    ]
    states = counted(one.state for one in todo.states)
    say(console, f"{study.name}: {states}; {len(tasks)} to do on {slots.place}, {slots.number} side by side")
    if todo.later:
        say(console, f"{count(len(todo.later), 'runs')} more, which start from these, follow")
    memory = check_memory(tasks, slots.number * settings.gpus_per_run // nodes)
    for text in filter(None, (slots.note, memory, *_stale_lines(todo.stale))):
        say(console, text)
    began = time.monotonic()
    try:
        endings = work_through(tasks, slots.number, console, door)
    except KeyboardInterrupt:
        now = [run_state(one.run, root, study.evaluations[one.run.id]).state for one in todo.states]
        say(console, f"stopped: {counted(now)}. The same command resumes: {settings.command}")
        return [], INTERRUPTED
    prefix = f"{study.name}, {duration(time.monotonic() - began)}: "
    failed = len(todo.stale) + list(todo.aside.values()).count("failed")
    return endings, summary(endings, console, stale=failed, prefix=prefix)


@dataclass(frozen=True)
class Slots:
    """Where runs are computed side by side: how many at once, on which GPUs, with which settings; the place in words,
    and what is to be said of it."""

    number: int
    gpus: tuple[str, ...]
    settings: Settings
    place: str
    note: str


def slots_for(settings: Settings, jobs: int | None, runs: int, nodes: int = 1) -> Slots:
    """The slots for so many runs, `jobs` side by side as was asked: on each GPU, or group of GPUs, or in all.

    Raises ConfigError for more than the device takes."""
    from benchmarks.running import gpus, local

    if settings.device == "mps" and (jobs or 1) > 1:
        raise ConfigError("--jobs", "mps runs one process at a time")
    jobs = 1 if nodes > 1 else jobs
    given = gpus_for(settings, nodes) if nodes > 1 else gpus.given() if settings.device == "cuda" else ()
    if given:
        each = jobs or 1
        note = gpus.check_sharing(each, "--jobs") if runs else ""
        number = min(each * (len(given) // max(1, settings.gpus_per_run // nodes)), max(1, runs))
        place = count(len(given), "GPUs")
    else:
        number = min(jobs or max(1, local.slots(settings.device) // settings.gpus_per_run), max(1, runs))
        each, note, place = number, "", settings.device
    settings = replace(settings, runs_per_gpu=each)
    place += f" of each of {nodes} nodes" if nodes > 1 else ""
    return Slots(number, given, local.with_workers(settings, number, nodes), place, note)


def _stale_lines(stale: Sequence[RunState]) -> Iterator[str]:
    """Why records are stale, a line for each reason, and what to do with them."""
    for reason, several in Counter(one.reason for one in stale).items():
        first = next(one.run.id for one in stale if one.reason == reason)
        yield f"{several} stale, {first}{' and others' if several > 1 else ''}: {reason}"
    if stale:
        yield "--accept-code keeps stale records; to train one again, remove its folder"


def check_memory(tasks: Sequence[Task], jobs: int, again: str = "") -> str:
    """A warning where tasks on a CPU, `jobs` side by side, need more memory than this machine has; '' where they fit.

    Raises InductiveError for a run that does not fit by itself, `again` being the option by which
    activations are computed again."""
    from benchmarks.forecast import memory

    available = memory.machine_bytes()
    on_cpu = (
        memory.wanted(task.run, task.evaluations, task.root, task.settings.checkpoint_activations)
        for task in tasks
        if task.settings.device == "cpu"
    )
    found = memory.largest(on_cpu, available, "this machine", again=again)
    if found is None or found.side_by_side(jobs) <= available:
        return ""
    return (
        f"warning: {jobs} runs side by side may need {memory.gigabytes(found.side_by_side(jobs))} of memory, and this "
        f"machine has {memory.gigabytes(available)}: --jobs {found.fitting(available)} fits"
    )


def work_through(tasks: Sequence[Task], jobs: int, console: Console, door: Door | None = None) -> list[Ending]:
    """Executes tasks, `jobs` side by side, and shows how far they are. Weights that are not there, and precisions that
    the device lacks, are found out before anything starts (InductiveError); KeyboardInterrupt once all is saved. What
    others had when its turn came is tried once more at the end, where this node computes alone."""
    from benchmarks.running import local
    from benchmarks.training.kernels import check_precision, check_ranks

    if not tasks:
        return []
    for task in tasks:
        check_precision(task.run, task.settings.device)
        check_ranks(task.run, task.settings.gpus_per_run, task.settings.device, task.settings.compiling)
    preflight.check_weights([task.run for task in tasks], tasks[0].root)
    with reporter_for(console, tasks, jobs) as reporter:
        endings = local.run_tasks(list(tasks), jobs, reporter, door=door)
    owned = [ending.task for ending in endings if ending.state == "owned"]
    if not owned or door is not None:
        return endings
    with reporter_for(console, owned, jobs) as reporter:  # once more: who had them may have ended since
        return [one for one in endings if one.state != "owned"] + local.run_tasks(owned, jobs, reporter)


def summary(endings: Sequence[Ending], console: Console, *, stale: int = 0, prefix: str = "") -> int:
    """Prints how tasks ended, what failed and who owns what. Returns the exit code; `stale` are records that were left
    as they are, which is a failure as well."""
    for ending in endings:
        if ending.state in ("failed", "lost", "owned", "stale"):
            line = ending.line.removeprefix(f"{ending.task.run.id}: ")
            say(console, f"{ending.state}: {ending.task.run.id}: {line}")
    known = ("diverged", "failed", "lost", "owned", "stale")
    by_state = {state: sum(ending.state == state for ending in endings) for state in known}
    words = ", ".join(f"{count} {state}" for state, count in by_state.items() if count)
    done = len(endings) - sum(by_state.values())
    say(console, f"{prefix}{done} done" + (f", {words}" if words else ""))
    if by_state["owned"]:
        say(console, "the same command takes up what others have left")
    if by_state["failed"] or by_state["lost"] or by_state["stale"] or stale:
        return FAILED
    return OTHERS if by_state["owned"] else DONE
