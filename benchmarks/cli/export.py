"""`inductive export`: the records as CSV, or for a tracker."""

from pathlib import Path

import click

from benchmarks.cli.options import Choice, options
from benchmarks.console import say, terminal
from benchmarks.data.dataset import Places
from benchmarks.plan.study import load_study
from benchmarks.records.stages import whole


@click.command()
@click.argument("study")
@click.option("--to", type=Choice(["csv", "tensorboard", "wandb"]), required=True, help="What to write.")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Default: exports/STUDY-TO.")  # fmt: skip
@options("records", "where", "plugin")
def export(study: str, to: str, output: Path | None, root: Path, data: Path) -> None:
    """The records as CSV, or for a tracker (an extra of the installation)."""
    from analysis.export import export as exported

    places = Places(data, root)
    loaded = whole(load_study(study, places), places)
    say(terminal(), exported(loaded, root, to, output or Path("exports") / f"{loaded.name}-{to}"))
