"""`inductive look`: figures of what trained networks do inside."""

from functools import partial
from pathlib import Path

import click

from benchmarks.cli.options import Choice, options
from benchmarks.console import busy, say, terminal

VIEWS = ("attention", "positions", "features", "training")
COUNTS = {"features": 256}  # images, where a view needs more than the usual ones to measure with
COUNT = 10
WITHOUT_IMAGES = ("positions",)  # views that need none of a ready-made network, whose tables are read


@click.command()
@click.argument("subjects", nargs=-1, required=True, metavar="RUN_ID|timm:NAME|torchvision:NAME...")
@click.option("--at", "view", type=Choice(VIEWS), required=True, help="What to look at.")
@click.option(
    "--images",
    metavar="PART|PATH",
    help="validation (the default), train or test of the run's data; or an image, or a folder of images, of your own.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    help=f"How many images, from the first; by default {COUNT}, for "
    f"{', '.join(f'{view} {count}' for view, count in COUNTS.items())}.",
)
@click.option("--patch", type=click.IntRange(min=1), help="Whose row is shown, counted from 1 in reading order without "
              "class and register tokens; by default one in the middle.")  # fmt: skip
@click.option("--layer", type=click.IntRange(min=1), help="Which layer, counted from 1; by default the last.")
@click.option("--weights", default="none", show_default=True, help="Of a ready-made network: none, library, file:PATH.")
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), default="look", show_default=True,
              help="Folder to write into.")  # fmt: skip
@options("records", "data", "plugin", "accept")
def look(
    subjects: tuple[str, ...],
    view: str,
    images: str | None,
    count: int | None,
    patch: int | None,
    layer: int | None,
    weights: str,
    out: Path,
    root: Path,
    data: Path,
    accept_code: bool,
) -> None:
    """Figures of what trained networks do inside, the numbers behind them, and a page."""
    from analysis.inside.look import look as write
    from analysis.inside.panel import Choices
    from analysis.inside.subject import opened
    from benchmarks.cores import cores

    if images is None and view not in WITHOUT_IMAGES:
        images = "validation"
    count = count or COUNTS.get(view, COUNT)
    console, found = terminal(), []
    for name in subjects:
        with busy(console, f"reading {name}"):
            found.append(opened(name, images, count, root, data, weights=weights, accept_code=accept_code))
    page, *others = write(view, found, Choices(patch, layer), out, cores(), partial(busy, console))
    say(console, f"{len(others)} files beside it: figures (PNG, PDF, SVG), numbers (npz)")
    say(console, f"page: {page}")
