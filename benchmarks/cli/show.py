"""`inductive show`: everything known of one run, or on which test images two networks differ."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.cli.options import options
from benchmarks.console import print_json, say, table, terminal
from benchmarks.data.dataset import Places
from benchmarks.files import write_atomic
from benchmarks.plan.recipes import recipe_values
from benchmarks.plan.run import Evaluation, Run
from benchmarks.records.record import Record, find_record, read_record
from benchmarks.records.states import RunState, run_state
from benchmarks.records.summary import accuracies, circumstances, losses
from benchmarks.records.validity import valid_record


@click.command()
@click.argument("run_id")
@click.option("--against", metavar="RUN_ID", help="Instead: on which test images these two networks differ (McNemar).")
@click.option(
    "--html",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a page: curves, confusion matrix, the images it gets wrong most confidently.",
)
@options("records", "where", "plugin", "json")
def show(run_id: str, against: str | None, html: Path | None, root: Path, data: Path, as_json: bool) -> None:
    """Everything known of one run."""
    if against is not None and html is not None:
        raise click.UsageError("--html shows one run, --against compares two")
    record, places = read_record(find_record(root, run_id)), Places(data, root)
    if against is not None:
        one, other = (valid_record(path, whole=True) for path in (record.path, find_record(root, against)))
        show_against(one, other, places, as_json=as_json)
        return
    state = run_state(record.run(places), root, [], whole=True)
    if html is not None:
        from analysis.one_run import run_page

        html.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(html, run_page(record, state.run, state.state, places).encode())
    if as_json:
        print_json(show_values(record, state))
    else:
        print_show(terminal(), record, state)
        if html is not None:
            say(terminal(), f"page: {html}")


def show_values(record: Record, state: RunState) -> dict[str, Any]:
    """`inductive show --json`: all that is known of one run."""
    return {
        "id": record.id,
        "state": state.state,
        "reason": state.reason,
        "folder": str(record.path),
        "main": record.main,
        "result": record.result,
        "evaluations": record.unprobed,
        "attempts": record.attempts,
        "configuration": record.config["run"],
        "differs_from_defaults_in": record.config["delta"],
        "subset": record.config["subset"],
        "execution": {key: value for key, value in (record.execution or {}).items() if key != "sources"},
        "environment": record.attempt_list[-1].environment() if record.attempt_list else {},
    }


def print_show(console: Console, record: Record, state: RunState, *, configuration: bool = True) -> None:
    """One run for people: what came out and how it went, then what it is and how to run it again."""
    reason = f" ({state.reason})" if state.reason else ""
    say(console, f"{record.id}: {state.state}{reason}")
    valid = state.state != "failed" or state.record is not None  # of a record that is not, no number is shown
    found = [*accuracies(record), *losses(record, state.run.steps), *circumstances(record)] if valid else []
    lines = [*found, ("record", str(record.path))]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        say(console, f"{name:<{width}}  {text}")
    evaluations = [
        [
            e["evaluation"]["part"],
            e["evaluation"]["resolution"],
            Evaluation(**e["evaluation"]).words,
            f"{e['accuracy']:.2%}",
            e["count"],
        ]
        for e in (record.unprobed if valid else [])
    ]
    if evaluations:
        columns = {
            "part": "left",
            "pixels": "right",
            "shown as": "left",
            "accuracy": "right",
            "images": "right",
        }
        table(console, "evaluations", columns, evaluations)
    attempts = [
        [a["number"], a["state"], a["start_step"], a.get("step", "-"), (a["seconds"] or {}).get("total", "-")]
        for a in record.attempts
    ]
    table(
        console,
        "attempts",
        dict.fromkeys(("attempt", "ended", "from step", "to step", "seconds"), "right"),
        attempts,
    )
    if configuration:
        print_configuration(console, state.run)
    say(console, f"again: inductive rerun {record.id}")


def print_configuration(console: Console, run: Run) -> None:
    """A whole configuration, what differs from the defaults marked."""
    delta = run.delta
    named = recipe_values(run.recipe.name)
    rows = []
    for key, value in run.settings().items():
        if isinstance(value, dict):
            inner = delta.get(key, {})
            for name, one in value.items():
                changed = name in inner and not (key == "recipe" and name != "name" and named.get(name) == one)
                rows.append([f"{key}.{name}", one, "set" if changed else ""])
        else:
            changed = key in delta and key != "protocol"
            if key == "initial":  # the delta, and so the id, is against the default of earlier versions
                changed = value != Run.model_fields[key].default
            rows.append([key, value, "set" if changed else ""])
    table(console, "configuration", {"key": "left", "value": "left", "": "left"}, rows)


def show_against(a: Record, b: Record, places: Places, *, as_json: bool) -> None:
    """`inductive show --against`: prints how two networks differ. Of these two networks, no more."""
    from analysis.two_networks import compare

    test, kappa = compare(a, b, places)
    if as_json:
        print_json({"run": a.id, "against": b.id, **asdict(test), "kappa": None if math.isnan(kappa) else kappa})
        return
    console = terminal()
    images = test.both + test.only_a + test.only_b + test.neither
    say(console, f"{a.id}\nagainst {b.id}, on {images:,} test images")
    rows = [
        ["both right", f"{test.both:,}"],
        ["only the first right", f"{test.only_a:,}"],
        ["only the second right", f"{test.only_b:,}"],
        ["neither right", f"{test.neither:,}"],
    ]
    table(console, "", {"": "left", "images": "right"}, rows)
    consistency = "" if math.isnan(kappa) else f"; error consistency {kappa:.2f} (Cohen's kappa)"
    say(console, f"McNemar's exact test: p = {test.p:.3g}{consistency}")
    say(
        console,
        "This is about these two networks on these images. Of their architectures it says nothing: another seed of "
        "each is another pair. `inductive report` compares models over seeds.",
    )
