"""The command `python -m benchmarks.speed [TABLE...]`, which `make bench` runs: prints Markdown, keeps JSON."""

import importlib
import sys
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from benchmarks.errors import USAGE, InductiveError
from benchmarks.files import write_json
from benchmarks.plan.run import make_run
from benchmarks.running.local import keep_memory
from benchmarks.speed.children import FamilyClock
from benchmarks.speed.clock import Plan
from benchmarks.speed.tables import machine_facts, write_block, write_card_block
from benchmarks.training.kernels import apply_execution, choose_device, execution_for

TABLES = {  # each module's `measure` returns its table
    "models": "benchmarks.speed.against_timm",
    "encodings": "benchmarks.speed.encodings",
    "draws": "benchmarks.speed.draws",
    "sweep": "benchmarks.speed.sweep",
    "sharing": "benchmarks.speed.sharing",
    "start": "benchmarks.speed.start",
    "scale": "benchmarks.speed.scale",
    "planning": "benchmarks.speed.planning",
    "subsets": "benchmarks.speed.subsets",
    "photographs": "benchmarks.speed.photographs",
    "records": "benchmarks.speed.records",
    "compile": "benchmarks.speed.compilation",
    "bf16": "benchmarks.speed.precision",
}
HOST = (
    "draws",
    "planning",
    "subsets",
    "photographs",
    "records",
)  # nothing in them is computed by a network, so they have no device
GPU = ("sharing",)  # only what shares a GPU is asked for there
QUICK, QUICK_BATCH = Plan(rounds=1, most=1, warmup=0, seconds=0.0, patience=0.0), 2


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", nargs=-1, metavar="[TABLE]...", type=click.Choice(list(TABLES)))
@click.option(
    "--rounds", default=Plan.rounds, show_default=True, type=click.IntRange(min=1), help="Clean rounds wanted."
)
@click.option("--most", default=Plan.most, show_default=True, type=click.IntRange(min=1), help="Rounds at most.")
@click.option(
    "--patience", default=Plan.patience, show_default=True, help="Seconds to wait in all, a table, for others."
)
@click.option("--batch", default=128, show_default=True, type=click.IntRange(min=1), help="Images a step.")
@click.option(
    "--device", default="cpu", show_default=True, type=click.Choice(["cpu", "cuda"]), help="What computes networks."
)
@click.option("--threads", default=1, show_default=True, type=click.IntRange(min=1), help="As runs have it: 1.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Keep every turn here.")
@click.option("--write", type=click.Path(dir_okay=False, path_type=Path), help="Put the tables into this document.")
@click.option("--quick", is_flag=True, help="One round of two images: tries the script, measures nothing.")
def bench(
    names: tuple[str, ...],
    rounds: int,
    most: int,
    patience: float,
    batch: int,
    device: str,
    threads: int,
    json_file: Path | None,
    write: Path | None,
    quick: bool,
) -> None:
    """Measure how fast this machine gets through the tables named, or all of them (hours).

    Processes that compete for the machine are noticed, waited for, and what they disturbed is not counted, so a
    busy machine takes longer. Ctrl-C ends a table with the rounds it has.
    """
    if quick and write:
        raise click.UsageError("--quick measures nothing that could be written into a document")
    plan, images = (
        (QUICK, QUICK_BATCH) if quick else (Plan(rounds=rounds, most=max(rounds, most), patience=patience), batch)
    )
    left_out = HOST if device != "cpu" else GPU
    chosen = names or tuple(name for name in TABLES if name not in left_out)
    if device != "cpu" and (without := [name for name in chosen if name in HOST]):
        raise click.UsageError(f"--device {device}: no network computes in {', '.join(without)}")
    apply_execution(execution_for(make_run({}), choose_device(device)))  # as every run does, and so:
    keep_memory()
    torch.set_num_threads(threads)
    kept: dict[str, Any] = {"machine": machine_facts(device), "quick": quick, "tables": []}
    for name in chosen:
        measure = importlib.import_module(TABLES[name]).measure
        table = measure(plan, images, device, FamilyClock(), partial(_tell, name))
        kept["tables"].append(table.as_json())
        text = table.markdown(kept["machine"])
        click.echo(f"{text}\n")
        if json_file:  # after each table: a stop loses one at most
            json_file.parent.mkdir(parents=True, exist_ok=True)
            write_json(json_file, kept)
        if write and device == "cuda":
            write_card_block(write, kept["machine"]["gpu"], table.name, text)
        elif write:
            write_block(write, name, text)


def _tell(name: str, text: str) -> None:
    click.echo(f"{name}: {text}", err=True)


def main() -> None:
    try:
        bench()
    except InductiveError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(USAGE)


if __name__ == "__main__":
    main()
