"""The command `inductive`: a table of verbs. Whatever is heavy is imported inside the verb that needs it."""

import functools
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from benchmarks import end_early
from benchmarks.cli.options import Choice, options
from benchmarks.console import printable
from benchmarks.data.dataset import Places
from benchmarks.errors import DONE, FAILED, INTERRUPTED, OTHERS, USAGE, ConfigError, InductiveError, OwnedError

EPILOG = """\b
Three ways to use it:
  inductive run quickstart             a study on this machine (Ctrl-C stops; the same command goes on)
  inductive report quickstart          tables, figures and the page from its records
  inductive rerun RUN_ID               one recorded run again, compared with its record
"""


class Orderly(click.Group):
    """Verbs in the order in which they are defined."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Orderly, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="inductive")
def cli() -> None:
    """How much data does each architecture need, what happens at another resolution, and which assumption
    is responsible?
    """


def _console(**kwargs: Any) -> Any:
    from rich.console import Console

    if not (sys.stderr if kwargs.get("stderr") else sys.stdout).isatty() and "COLUMNS" not in os.environ:
        kwargs["width"] = 250  # in a pipe, so that an id stays on its line
    return Console(**kwargs)


@cli.command("list")
@click.argument("what", type=Choice(["models", "vit-sizes", "positions", "datasets", "recipes", "studies"]))
@click.option("--size", help="With models: count parameters and MACs of every family that has this size.")
@click.option("--image-size", type=click.IntRange(min=1), metavar="PIXELS", help="With --size; default: 32.")
@options("plugin", "json")
def list_(what: str, size: str | None, image_size: int | None, as_json: bool) -> None:
    """What there is to choose from."""
    from benchmarks.cli import views

    if (size or image_size) and what != "models":
        raise click.UsageError(f"--size and --image-size belong to `list models`, not to `list {what}`")
    if image_size and not size:
        raise click.UsageError("--image-size needs --size, such as --size tiny")
    if as_json:
        views.print_json(views.listing(what, size, image_size))
    else:
        views.print_listing(_console(), what, size, image_size)


@cli.command()
@click.argument("study", required=False)
@click.option("--dataset", "names", multiple=True, metavar="NAME", help="A data set; may be repeated.")
@click.option("--find-duplicates", "find", is_flag=True, help="List test images that equal a training image.")
@options("data", "plugin")
def prepare(study: str | None, names: tuple[str, ...], find: bool, data: Path) -> int:
    """Download, verify and decode what a study needs; nothing else touches the network."""
    from benchmarks.cli import verbs

    return verbs.prepare_study(study, names, data, find, _console())


@cli.command()
@click.argument("study")
@options("runs", "where", "json", "plugin")
def plan(study: str, root: Path, data: Path, as_json: bool) -> None:
    """The dry run: the matrix of runs by state, its size and its price, and the differences it can detect."""
    from analysis import power
    from benchmarks.cli import views
    from benchmarks.plan.study import load_study
    from benchmarks.running import local
    from benchmarks.running.progress import say

    loaded = load_study(study, Places(data, root))
    if as_json:
        views.print_json(views.plan_values(loaded, root) | {"comparisons": power.plan_values(loaded, root)})
        return
    console = _console()
    views.print_plan(console, loaded, root, local.slots("cpu"))
    heads, rows, meaning = power.plan_table(loaded, root)
    if rows:
        views.table(console, "comparisons", dict.fromkeys(heads, "right") | dict.fromkeys(heads[:1], "left"), rows)
        say(console, meaning)


@cli.command()
@click.argument("study")
@options("only", "runs", "data", "device", "compile", "checkpoint", "accept", "plugin")
@click.option("--jobs", type=click.IntRange(min=1), help="Runs side by side; default: one a core or GPU.")
def run(study: str, only: str | None, jobs: int | None, root: Path, data: Path, **settings: Any) -> int:
    """Bring a study as far as it can be brought on this machine."""
    from benchmarks.cli import verbs
    from benchmarks.plan.study import load_study

    loaded = load_study(study, Places(data, root))
    if (root / ".submissions").is_dir():
        from slurm.status import settle_lost

        settle_lost(loaded, root)
    return verbs.run_study(loaded, only, jobs, root, verbs.settings_for(data, **settings), _console())


@cli.command()
@click.option("--model", help="A name of `inductive list models`.")
@click.option("--size", help="nano, micro, tiny, ... as the model has them.")
@click.option("--position", help="A name of `inductive list positions`.")
@click.option("--dataset", help="A name of `inductive list datasets`, or folder:PATH under the data folder.")
@click.option("--train-size", type=int, metavar="N", help="Labels used, validation included.")
@click.option("--resolution", type=int, metavar="PIXELS", help="Of training; default: the data set's own.")
@click.option("--recipe", help="A name of `inductive list recipes`.")
@click.option("--steps", type=int, help="Budget in optimiser steps.")
@click.option("--epochs", type=float, help="Budget in passes over the training images.")
@click.option("--images", type=int, help="Budget in images processed.")
@click.option("--seed", type=int, help="Initialisation, order and augmentation.")
@click.option("--draw", type=int, help="Picks the subset; default: the seed.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Any key, as recipe.learning_rate=1e-3.")
@options("runs", "data", "device", "compile", "checkpoint", "accept", "plugin")
def train(changes: tuple[str, ...], root: Path, data: Path, device: str, compiling: Any, checkpoint_every: float,
          accept_code: bool, **flags: Any) -> int:  # fmt: skip
    """Train one configuration from flags; every key has a default."""
    from benchmarks.cli import verbs

    settings = verbs.settings_for(data, device, checkpoint_every, accept_code, compiling)
    return verbs.train_one(verbs.run_of_flags(flags, changes, Places(data, root)), root, settings, _console())


@cli.command()
@click.argument("run_id")
@click.option("--first", type=click.IntRange(min=1), metavar="STEPS", help="Compare only the opening metrics.")
@click.option("--device", type=Choice(["auto", "cpu", "cuda", "mps"]), help="Default: the recorded one.")
@click.option("--trust-code", is_flag=True, help="Execute the plugin in the record that its model comes from.")
@options("records", "data", "plugin", "json")
def rerun(run_id: str, first: int | None, device: str | None, trust_code: bool, root: Path, data: Path,
          as_json: bool) -> int:  # fmt: skip
    """Train a recorded run again and compare: equal, within tolerance, or different."""
    from benchmarks.cli import verbs

    return verbs.rerun_one(run_id, first, device, root, data, as_json, trust_code, _console(stderr=as_json))


@cli.command()
@click.argument("run_id")
@click.option("--against", metavar="RUN_ID", help="Instead: on which test images these two networks differ (McNemar).")
@options("records", "where", "plugin", "json")
def show(run_id: str, against: str | None, root: Path, data: Path, as_json: bool) -> None:
    """Everything known of one run."""
    from benchmarks.cli import views
    from benchmarks.records.record import find_record, read_record
    from benchmarks.records.states import run_state

    record = read_record(find_record(root, run_id))
    if against is not None:
        from analysis import two_networks
        from benchmarks.records.validity import valid_record

        one, other = (valid_record(path, whole=True) for path in (record.path, find_record(root, against)))
        two_networks.show(one, other, as_json, _console())
        return
    state = run_state(record.run(Places(data, root)), root, [], whole=True)
    if as_json:
        views.print_json(views.show_values(record, state))
    else:
        views.print_show(_console(), record, state)


@cli.command()
@click.argument("study")
@click.option("--watch", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Again and again.")
@options("records", "where", "json", "plugin")
def status(study: str, watch: float | None, root: Path, data: Path, as_json: bool) -> None:
    """The state of every run of a study, on this machine and on a cluster."""
    from benchmarks.cli import views

    look = functools.partial(_states, study, root, data)
    if watch is None:
        views.show_status(look(), as_json, _console())
        return
    while True:
        click.clear()
        views.show_status(look(), as_json, _console())
        time.sleep(watch)


def _states(study: str, root: Path, data: Path) -> Any:
    """A study's states: from its records, and from SLURM where it was submitted."""
    from benchmarks.plan.study import load_study
    from benchmarks.records.states import study_states

    loaded = load_study(study, Places(data, root))
    if (root / ".submissions").is_dir():
        from slurm.status import with_slurm

        return loaded, *with_slurm(loaded, root)
    return loaded, study_states(loaded, root), {}, ()


