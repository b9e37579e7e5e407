"""What the verbs that train do: run a study, train one configuration, run a recorded one again."""

import math
import shlex
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

from rich.console import Console

import models
from benchmarks.cli import views
from benchmarks.data import duplicates
from benchmarks.data.dataset import Places
from benchmarks.data.store import make_ready
from benchmarks.errors import DONE, FAILED, INTERRUPTED, OTHERS, ConfigError
from benchmarks.plan.evaluations import leave_out_duplicates
from benchmarks.plan.run import Run, make_run
from benchmarks.plan.study import Study, load_plugin, load_study, single
from benchmarks.records import init_from
from benchmarks.records.record import Record, check_root, find_record, read_record, recorded_plugins
from benchmarks.records.states import counted, run_state, selected
from benchmarks.records.study_texts import keep_text
from benchmarks.records.validity import valid_record
from benchmarks.running import local, rerun
from benchmarks.running.execute import Settings
from benchmarks.running.progress import duration, reporter_for, say
from benchmarks.running.task import Ending, Task
from benchmarks.training.kernels import CompileChoice, check_compile, choose_device
from models.catalogue.ready_made import is_ready_made

SETTLED = ("finished", "diverged", "stale")  # states in which `run` does not train


def settings_for(
    data: Path, device: str, checkpoint_every: float, accept_code: bool, compiling: CompileChoice = "rule"
) -> Settings:
    """Execution settings from flags, the device chosen."""
    if not math.isfinite(checkpoint_every):
        raise ConfigError("--checkpoint-every", f"{checkpoint_every} is not a number of seconds")
    command = shlex.join(["inductive", *sys.argv[1:]])
    plugins = models.loaded_plugins()
    device = choose_device(device)
    check_compile(compiling, device)
    return Settings(data, device, checkpoint_every, accept_code, compiling, command=command, plugins=plugins)


def _ready(name: str, data: Path, console: Console) -> None:
    """A data set in the store, for all processes to map: decoded now when only its files are there."""
    if make_ready(name, data):
        say(console, f"{name}: decoded once, for all runs, under {data}")


def prepare_study(study: str | None, names: tuple[str, ...], data: Path, find: bool, console: Console) -> int:
    """`inductive prepare`: returns the exit code."""
    from benchmarks.running import prepare

    if not study and not names:
        raise ConfigError("prepare", "nothing was named: a STUDY, or --dataset NAME")
    if find and not names:
        raise ConfigError("--find-duplicates", "needs --dataset NAME")
    steps = [step(name, data) for name in names for step in (prepare.data_set, *[prepare.find_duplicates] * find)]
    loaded = load_study(study, Places(data)) if study else None
    steps += [step(loaded, data) for step in prepare.STEPS if loaded]
    for line in chain.from_iterable(steps):
        say(console, line)
    return DONE


def run_study(
    study: Study, only: str | None, jobs: int | None, root: Path, settings: Settings, console: Console
) -> int:
    """`inductive run`: returns the exit code."""
    runs = selected(study, only)
    settings = replace(settings, predictions=study.predictions)
    check_root(root)
    keep_text(study, root)
    for name in dict.fromkeys(run.dataset for run in runs):
        _ready(name, settings.data, console)
        if any(leave_out_duplicates(study.evaluations[run.id]) for run in runs if run.dataset == name):
            duplicates.read_list(name, settings.data)
    states = [run_state(run, root, study.evaluations[run.id]) for run in runs]
    stale = [one for one in states if one.state == "stale" and not settings.accept_code]
    gpus = local.slots("cuda") if settings.device == "cuda" else 0
    tasks = [
        Task(one.run, study.evaluations[one.run.id], root, settings, gpus=gpus)
        for one in states
        if one.state not in SETTLED or one.waiting or (one.state == "stale" and settings.accept_code)
    ]
    if settings.device == "mps" and (jobs or 1) > 1:
        raise ConfigError("--jobs", "mps runs one process at a time")
    jobs = min(jobs or local.slots(settings.device), max(1, len(tasks)))
    say(
        console,
        f"{study.name}: {counted(one.state for one in states)}; "
        f"{len(tasks)} to do on {settings.device}, {jobs} side by side",
    )
    for reason, count in Counter(one.reason for one in stale).items():
        first = next(one.run.id for one in stale if one.reason == reason)
        say(console, f"{count} stale, {first}{' and others' if count > 1 else ''}: {reason}")
    if stale:
        say(console, "--accept-code keeps stale records; to train one again, remove its folder")
    began = time.monotonic()
    try:
        endings = _run(tasks, jobs, console)
    except KeyboardInterrupt:
        now = [run_state(run, root, study.evaluations[run.id]).state for run in runs]
        say(console, f"stopped: {counted(now)}. The same command goes on: {settings.command}")
        return INTERRUPTED
    return _summary(endings, len(stale), f"{study.name}, {duration(time.monotonic() - began)}: ", console)


def check_weights(run: Run) -> None:
    """Raises ConfigError when the file of a ready-made network's weights is not there."""
    kind, _, place = str(run.options.get("weights", "none")).partition(":")
    if is_ready_made(run.model) and kind == "file" and not Path(place).is_file():
        raise ConfigError("options.weights", f"there is no file {place}")


def _run(tasks: list[Task], jobs: int, console: Console) -> list[Ending]:
    for task in tasks:
        check_weights(task.run)
        if task.run.init_from:
            init_from.weights_path(task.run, task.root)  # said before anything starts
    if not tasks:
        return []
    with reporter_for(console, len(tasks), jobs) as reporter:
        return local.run_tasks(tasks, jobs, reporter)


