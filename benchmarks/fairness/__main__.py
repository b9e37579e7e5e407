"""The command `python -m benchmarks.fairness`, which `make fairness` runs: trains, keeps JSON, writes the tables."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import Places
from benchmarks.data.store import load_images, make_ready
from benchmarks.errors import USAGE, InductiveError
from benchmarks.fairness.cells import Setting, plan, train
from benchmarks.fairness.tables import tables
from benchmarks.files import read_json_or, write_json
from benchmarks.speed.tables import machine_facts, write_block


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dataset", "name", default="digits", show_default=True, help="As studies name it.")
@click.option(
    "--data",
    default="data",
    envvar="INDUCTIVE_DATA",
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
)
@click.option("--size", default="nano", show_default=True, help="Tier of our networks; the references have its widths.")
@click.option("--pixels", type=click.IntRange(min=8), help="Side that images are resized to; default: their own.")
@click.option("--train-size", default=5000, show_default=True, type=click.IntRange(min=1))
@click.option("--test-images", default=10_000, show_default=True, type=click.IntRange(min=1))
@click.option("--batch", default=64, show_default=True, type=click.IntRange(min=1))
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=2))
@click.option("--minutes", type=float, help="Begin no training after so long: the next call goes on.")
@click.option("--only", multiple=True, metavar="FAMILY", help="Train these families alone.")
@click.option("--quick", is_flag=True, help="Two steps a training: tries the script, measures nothing.")
@click.option("--json", "json_file", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Kept here.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Put the tables into this document.")
def fairness(
    name: str,
    data: Path,
    size: str,
    pixels: int | None,
    train_size: int,
    test_images: int,
    batch: int,
    seeds: int,
    minutes: float | None,
    only: tuple[str, ...],
    quick: bool,
    json_file: Path,
    write: Path | None,
) -> None:
    """Train every family beside its reference implementation, and by each way in which its weights can start."""
    torch.set_num_threads(1)
    make_ready(name, data)
    images, spec = load_images(name, data), dataset(name, Places(data))
    images.array("train")
    setting = Setting(
        spec,
        size,
        pixels or spec.native_resolution,
        min(train_size, len(images.train)),
        min(test_images, len(images.test)),
        batch,
        quick,
    )
    shared = {**asdict(setting), "data": name}
    kept: dict[str, Any] = read_json_or(str(json_file)) or {"setting": shared, "rows": {}}
    if kept["setting"] != shared:
        raise InductiveError(f"{json_file}: holds trainings of another setting, {kept['setting']}; this is {shared}")
    began = time.monotonic()
    cells = plan(seeds)
    json_file.parent.mkdir(parents=True, exist_ok=True)
    for number, cell in enumerate(cells, 1):
        if cell.key in kept["rows"] or (only and cell.family not in only):
            continue
        if minutes is not None and time.monotonic() - began > 60 * minutes:
            break
        start = time.perf_counter()
        row = train(cell, setting, images)
        kept["rows"][cell.key] = {**asdict(cell), **row, "seconds": round(time.perf_counter() - start, 1)}
        write_json(json_file, kept | {"machine": machine_facts()})  # after each training: a stop loses one at most
        click.echo(f"{number} of {len(cells)}: {cell.key}: test {100 * row['test_accuracy']:.1f} %", err=True)
    for block, text in tables(list(kept["rows"].values()), setting).items():
        click.echo(f"{text}\n")
        if write:
            write_block(write, block, text, kind="fairness")


def main() -> None:
    try:
        fairness()
    except InductiveError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