@cli.command()
@click.argument("names", metavar="STUDY...", nargs=-1)
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Default: reports/STUDY."
)
@click.option(
    "--format",
    "formats",
    default="html,latex,markdown,csv",
    show_default=True,
    metavar="LIST",
    help="What to write, separated by commas.",
)
@click.option("--anonymous", is_flag=True, help="Leave out host, account, paths and commit.")
@click.option(
    "--verify",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PAGE",
    help="Compare the records with a page that was made of them, instead.",
)
@click.option(
    "--bootstrap",
    "resamples",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Resample seeds and test images N times for the declared comparisons (1000).",
)
@options("records", "where", "plugin")
def report(names: tuple[str, ...], output: Path | None, formats: str, anonymous: bool, page: Path | None,
           resamples: int, root: Path, data: Path) -> int:  # fmt: skip
    """Tables, figures and the page, from the records of one study or several."""
    if page is not None:
        if names or anonymous or output:
            raise click.UsageError("--verify PAGE takes no study and writes nothing")
        return _verify(page, root)
    if not names:
        raise click.UsageError("which STUDY? `inductive list studies` shows those that are shipped")
    from analysis.report import parsed_formats, write_report
    from benchmarks.plan.study import load_study
    from benchmarks.running.progress import say

    wanted = parsed_formats(formats)
    loaded = [load_study(name, Places(data, root)) for name in dict.fromkeys(names)]
    out = output or Path("reports") / "+".join(study.name for study in loaded)
    written = write_report(loaded, root, out, wanted, anonymous, resamples)
    console = _console()
    for warning in written.warnings:
        say(console, f"mind: {warning}")
    for answer in written.answers:
        say(console, f"- {answer}")
    for what, place in written.written.items():
        say(console, f"{what}: {place}")
    return DONE


