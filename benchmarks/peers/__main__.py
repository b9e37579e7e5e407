"""The command `python -m benchmarks.peers`: trains a study's runs by every trainer, keeps JSON, writes the table."""

import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.data.dataset import Places
from benchmarks.data.store import make_ready
from benchmarks.errors import USAGE, InductiveError
from benchmarks.files import read_json_or, write_json
from benchmarks.peers.tables import table
from benchmarks.peers.trainings import TRAINERS, key_of, trainings
from benchmarks.plan.study import load_study
from benchmarks.speed.children import FamilyClock
from benchmarks.speed.tables import machine_facts, write_block


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("study", default="docs/results/side-by-side.toml")
@click.option(
    "--data",
    default="data",
    envvar="INDUCTIVE_DATA",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
)
@click.option(
    "--runs",
    default="runs",
    envvar="INDUCTIVE_RUNS",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the records of our own runs are made.",
)
@click.option("--json", "json_file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Kept here.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Put the table into this document.")
def peers(study: str, data: Path, runs: Path, json_file: Path, write: Path | None) -> None:
    """Train the runs of STUDY by timm's package, by a plain PyTorch loop and by the suite, all in turns.

    What the JSON file holds is not trained again: a stop loses one training at most, and the next call goes on.
    """
    chosen = load_study(study, Places(data)).runs
    make_ready(chosen[0].dataset, data)
    kept: dict[str, Any] = read_json_or(str(json_file)) or {"rows": {}}
    json_file.parent.mkdir(parents=True, exist_ok=True)
    for key, row in trainings(chosen, data, runs, kept["rows"], FamilyClock()):
        kept["rows"][key] = row
        write_json(json_file, kept | {"machine": machine_facts() | {"threads": 1}})
        rate = row["images"] / row["training_seconds"]
        click.echo(f"{key}: {100 * row['test_accuracy']:.2f} %, {rate:,.0f} images/s", err=True)
    wanted = {key_of(run, trainer) for run in chosen for trainer in TRAINERS}
    rows = [row for key, row in kept["rows"].items() if key in wanted]
    text = table(rows, chosen, read_json_or(str(json_file))["machine"])
    click.echo(text)
    if write:
        write_block(write, "table", text, kind="peers")


def main() -> None:
    try:
        peers()
    except InductiveError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
