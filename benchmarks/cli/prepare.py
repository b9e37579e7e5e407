"""`inductive prepare`: gets what a study needs from outside. What that is stands in benchmarks/running/prepare.py."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.cli.evaluate import networks_of
from benchmarks.cli.options import options
from benchmarks.console import counting, say, terminal
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import FOLDER, Places
from benchmarks.data.shards import UNREADABLE
from benchmarks.errors import DONE, ConfigError, UnpreparedError
from benchmarks.plan.study import load_study, study_about
from models.catalogue.ready_made import is_ready_made

if TYPE_CHECKING:
    from benchmarks.running.prepare import Packing


@click.command()
@click.argument("study", required=False, metavar="[STUDY|timm:NAME[.TAG]|torchvision:NAME[.TAG]]")
@click.option("--dataset", "names", multiple=True, metavar="NAME", help="A data set; may be repeated.")
@click.option("--find-duplicates", "find", is_flag=True, help="List test images that equal a training image.")
@click.option(
    "--square",
    "side",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="With --dataset folder:PATH: first write its images as squares of this side, into PATH-[PIXELS]px.",
)
@click.option(
    "--unreadable",
    "share",
    type=click.FloatRange(0, 1, max_open=True),
    default=UNREADABLE,
    show_default=True,
    metavar="SHARE",
    help="The share of a set of photographs that may be left out where files cannot be decoded.",
)
@options("data", "plugin")
def prepare(
    study: str | None, names: tuple[str, ...], find: bool, side: int | None, share: float, data: Path
) -> int:  # fmt: skip
    """Download, verify and decode or pack what a study needs; nothing else touches the network."""
    console = terminal()
    if not study and not names:
        raise ConfigError("prepare", "nothing was named: a STUDY, a network's name (timm:NAME), or --dataset NAME")
    if find and not names:
        raise ConfigError("--find-duplicates", "needs --dataset NAME")
    if side and not (names and all(name.startswith(FOLDER) for name in names)):
        raise ConfigError("--square", "needs --dataset folder:PATH, photographs of your own")
    for name in names:  # a slip in one is met before anything is done
        if not name.startswith(FOLDER):
            dataset(name, Places(data, as_published=True))
    network = study if study and is_ready_made(study) else None
    if network:
        networks_of([network], [])
    elif study:
        study_about(study)
    from benchmarks.running import prepare as preparing  # loads torch

    steps: list[Iterable[str]] = []
    packing = preparing.Packing(share, partial(counting, console))
    if side:
        from benchmarks.running.squares import squares_name, write_squares

        steps = [write_squares(name, side, data, partial(counting, console)) for name in names]
        names = tuple(squares_name(name, side) for name in names)
    for name in names:
        steps += [preparing.data_set(name, data, packing)] + ([preparing.find_duplicates(name, data)] if find else [])
    if network:
        steps.append(preparing.library_weights(network))
    elif study:
        steps.append(_study(study, data, packing))
    for line in chain.from_iterable(steps):
        say(console, line)
    return DONE


def _study(study: str, data: Path, packing: "Packing") -> Iterator[str]:
    """All that a study needs; first the published photographs that, packed, declare what its runs are."""
    from benchmarks.running import prepare as preparing

    loaded = None
    while loaded is None:
        try:
            loaded = load_study(study, Places(data))
        except UnpreparedError as error:
            yield from preparing.data_set(error.dataset, data, packing)
    tuning = loaded.tuning  # what confirms a search needs more than its trials
    whole = loaded if tuning is None else replace(tuning.untuned, given=loaded.given)
    for step in preparing.STEPS:
        yield from step(whole, data, packing)