def _verify(page: Path, root: Path) -> int:
    from analysis.verify import verify

    found = verify(page, root)
    for difference in found.differences:
        click.echo(printable(difference))
    said = f"{len(found.differences)} differences" if found.differences else "as the page has them"
    click.echo(f"{found.runs} records compared: {said}")
    return FAILED if found.differences else DONE


@cli.command()
@click.argument("study")
@click.option("--to", type=Choice(["csv", "tensorboard", "wandb"]), required=True, help="What to write.")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), metavar="DIR",
              help="Default: exports/STUDY-TO.")  # fmt: skip
@options("records", "where", "plugin")
def export(study: str, to: str, output: Path | None, root: Path, data: Path) -> None:
    """The records as CSV, or for a tracker (an extra of the installation)."""
    from analysis.export import export as exported
    from benchmarks.plan.study import load_study
    from benchmarks.running.progress import say

    loaded = load_study(study, Places(data, root))
    say(_console(), exported(loaded, root, to, output or Path("exports") / f"{loaded.name}-{to}"))


@cli.command()
@click.argument("study")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Default: STUDY.zip.")  # fmt: skip
@click.option("--weights", is_flag=True, help="With the final weights, to add evaluations or to start from.")
@options("records", "where", "plugin")
def pack(study: str, output: Path | None, weights: bool, root: Path, data: Path) -> None:
    """One archive of the records, free of host, account and paths."""
    from benchmarks.plan.study import load_study, study_path
    from benchmarks.records.archive import pack as packed
    from benchmarks.running.progress import say

    loaded = load_study(study, Places(data, root))
    made = packed(loaded, study_path(study).read_bytes(), root, output or Path(f"{loaded.name}.zip"), weights)
    console = _console()
    for run, reason in made.left_out.items():
        say(console, f"left out: {run}: {reason}")
    say(console, f"{made.runs} of {len(loaded.runs)} runs: {made.path}")


@cli.group("cluster", cls=Orderly)
def cluster_() -> None:
    """What is known of a SLURM cluster: cluster.toml."""


@cluster_.command("init")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default="cluster.toml", show_default=True
)
def cluster_init(output: Path) -> int:
    """Write a commented cluster.toml from what this site says of itself."""
    from slurm import verbs

    return verbs.cluster_init(output, _console())


@cluster_.command("check")
@options("cluster", "runs", "data")
def cluster_check(cluster: Path, root: Path, data: Path) -> int:
    """Prove a cluster.toml with one tiny job, and say what it found on the node."""
    from slurm.check import check_cluster

    return check_cluster(cluster, root, data, _console())