def _summary(endings: list[Ending], stale: int, prefix: str, console: Console) -> int:
    """Says how it ended, names what failed and who owns what, and gives the exit code."""
    for ending in endings:
        if ending.state in ("failed", "owned", "stale"):
            line = ending.line.removeprefix(f"{ending.task.run.id}: ")
            say(console, f"{ending.state}: {ending.task.run.id}: {line}")
    known = ("diverged", "failed", "owned", "stale")
    by_state = {state: sum(ending.state == state for ending in endings) for state in known}
    words = ", ".join(f"{count} {state}" for state, count in by_state.items() if count)
    done = len(endings) - sum(by_state.values())
    say(console, f"{prefix}{done} done" + (f", {words}" if words else ""))
    if by_state["failed"] or by_state["stale"] or stale:
        return FAILED
    return OTHERS if by_state["owned"] else DONE


def run_of_flags(flags: Mapping[str, Any], changes: tuple[str, ...], places: Places | None = None) -> Run:
    """The run that `inductive train`'s flags describe. Raises ConfigError naming the flag or key."""
    settings: dict[str, Any] = {}
    for flag, value in flags.items():
        if value is None:
            continue
        if flag in ("steps", "epochs", "images"):
            settings.setdefault("budget", {})[flag] = value
        elif flag == "position":
            settings.setdefault("options", {})["position"] = value
        else:
            settings[flag] = value
    for change in changes:
        path, equals, text = change.partition("=")
        if not equals:
            raise ConfigError("--set", f"'{change}' is not KEY=VALUE")
        key, dot, inner = path.partition(".")
        if not dot:
            settings[key] = _value(text)
            continue
        table = settings.get(key, {})
        table = {"name": table} if isinstance(table, str) else table
        if not isinstance(table, Mapping):
            raise ConfigError(key, f"is {table!r}, so it has no `{inner}`", "train")
        settings[key] = {**table, inner: _value(text)}
    try:
        return make_run(settings, places)
    except ConfigError as error:
        raise error.at("train") from error


def _value(text: str) -> Any:
    """A value as TOML would read it; anything else is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def train_one(run: Run, root: Path, settings: Settings, console: Console) -> int:
    """`inductive train`: returns the exit code."""
    check_root(root)
    _ready(run.dataset, settings.data, console)
    views.print_configuration(console, run)
    say(console, f"run {run.id} on {settings.device}: {run.steps:,} steps")
    study = single(run)
    task = Task(run, study.evaluations[run.id], root, settings)
    try:
        endings = _run([task], 1, console)
    except KeyboardInterrupt:
        say(console, f"stopped and saved. The same command goes on: {settings.command}")
        return INTERRUPTED
    code = _summary(endings, 0, "", console)
    if endings[0].state in ("finished", "diverged"):
        views.print_show(console, read_record(root / run.id), run_state(run, root, []), configuration=False)
    return code


def load_recorded_plugins(record: Record, trust_code: bool, console: Console) -> None:
    """Loads the plugins of a record that its model or encoding comes from; none where both are known already.

    That executes code of the record, which may be a stranger's. Raises ConfigError, with the command that does so,
    unless it is trusted.
    """
    settings, copies = record.config["run"], recorded_plugins(record.path)
    names = [str(settings["model"]), *filter(None, [settings["options"].get("position")])]
    if copies and models.unknown(names) and not trust_code:
        what, files = " and ".join(models.unknown(names)), ", ".join(map(str, copies))
        again = shlex.join(["inductive", *sys.argv[1:], "--trust-code"])
        raise ConfigError(
            "--trust-code",
            f"{record.id}: {what} comes from a plugin whose code lies in the record: {files}. Read it before you let "
            f"it run as you; then `{again}`, or --plugin FILE for a file of your own",
        )
    for path in copies:
        if models.unknown(names):
            say(console, f"plugin {path.name} as it is in the record; --plugin FILE takes another")
            load_plugin(path, "--plugin")


def rerun_one(
    run_id: str,
    first: int | None,
    device: str | None,
    root: Path,
    data: Path,
    as_json: bool,
    trust_code: bool,
    console: Console,
) -> int:
    """`inductive rerun`: returns the exit code."""
    record = read_record(find_record(root, run_id))
    load_recorded_plugins(record, trust_code, console)
    run = record.run(Places(data, root))
    valid_record(record.path, run, whole=True)
    _ready(run.dataset, data, console)
    check_root(root)
    device = None if device is None else choose_device(device)
    evaluations = rerun.prepare_rerun(record, device, first)
    chosen = device or str((record.execution or {})["device"])
    command = shlex.join(["inductive", *sys.argv[1:]])
    settings = Settings(data, chosen, command=command, plugins=models.loaded_plugins())
    task = Task(run, evaluations, rerun.rerun_root(root), settings, until=first)
    try:
        ending = _run([task], 1, console)[0]
    except KeyboardInterrupt:
        say(console, "stopped: a rerun is not continued, the same command starts it anew")
        return INTERRUPTED
    if ending.state in ("failed", "owned"):
        say(console, f"{ending.state}: {ending.line}")
        return FAILED if ending.state == "failed" else OTHERS
    verdict = rerun.compare(record, first)
    if as_json:
        views.print_json(asdict(verdict) | {"id": record.id})
    else:
        say(console, f"{verdict.verdict}: {record.id}; compared {', '.join(verdict.compared)}")
        for difference in verdict.differences:
            say(console, f"  {difference}")
        for condition in verdict.conditions:
            say(console, f"  not as then: {condition}")
        if verdict.verdict != "equal":
            say(console, f"tolerance: {rerun.TOLERANCE}")
    return FAILED if verdict.verdict == "different" else DONE
