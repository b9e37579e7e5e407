"""`inductive plan`: the dry run of a study, before anything is trained."""

from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.cli.options import options
from benchmarks.console import duration, print_json, say, table, terminal
from benchmarks.data.dataset import Places
from benchmarks.forecast import cost
from benchmarks.forecast.gpu_speed import kind_of
from benchmarks.plan.study import Study, load_study
from benchmarks.records.states import counted, study_states


@click.command()
@click.argument("study")
@click.option("--gpu", metavar="NAME", help="Forecast the time on this GPU (a100, h100, ...) instead of a CPU.")
@options("runs", "where", "json", "plugin")
def plan(study: str, gpu: str | None, root: Path, data: Path, as_json: bool) -> None:
    """The dry run: the matrix of runs by state, its size and its price, and the differences it can detect."""
    from analysis import power
    from benchmarks.running import local

    loaded = load_study(study, Places(data, root))
    slot = cost.CPU if gpu is None else cost.Slot("cuda", gpu)
    if as_json:
        print_json(plan_values(loaded, root, slot) | {"comparisons": power.plan_values(loaded, root)})
        return
    console = terminal()
    print_plan(console, loaded, root, slot, 1 if gpu else local.slots("cpu"))
    heads, rows, meaning = power.plan_table(loaded, root)
    if rows:
        table(console, "comparisons", dict.fromkeys(heads, "right") | dict.fromkeys(heads[:1], "left"), rows)
        say(console, meaning)


def plan_values(study: Study, root: Path, slot: cost.Slot = cost.CPU) -> dict[str, Any]:
    """The dry run as plain values: cells with states, size and time, invalid cells, and what it adds up to."""
    states = {one.run.id: one for one in study_states(study, root)}
    rows = []
    seconds = bytes_left = 0.0
    to_do = 0
    for cell in cost.cells(study, root, slot):
        run = cell.runs[0]
        todo = [one for one in cell.runs if states[one.id].state not in ("finished", "diverged", "stale")]
        seconds += cell.seconds * len(todo)
        bytes_left += cell.bytes * len(cell.runs)
        to_do += len(todo)
        rows.append(
            {
                "cell": cost.cell_name(run),
                "runs": [one.id for one in cell.runs],
                "states": dict(Counter(states[one.id].state for one in cell.runs)),
                "parameters": sum(cell.parameters.values()),
                "backbone_parameters": cell.parameters["backbone"],
                "macs": cell.macs,
                "steps": run.steps,
                "seconds_per_run": round(cell.seconds, 1),
                "measured": cell.measured,
            }
        )
    return {
        "study": study.name,
        "question": study.question,
        "cells": rows,
        "left_out": [{"cell": what, "reason": why} for what, why in study.left_out],
        "states": dict(Counter(one.state for one in states.values())),
        "evaluations_waiting": sum(len(one.waiting) for one in states.values()),
        "runs_to_do": to_do,
        "gpu_seconds" if slot.device == "cuda" else "core_seconds": round(seconds),
        "files": len(study.runs) * cost.FILES_PER_RUN,
        "gigabytes": round(bytes_left / 1e9, 3),
        "assumption": f"{slot.assumption} where no run of the same network has been measured here",
    }


def print_plan(console: Console, study: Study, root: Path, slot: cost.Slot, jobs: int) -> None:
    """The dry run for people; `jobs` of its runs go side by side here."""
    values = plan_values(study, root, slot)
    for text in (study.question, study.cost, study.expect):
        if text:
            say(console, text)
    rows = [
        [
            row["cell"],
            counted(state for state, count in row["states"].items() for _ in range(count)),
            f"{row['backbone_parameters'] / 1e6:.3f} M",
            f"{row['macs'] / 1e6:.1f} M",
            f"{row['steps']:,}",
            duration(row["seconds_per_run"]) + ("" if row["measured"] else "*"),
        ]
        for row in values["cells"]
    ]
    columns = dict.fromkeys(("cell", "runs"), "left") | dict.fromkeys(("backbone", "MACs", "steps", "a run"), "right")
    table(console, f"{len(study.runs)} runs in {len(rows)} cells", columns, rows)
    for cell in values["left_out"]:
        say(console, f"left out: {cell['cell']}: {cell['reason']}")
    if slot.device == "cuda":
        time = f"about {duration(values['gpu_seconds'])} of one {kind_of(slot.gpu)}"
    else:
        seconds = values["core_seconds"]
        time = f"about {duration(seconds)} of one core, {duration(seconds / jobs)} with {jobs} side by side"
    hint = "" if slot.device == "cuda" else "; --gpu NAME forecasts a GPU"
    say(
        console,
        f"{counted(s for s, n in values['states'].items() for _ in range(n))}; "
        f"{values['evaluations_waiting']} evaluations waiting\n"
        f"to do: {values['runs_to_do']} runs, {time}\n"
        f"leaves {values['files']:,} files, {values['gigabytes']:g} GB\n* {values['assumption']}{hint}",
    )
