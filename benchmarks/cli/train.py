"""`inductive train`: one configuration, from flags."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from benchmarks.cli.options import options
from benchmarks.cli.run import check_memory, gpus_for, on_all_nodes, settings_for, summary, work_through
from benchmarks.cli.show import print_configuration, print_show
from benchmarks.console import count, say, terminal
from benchmarks.data.dataset import Places
from benchmarks.errors import DONE, INTERRUPTED, ConfigError
from benchmarks.plan.run import Run, make_run
from benchmarks.plan.study import single
from benchmarks.records.record import check_root, read_record
from benchmarks.records.states import run_state
from benchmarks.running import preflight
from benchmarks.running.task import Task
from benchmarks.running.together import launched

if TYPE_CHECKING:
    from benchmarks.running.task import Settings
    from benchmarks.running.together.links import Door


@click.command()
@click.option("--model", metavar="NAME", help="A name of `inductive list models`.")
@click.option("--size", metavar="NAME", help="nano, micro, tiny, ... as the model has them.")
@click.option("--position", metavar="NAME", help="A name of `inductive list positions`.")
@click.option("--dataset", metavar="NAME", help="A name of `inductive list datasets`, or folder:PATH under the data "
              "folder.")  # fmt: skip
@click.option("--train-size", type=int, metavar="N", help="Labels used, validation included.")
@click.option("--resolution", type=int, metavar="PIXELS", help="Of training; default: the data set's own.")
@click.option("--recipe", metavar="NAME", help="A name of `inductive list recipes`.")
@click.option("--steps", type=int, metavar="N", help="Budget in optimiser steps.")
@click.option("--epochs", type=float, metavar="NUMBER", help="Budget in passes over the training images.")
@click.option("--images", type=int, metavar="N", help="Budget in images processed.")
@click.option("--seed", type=int, metavar="N", help="Initialisation, order and augmentation.")
@click.option("--draw", type=int, metavar="N", help="Picks the subset; default: the seed.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Any key, as recipe.learning_rate=1e-3.")
@options("runs", "data", "device", "gpus_per_run", "recompute", "compile", "checkpoint", "accept", "workers", "decoder")
@options("plugin")
def train(changes: tuple[str, ...], root: Path, data: Path, device: str, compiling: Any, checkpoint_every: float,
          accept_code: bool, workers: int | None, decoder: str, gpus_per_run: int, checkpoint_activations: bool,
          **flags: Any) -> int:  # fmt: skip
    """Train one configuration from flags; every key has a default."""
    start = launched.started(gpus_per_run)
    with on_all_nodes(start, root) as door:
        if not start.leads:
            return DONE
        settings = settings_for(data, device, checkpoint_every, accept_code, compiling, workers, decoder, start.ranks,
                                checkpoint_activations, start.nodes)  # fmt: skip
        return train_one(run_of_flags(flags, changes, Places(data, root)), root, settings, terminal(), door)


def run_of_flags(flags: Mapping[str, Any], changes: tuple[str, ...], places: Places | None = None) -> Run:
    """The run that flags describe. Raises ConfigError naming the flag or key."""
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


def train_one(run: Run, root: Path, settings: Settings, console: Console, door: Door | None = None) -> int:
    """Trains a run and shows its record. Returns the exit code."""
    from benchmarks.running import local

    check_root(root)
    study = single(run)
    for line in preflight.decode(study, [run], settings.data):
        say(console, line)
    print_configuration(console, run)
    say(console, f"run {run.id} on {settings.device}: {count(run.steps, 'steps')}")
    nodes = 1 if door is None else door.nodes
    settings = local.with_workers(settings, 1, nodes)
    task = Task(run, study.evaluations[run.id], root, settings, gpus=gpus_for(settings, nodes))
    check_memory([task], settings.gpus_per_run // nodes, "--checkpoint-activations")
    try:
        endings = work_through([task], 1, console, door)
    except KeyboardInterrupt:
        say(console, f"stopped and saved. The same command resumes: {settings.command}")
        return INTERRUPTED
    code = summary(endings, console)
    if endings[0].state in ("finished", "diverged"):
        print_show(console, read_record(root / run.id), run_state(run, root, []), configuration=False)
    return code
