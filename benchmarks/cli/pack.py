"""`inductive pack`: one archive of a study's records, to give away."""

from pathlib import Path

import click

from benchmarks.cli.options import options
from benchmarks.console import count, say, terminal
from benchmarks.data.dataset import Places
from benchmarks.plan.study import load_study, study_path
from benchmarks.records import archive
from benchmarks.records.stages import whole

MISSING = "missing"  # the state of a run without a record
NAMED = 10  # missing runs that are named one by one


@click.command()
@click.argument("study")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Default: STUDY.zip.")  # fmt: skip
@click.option("--weights", is_flag=True, help="With the final weights, to add evaluations or to start from.")
@click.option("--no-logits", is_flag=True,
              help="Keep of each image the predicted class alone: much smaller.")  # fmt: skip
@options("records", "where", "plugin")
def pack(study: str, output: Path | None, weights: bool, no_logits: bool, root: Path, data: Path) -> None:
    """One archive of the records, free of host, account and paths."""
    places = Places(data, root)
    loaded = whole(load_study(study, places), places)
    out = output or Path(f"{loaded.name}.zip")
    made = archive.pack(loaded, study_path(study).read_bytes(), root, out, weights, not no_logits)
    console = terminal()
    missing = list(made.left_out.values()).count(MISSING)
    for run, reason in made.left_out.items():
        if reason != MISSING or missing <= NAMED:
            say(console, f"left out: {run}: {reason}")
    if missing > NAMED:  # a study that has only begun
        say(
            console, f"left out: {count(missing, 'runs')} that are missing; the archive's {archive.MANIFEST} names them"
        )
    say(console, f"{made.runs} of {count(len(loaded.runs), 'runs')}: {made.path}")
