"""What the verbs print: tables for people (rich) and plain values for `--json`."""

import json
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

import models
from benchmarks.console import printable
from benchmarks.data.catalogue import DATASETS
from benchmarks.errors import ConfigError
from benchmarks.plan.recipes import recipe_about, recipe_names, recipe_values
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study, load_study, study_names
from benchmarks.records import cost
from benchmarks.records.record import Record
from benchmarks.records.states import RunState, counted, study_states
from benchmarks.running.progress import duration, say
from benchmarks.running.rerun import environment_of, recorded_settings
from models.catalogue.ready_made import SUMMARIES, WEIGHTS


def print_json(values: Any) -> None:
    """Plain values on stdout, for `--json`."""
    print(json.dumps(values, indent=1))


def table(console: Console, title: str, columns: dict[str, str], rows: list[list[Any]]) -> None:
    """Prints a table; `columns` maps a heading to its alignment ('left' or 'right')."""
    made = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for heading, justify in columns.items():
        made.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(str(value))) for value in row))
    console.print(made)


def listing(what: str, size: str | None = None, image_size: int | None = None) -> list[dict[str, Any]]:
    """The rows of `inductive list WHAT`; with a size, models are counted at that size and image size."""
    if what == "models" and size is not None:
        return counted_models(size, image_size or 32)[0]
    if what == "models":
        families = [models.family(name) for name in models.model_names()]
        rows = [(f.name, f.sizes, f.options, f.summary) for f in families]
        rows += [(name, ("own",), (WEIGHTS,), about) for name, about in SUMMARIES.items()]
        return [
            {"name": name, "sizes": list(sizes), "options": [option.name for option in options], "about": about}
            for name, sizes, options, about in rows
        ]
    if what == "vit-sizes":
        return vit_sizes()
    if what == "positions":
        return [{"name": name, "about": about} for name, about in models.position_summaries().items()]
    if what == "datasets":
        return [
            {
                "name": d.name,
                "images": sum(d.train_counts),
                "test": d.test_count,
                "pixels": d.native_resolution,
                "classes": d.classes,
                "source": d.source,
            }
            for d in DATASETS.values()
        ]
    if what == "recipes":
        return [{"name": name, **recipe_about(name)} for name in recipe_names()]
    studies = [load_study(name) for name in study_names()]
    return [{"name": s.name, "runs": len(s.runs), "question": s.question, "cost": s.cost} for s in studies]


