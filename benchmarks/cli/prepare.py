"""`inductive prepare`: gets what a study needs from outside. What that is stands in benchmarks/running/prepare.py."""

from itertools import chain
from pathlib import Path

import click

from benchmarks.cli.options import options
from benchmarks.console import say, terminal
from benchmarks.data.dataset import Places
from benchmarks.errors import DONE, ConfigError
from benchmarks.plan.study import load_study


@click.command()
@click.argument("study", required=False)
@click.option("--dataset", "names", multiple=True, metavar="NAME", help="A data set; may be repeated.")
@click.option("--find-duplicates", "find", is_flag=True, help="List test images that equal a training image.")
@options("data", "plugin")
def prepare(study: str | None, names: tuple[str, ...], find: bool, data: Path) -> int:
    """Download, verify and decode what a study needs; nothing else touches the network."""
    from benchmarks.running import prepare as preparing  # loads torch

    if not study and not names:
        raise ConfigError("prepare", "nothing was named: a STUDY, or --dataset NAME")
    if find and not names:
        raise ConfigError("--find-duplicates", "needs --dataset NAME")
    of_a_data_set = [preparing.data_set, preparing.find_duplicates] if find else [preparing.data_set]
    steps = [step(name, data) for name in names for step in of_a_data_set]
    loaded = load_study(study, Places(data)) if study else None
    steps += [step(loaded, data) for step in preparing.STEPS if loaded]
    console = terminal()
    for line in chain.from_iterable(steps):
        say(console, line)
    return DONE