@cluster_.command("jobs")
@click.argument("study", required=False)
@click.option("--prune", is_flag=True, help="Remove the folders of submissions whose jobs are all over.")
@click.option("--yes", is_flag=True, help="With --prune: do not ask.")
@options("runs", "json")
def cluster_jobs(study: str | None, prune: bool, yes: bool, root: Path, as_json: bool) -> int:
    """What was submitted: when, which text of the study, the states of its jobs, why they died, where logs lie."""
    from slurm import verbs

    return verbs.show_jobs(study, root, prune, yes, as_json, _console())


@cli.command()
@click.argument("study")
@click.option("--dry-run", is_flag=True, help="Show the jobs, submit none.")
@click.option("--yes", is_flag=True, help="Do not ask, however many GPU-hours it takes.")
@options("cluster", "only", "runs", "data", "accept", "plugin")
def submit(study: str, cluster: Path, only: str | None, root: Path, data: Path, dry_run: bool, yes: bool,
           accept_code: bool) -> int:  # fmt: skip
    """Send what is left of a study to a SLURM cluster; asking twice is safe."""
    from slurm import verbs

    return verbs.submit_study(study, cluster, only, root, data, dry_run, yes, accept_code, _console())


@cli.command()
@click.argument("study")
@click.option("--failed", is_flag=True, help="Those that failed.")
@click.option("--lost", is_flag=True, help="Those whose process died without a word.")
@click.option("--diverged", is_flag=True, help="Those whose loss was not finite; their records are put aside.")
@click.option("--yes", is_flag=True, help="Do not ask, however many GPU-hours it takes.")
@options("cluster", "only", "runs", "data", "plugin")
def retry(study: str, failed: bool, lost: bool, diverged: bool, yes: bool, cluster: Path, only: str | None,
          root: Path, data: Path) -> int:  # fmt: skip
    """Submit runs again that ended badly; without an option those that failed, were lost or interrupted."""
    from slurm import verbs

    states = [state for state, on in (("failed", failed), ("lost", lost), ("diverged", diverged)) if on]
    states = states or ["failed", "lost", "interrupted"]
    return verbs.retry_study(study, cluster, states, only, root, data, yes, _console())


@cli.command()
@click.argument("study")
@options("only", "runs")
def cancel(study: str, only: str | None, root: Path) -> int:
    """Cancel the jobs of a study, those of its earlier texts too; what they have done is kept."""
    from slurm import verbs

    return verbs.cancel_study(study, only, root, _console())


@cli.command()
@click.argument("run_id")
@click.option("-f", "--follow", is_flag=True, help="Go on while the run does.")
@options("runs")
def logs(run_id: str, follow: bool, root: Path) -> int:
    """The log of a run's last attempt."""
    from slurm import verbs

    return verbs.show_logs(run_id, root, follow, _console())


@cli.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def check(file: Path) -> int:
    """Put the encodings and models of your own FILE to the contract; print their symmetries and cost."""
    from benchmarks.cli.check import check_file

    return check_file(file, _console())


def refuse_foreign() -> None:
    """Raises InductiveError on native Windows, or when another package of a room's name shadows ours."""
    if os.name == "nt":
        raise InductiveError("native Windows is not supported; use WSL2")
    home = Path(__file__).resolve().parents[2]
    for room in ("models", "analysis", "slurm"):
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != home / room:
            raise InductiveError(f"another package named `{room}` ({found}) shadows {home / room}; run from elsewhere")


def main(arguments: list[str] | None = None) -> None:
    """The entry point: verbs return exit codes, errors a user can cause are one line."""
    try:
        if signal.getsignal(signal.SIGINT) is end_early:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        refuse_foreign()
        code = cli.main(arguments, prog_name="inductive", standalone_mode=False)
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.ClickException as error:
        error.show()
        code = USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except OwnedError as error:
        click.echo(printable(f"error: {error}"), err=True)
        code = OTHERS
    except OSError as error:
        click.echo(printable(f"error: {error.filename or 'file'}: {error.strerror or error}"), err=True)
        code = USAGE
    except InductiveError as error:
        where = "configuration error" if isinstance(error, ConfigError) else "error"
        click.echo(printable(f"{where}: {error}"), err=True)
        code = USAGE
    sys.exit(code or DONE)


if __name__ == "__main__":
    main()
