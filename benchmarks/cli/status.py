"""`inductive status`: the state of every run of a study, from the records, and from SLURM where it was submitted."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.cli.options import options
from benchmarks.console import print_json, say, table, terminal
from benchmarks.data.dataset import Places
from benchmarks.plan.study import Study, load_study
from benchmarks.records.stages import whole
from benchmarks.records.states import RunState, counted, evaluations_missing, missing_words, study_states


@dataclass(frozen=True)
class Found:
    """What is known of a study's runs. `extras` are by run id what a cluster adds: job, time left, a remark; `notes`
    are sentences."""

    study: Study
    states: Sequence[RunState]
    extras: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: Sequence[str] = ()


@click.command()
@click.argument("study")
@click.option(
    "--watch",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Refresh every SECONDS, until Ctrl-C.",
)
@options("records", "where", "json", "plugin")
def status(study: str, watch: float | None, root: Path, data: Path, as_json: bool) -> None:
    """The state of every run of a study, on this machine and on a cluster."""
    while True:
        found = find_states(study, root, data)
        if watch is not None:
            click.clear()
        if as_json:
            print_json({**status_values(found), "notes": list(found.notes)})
        else:
            print_status(terminal(), found)
        if watch is None:
            return
        time.sleep(watch)


def find_states(study: str, root: Path, data: Path) -> Found:
    """A study's states: from its records, and from SLURM where it was submitted."""
    places = Places(data, root)
    loaded = whole(load_study(study, places), places)
    if (root / ".submissions").is_dir():
        from slurm.status import with_slurm

        return Found(loaded, *with_slurm(loaded, root))
    return Found(loaded, study_states(loaded, root))


def status_values(found: Found) -> dict[str, Any]:
    """`inductive status --json`: one object a run, and the evaluations that finished runs lack."""
    runs = [{**_state_values(one), **found.extras.get(one.run.id, {})} for one in found.states]
    return {"study": found.study.name, "runs": runs, "evaluations_missing": evaluations_missing(found.states)}


def _state_values(one: RunState) -> dict[str, Any]:
    values: dict[str, Any] = {"id": one.run.id, "state": one.state, "reason": one.reason}
    values["evaluations_waiting"] = len(one.waiting)
    if one.record is not None and one.record.attempt_list and one.state == "running":
        attempt = one.record.attempt_list[-1]
        beat = attempt.heartbeat()
        values |= {
            "step": beat.get("step", 0),
            "steps": one.run.steps,
            "heartbeat_age": round(attempt.heartbeat_age(), 1),
        }
        values["images_per_second"] = beat.get("images_per_second")
        values["evaluating"] = beat.get("evaluating")
    return values


def print_status(console: Console, found: Found) -> None:
    """Every run that is not simply finished, the counts, and the notes."""
    everything = status_values(found)
    values, missing = everything["runs"], everything["evaluations_missing"]
    rows = []
    for one in values:
        if one["state"] == "running":
            speed = f", {one['images_per_second']:,.0f} images/s" if one["images_per_second"] else ""
            age = f", heartbeat {one['heartbeat_age']:.0f} s ago"
            left = f", {one['left']} left in job {one['job']}" if one.get("left") else ""
            remark = f"; {one['remark']}" if one.get("remark") else ""
            where = f"step {one['step']:,} of {one['steps']:,}{speed}"
            if one["evaluating"]:
                where = "evaluating {} of {}".format(*one["evaluating"])
            rows.append([one["id"], "running", f"{where}{age}{left}{remark}"])
        elif (
            one["state"] not in ("finished", "missing")
            or (one["state"] != "missing" and one["reason"])
            or one.get("remark")
        ):
            rows.append([one["id"], one["state"], "; ".join(filter(None, (one["reason"], one.get("remark"))))])
    if rows:
        table(console, "", {"run": "left", "state": "left", "": "left"}, rows)
    extra = f"; {missing_words(missing)}: `inductive run {found.study.argument}` does them" if missing else ""
    say(console, f"{found.study.name}: {counted(one['state'] for one in values)}{extra}")
    for note in found.notes:
        say(console, note)
