"""`inductive probe`: finished runs measured on images in which one thing is changed. Nothing is trained."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from benchmarks.cli.options import options
from benchmarks.cli.run import run_study, settings_for
from benchmarks.console import count, say, terminal
from benchmarks.data.dataset import Places
from benchmarks.errors import ConfigError, InductiveError, RecordError
from benchmarks.plan.evaluations import EvaluationTable, Request, UnmetRequests, evaluations_of
from benchmarks.plan.probes import ALL, check_probe
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study, load_study, study_names
from benchmarks.records.record import find_record, read_record
from benchmarks.records.stages import reported
from benchmarks.records.states import run_state, selected
from models.hints import did_you_mean

WEIGHTS = "weights.safetensors"


@click.command()
@click.argument("what", metavar="STUDY|RUN_ID...", nargs=-1, required=True)
@click.option("--probes", default=ALL, show_default=True, metavar="NAME,...", help="Names of `inductive list probes`.")
@click.option("--strengths", metavar="NUMBER,...", help="From 1 on; default: all of each probe.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Runs side by side, with CUDA on each GPU; default: one a core or GPU.",
)
@options("only", "runs", "data", "device", "accept", "plugin")
def probe(what: tuple[str, ...], probes: str, strengths: str | None, jobs: int | None, only: str | None, root: Path,
          data: Path, device: str, accept_code: bool) -> int:  # fmt: skip
    """Measure finished runs on shifted, blurred, shuffled ... images; nothing is trained."""
    requests = requests_of(probes, strengths)
    console, places = terminal(), Places(data, root)
    named = not _is_study(what[0])
    study = _of_runs(what, only, root, places) if named else _of_study(what, only, places)
    runs = _measurable(study, root, console, named=named)
    wanted = {run.id: probed_evaluations(run, requests) for run in runs}
    settings = settings_for(data, device, 300.0, accept_code)
    return run_study(replace(study, runs=tuple(runs), evaluations=wanted), None, jobs, root, settings, console)


def requests_of(probes: str, strengths: str | None) -> list[Request]:
    """What the two flags request. Raises ConfigError for names and strengths that there are not."""
    numbers: list[int | None] = [None]
    if strengths is not None:
        texts = [text.strip() for text in strengths.split(",")]
        wrong = next((text for text in texts if not text.isdecimal()), None)
        if wrong is not None:
            raise ConfigError("--strengths", f"'{wrong}' is not a number: 1,2,3 for example")
        numbers = [int(text) for text in texts]
    requests = []
    for name in dict.fromkeys(name.strip() for name in probes.split(",")):
        for strength in numbers:
            check_probe(name, strength, "--probes", "--strengths")
            requests.append(Request(probe=name, strength=strength))
    return requests


def probed_evaluations(run: Run, requests: Sequence[Request]) -> list[Evaluation]:
    """The evaluations of a run that are requested. Raises ImpossibleError where a probe that is named does not suit its
    images."""
    table = EvaluationTable("--probes", tuple(requests))
    found = []
    for one in evaluations_of(run, (table,), [run.resolution], run.measured_parts, UnmetRequests()):
        if not isinstance(one, Evaluation):
            raise ConfigError("--probes", one.message)
        found.append(one)
    return list(dict.fromkeys(found))


def _is_study(word: str) -> bool:
    return word in study_names() or word.endswith(".toml") or Path(word).is_file()


def _of_study(what: Sequence[str], only: str | None, places: Places) -> Study:
    """A study with those of its runs that are selected."""
    if len(what) > 1:
        raise ConfigError("", f"'{what[1]}' is one too many: one study, or the ids of runs")
    study = reported(load_study(what[0], places), places)
    return replace(study, runs=selected(study, only), text="")  # no text: it is not being run


def _of_runs(what: Sequence[str], only: str | None, root: Path, places: Places) -> Study:
    """The runs of these ids as a study of their own."""
    if only is not None:
        raise ConfigError("--only", "is for a study; the runs are named already")
    runs = {}
    for start in what:
        try:
            run = read_record(find_record(root, start)).run(places)
        except RecordError as error:
            near = did_you_mean(start, study_names())
            raise RecordError(f"{f'no study is called so{near} ' if near else ''}{error}") from error
        runs[run.id] = run
    name = next(iter(runs)) if len(runs) == 1 else count(len(runs), "runs")
    return Study(name, "", "", "", tuple(runs.values()), {}, (), given=" ".join(what))


def _measurable(study: Study, root: Path, console: Console, *, named: bool) -> list[Run]:
    """The finished runs whose weights are there; says of a study how many are not. Raises InductiveError for a run that
    was `named` by its id and cannot be measured, and where none can."""
    states = [run_state(run, root, []) for run in study.runs]
    unfinished = {one.run.id: one.state for one in states if one.state not in ("finished", "stale")}
    runs = [run for run in study.runs if run.id not in unfinished]
    without = [run.id for run in runs if not (root / run.id / WEIGHTS).exists()]
    left = [run for run in runs if run.id not in without]
    reasons = [f"{run} is {state}" for run, state in unfinished.items()]
    why = "not kept, or packed without --weights; to train it again, remove its folder and run its study"
    if named and reasons:
        raise InductiveError(f"{reasons[0]}, so there is nothing to measure: `inductive run` finishes it")
    if named and without:
        raise InductiveError(f"{without[0]}: there are no weights: {why}")
    if not left:
        raise InductiveError(
            f"{study.name}: no finished run with weights under {root}: {count(len(unfinished), 'runs')} not finished, "
            f"{len(without)} without weights"
        )
    if unfinished:
        say(console, f"{count(len(unfinished), 'runs')} not finished, not measured: {reasons[0]}")
    if without:
        say(console, f"{count(len(without), 'runs')} without weights, not measured, {without[0]} first: {why}")
    return left