def counted_models(size: str, image_size: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Parameters and MACs of every family that has a size, and why the others are not there (on the meta device)."""
    import torch

    scale = min(models.SCALES, key=lambda known: abs(math.log(known / image_size)))
    rows, refused = [], []
    for name in models.model_names():
        scaled: dict[str, Any] = (
            {"scale": scale} if "scale" in {option.name for option in models.family(name).options} else {}
        )
        try:
            with torch.device("meta"):
                network = models.create_model(
                    name, image_size=image_size, in_channels=3, num_classes=10, size=size, **scaled
                )
            found = network.describe(image_size, image_size)
        except models.ModelError as error:
            refused.append(str(error))
            continue
        row = {"name": name, **found.parameters, "parameters": sum(found.parameters.values())}
        rows.append({**row, "macs": found.macs, "flops": 2 * found.macs})
    if not rows:
        raise ConfigError("--size", refused[0])
    return rows, refused


def vit_sizes() -> list[dict[str, Any]]:
    """The published ViT sizes: what ours has, computed, beside what was printed."""
    from models.catalogue.published import SIDES, VIT_SIZES
    from models.checks.published_sizes import compute

    rows = []
    for name, one in VIT_SIZES.items():
        found = compute(name)
        row = {"name": name, "width": one.width, "depth": one.depth, "mlp": one.hidden, "heads": one.heads}
        row |= {"patch": one.patch, "parameters": found.parameters, "published_parameters_m": one.parameters}
        for side, flops, published in zip(SIDES, found.flops, one.gflops, strict=True):
            row |= {f"flops_{side}": flops, f"published_gflops_{side}": published}
        rows.append(row)
    return rows


def print_listing(console: Console, what: str, size: str | None = None, image_size: int | None = None) -> None:
    """`inductive list WHAT` as a table."""
    if what == "models" and size is not None:
        return print_counted(console, size, image_size or 32)
    if what == "vit-sizes":
        return print_vit_sizes(console)
    rows = listing(what)
    columns = {key: "right" if isinstance(value, int) else "left" for key, value in rows[0].items()}
    cells = [
        [", ".join(v) if isinstance(v, list) else f"{v:,}" if isinstance(v, int) else v for v in r.values()]
        for r in rows
    ]
    table(console, "", columns, cells)


def print_counted(console: Console, size: str, image_size: int) -> None:
    """Every family that has a size: parameters by part, MACs and FLOPs of one image."""
    rows, refused = counted_models(size, image_size)
    columns = {"name": "left"} | dict.fromkeys(("backbone", "position", "head", "parameters", "MACs", "FLOPs"), "right")
    cells = [[f"{value:,}" if isinstance(value, int) else value for value in row.values()] for row in rows]
    table(console, f"size {size}, images of 3 x {image_size} x {image_size}, 10 classes", columns, cells)
    say(console, "FLOPs = 2 MACs, attention products counted")
    for reason in refused:
        say(console, f"left out: {reason}")


def print_vit_sizes(console: Console) -> None:
    """The published ViT sizes: computed, and in brackets as published."""
    shape = ("name", "width", "depth", "mlp", "heads")  # the name tells the patch
    columns = {key: "right" for key in (*shape, "millions", "GFLOPs 224", "GFLOPs 384")} | {"name": "left"}
    cells = []
    for row in vit_sizes():
        line = [*(row[key] for key in shape), f"{row['parameters'] / 1e6:.1f} ({row['published_parameters_m']})"]
        for side in (224, 384):
            line.append(f"{row[f'flops_{side}'] / 1e9:.1f} ({row[f'published_gflops_{side}']:.1f})")
        cells.append(line)
    table(console, "", columns, cells)
    say(
        console,
        "Computed, in brackets as published. Parameters with position and without head; GFLOPs = 2 x MACs / 1e9,\n"
        "attention products counted, head not. A patch that does not divide the image leaves its border out.",
    )


def plan_values(study: Study, root: Path) -> dict[str, Any]:
    """The dry run as plain values: cells with states, size and time, invalid cells, and what it adds up to."""
    states = {one.run.id: one for one in study_states(study, root)}
    rows = []
    seconds = bytes_left = 0.0
    to_do = 0
    for cell in cost.cells(study, root):
        run = cell.runs[0]
        todo = [one for one in cell.runs if states[one.id].state not in ("finished", "diverged", "stale")]
        seconds += cell.seconds * len(todo)
        bytes_left += cell.bytes * len(cell.runs)
        to_do += len(todo)
        rows.append(
            {
                "cell": cell_name(run),
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
        "core_seconds": round(seconds),
        "files": len(study.runs) * cost.FILES_PER_RUN,
        "gigabytes": round(bytes_left / 1e9, 3),
        "assumption": cost.ASSUMPTION,
    }


def print_plan(console: Console, study: Study, root: Path, jobs: int) -> None:
    """The dry run for people."""
    values = plan_values(study, root)
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
    say(
        console,
        f"{counted(s for s, n in values['states'].items() for _ in range(n))}; "
        f"{values['evaluations_waiting']} evaluations waiting\n"
        f"to do: {values['runs_to_do']} runs, about {duration(values['core_seconds'])} of one core, "
        f"{duration(values['core_seconds'] / jobs)} with {jobs} side by side\n"
        f"leaves {values['files']:,} files, {values['gigabytes']:g} GB\n* {values['assumption']}",
    )


def cell_name(run: Run) -> str:
    """A run's id without draw, seed and digest, with the size and recipe: names a cell in tables."""
    name = run.model if run.position == "-" else f"{run.model} {run.position}"
    return f"{name} {run.size}, {run.dataset} n={run.train_size} r={run.resolution}, {run.recipe.name}"


def print_matrix(console: Console, study: Study, chosen: Collection[str]) -> None:
    """How many of the runs are chosen: a row a model, size, data set, resolution and recipe, a column a train size."""
    there: dict[str, Counter[int]] = {}
    wanted: dict[str, Counter[int]] = {}
    for run in study.runs:
        name = cell_name(run).replace(f" n={run.train_size}", "")
        there.setdefault(name, Counter())[run.train_size] += 1
        wanted.setdefault(name, Counter())[run.train_size] += run.id in chosen
    sizes = sorted({run.train_size for run in study.runs})
    rows = [
        [name, *(f"{wanted[name][size]} of {counts[size]}" if counts[size] else "" for size in sizes)]
        for name, counts in there.items()
    ]
    columns = {"runs submitted": "left"} | {f"n={size:,}": "right" for size in sizes}
    table(console, "", columns, rows)


Extras = Mapping[str, Mapping[str, str]]  # by run id: job, time left, remark, as far as a cluster says


def status_values(study: Study, states: Sequence[RunState], extras: Extras) -> dict[str, Any]:
    """`inductive status --json`: one object a run."""
    return {"study": study.name, "runs": [{**_state_values(one), **extras.get(one.run.id, {})} for one in states]}


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
    return values


def print_status(console: Console, study: Study, states: Sequence[RunState], extras: Extras) -> None:
    """Every run that is not simply finished, and the counts."""
    values = status_values(study, states, extras)["runs"]
    rows = []
    for one in values:
        if one["state"] == "running":
            speed = f", {one['images_per_second']:,.0f} images/s" if one["images_per_second"] else ""
            age = f", heartbeat {one['heartbeat_age']:.0f} s ago"
            left = f", {one['left']} left in job {one['job']}" if one.get("left") else ""
            remark = f"; {one['remark']}" if one.get("remark") else ""
            rows.append([one["id"], "running", f"step {one['step']:,} of {one['steps']:,}{speed}{age}{left}{remark}"])
        elif (
            one["state"] not in ("finished", "missing")
            or (one["state"] != "missing" and one["reason"])
            or one.get("remark")
        ):
            rows.append([one["id"], one["state"], "; ".join(filter(None, (one["reason"], one.get("remark"))))])
    if rows:
        table(console, "", {"run": "left", "state": "left", "": "left"}, rows)
    waiting = sum(one["evaluations_waiting"] for one in values if one["state"] == "finished")
    extra = f"; {waiting} evaluations waiting: `inductive run {study.name}` does them" if waiting else ""
    say(console, f"{study.name}: {counted(one['state'] for one in values)}{extra}")


def show_status(
    found: tuple[Study, Sequence[RunState], Extras, Sequence[str]], as_json: bool, console: Console
) -> None:
    """`inductive status`: what a study's states are, and what a cluster adds in sentences."""
    study, states, extras, notes = found
    if as_json:
        print_json({**status_values(study, states, extras), "notes": list(notes)})
        return
    print_status(console, study, states, extras)
    for note in notes:
        say(console, note)


def show_values(record: Record, state: RunState) -> dict[str, Any]:
    """`inductive show --json`: all that is known of one run."""
    return {
        "id": record.id,
        "state": state.state,
        "reason": state.reason,
        "folder": str(record.path),
        "configuration": record.config["run"],
        "differs_from_defaults_in": record.config["delta"],
        "subset": record.config["subset"],
        "execution": recorded_settings(record),
        "environment": environment_of(record),
        "result": record.result,
        "evaluations": record.evaluations,
        "attempts": record.attempts,
    }


def print_show(console: Console, record: Record, state: RunState, configuration: bool = True) -> None:
    """One run for people: what it is, how it went, what came out, how to run it again."""
    reason = f" ({state.reason})" if state.reason else ""
    say(console, f"{record.id}: {state.state}{reason}\n{record.path}")
    if configuration:
        print_configuration(console, state.run)
    if record.result and record.result["state"] == "finished" and state.state != "failed":
        result = record.result
        say(
            console,
            f"{result['steps']:,} steps, {result['images']:,} images; training accuracy without augmentation "
            f"{result['train_accuracy']:.1%}, loss {result['train_loss']:.4f}",
        )
    rows = [
        [
            e["evaluation"]["part"],
            e["evaluation"]["resolution"],
            Evaluation(**e["evaluation"]).words,
            f"{e['accuracy']:.2%}",
            e["count"],
        ]
        for e in (record.evaluations if state.state != "failed" else [])
    ]
    if rows:
        columns = {
            "part": "left",
            "pixels": "right",
            "shown as": "left",
            "accuracy": "right",
            "images": "right",
        }
        table(console, "evaluations", columns, rows)
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
            rows.append([key, value, "set" if key in delta and key != "protocol" else ""])
    table(console, "configuration", {"key": "left", "value": "left", "": "left"}, rows)
