"""`inductive plan`: the dry run of a study, before anything is trained."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.cli.options import options
from benchmarks.console import count, duration, print_json, say, table, terminal
from benchmarks.data import folders
from benchmarks.data.dataset import FOLDER, Places
from benchmarks.errors import ConfigError, UnpreparedError
from benchmarks.forecast import cost, memory
from benchmarks.forecast.gpu_speed import kind_of
from benchmarks.plan.study import Study, confirmation, load_study
from benchmarks.records import init_from
from benchmarks.records.stages import outcomes
from benchmarks.records.states import counted, evaluations_missing, missing_words, study_states

HERE = "this machine"


@click.command()
@click.argument("study")
@click.option("--gpu", metavar="NAME", help="Forecast the time on this GPU (a100, h100, ...) instead of a CPU.")
@click.option(
    "--cluster",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Forecast for the jobs of this cluster.toml instead of for this machine.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Forecast with so many processes that decode photographs for a run. Default: 1, or the cluster's.",
)
@options("gpus_per_run", "runs", "where", "json", "plugin")
def plan(study: str, gpu: str | None, cluster: Path | None, workers: int | None, gpus_per_run: int, root: Path,
         data: Path, as_json: bool) -> None:  # fmt: skip
    """The dry run: the matrix of runs by state, its size and its price, and the differences it can detect."""
    from analysis import power
    from benchmarks.running import preflight

    console = terminal()
    lacking, places = list[str](), Places(data, root)
    try:
        loaded = load_study(study, places)
    except UnpreparedError as error:
        places = replace(places, as_published=True)
        loaded = load_study(study, places)
        lacking = [f"{error.message}. Until then the sizes are those published, and classes taken to be of one size"]
    machine = _machine(gpu, cluster, gpus_per_run)
    if workers:
        machine = replace(machine, slot=replace(machine.slot, workers=workers))
    for run in loaded.runs:
        init_from.check_no_circle(run, root)
    there = {one.id for one in loaded.runs}
    first = [one for one in loaded.runs if one.init_from not in there]  # others start from these, and follow them
    if not places.as_published:
        lacking = [str(one) for one in preflight.unprepared(loaded, first, root, data, decoded=False)]
    taken = _memory(loaded, root, machine)
    second = _second(loaded, places)
    if as_json:
        memory_bytes = taken.side_by_side() if taken else None
        values = plan_values(loaded, root, machine.slot) | {"memory_bytes": memory_bytes, "unprepared": lacking}
        values |= _search_values(loaded, second, root, machine.slot)
        print_json(values | {"comparisons": power.plan_values(second or loaded, root)})
        return
    declared = {run.dataset for run in loaded.runs if run.data.photographs or run.dataset.startswith(FOLDER)}
    for name in sorted(declared if not places.as_published else ()):
        for line in folders.described(folders.index_of(name, places)):
            say(console, line)
    _say_about(console, {"question": loaded.question, "cost": loaded.cost, "expect": loaded.expect})
    if second is not None:
        say(console, _search_words(loaded))
    print_plan(console, loaded, root, machine.slot, machine.side_by_side)
    if second is not None:
        say(console, "\nThen, of each cell, what the search has chosen:")
        print_plan(console, second, root, machine.slot, machine.side_by_side)
    if taken is not None:
        say(console, _memory_words(taken, machine))
    for text in lacking:
        say(console, f"before running: {text}")
    for text in preflight.learned_words(loaded.runs, root):
        say(console, text)
    heads, rows, meaning = power.plan_table(second or loaded, root)
    if rows:
        table(console, "comparisons", dict.fromkeys(heads, "right") | dict.fromkeys(heads[:1], "left"), rows)
        say(console, meaning)


@dataclass(frozen=True)
class _Machine:
    """What a study is planned for: slots of a kind, how many side by side, and the memory (bytes) that they share in
    the place of that name; None where nobody knows it. `recompute`: activations are computed again instead of kept."""

    slot: cost.Slot
    side_by_side: int
    memory: int | None
    where: str
    helps: tuple[str, ...] = ()
    recompute: bool = False
    again: str = ""  # what would have that


def _machine(gpu: str | None, cluster: Path | None, ranks: int) -> _Machine:
    from benchmarks.running import local

    if cluster is not None:
        from slurm.cluster import read_cluster
        from slurm.submit import AGAIN, more_memory, slot_of

        asked = read_cluster(cluster)
        if ranks > 1:
            raise ConfigError("--gpus-per-run", f"{cluster} says that, as gpus_per_run = {asked.gpus_per_run}")
        slot = slot_of(asked) if gpu is None else cost.Slot("cuda", gpu, ranks=asked.gpus_per_run)
        helps = (*more_memory(asked), "--gpu NAME to plan for a GPU")
        again = asked.checkpoint_activations, AGAIN
        return _Machine(slot, asked.slots, asked.memory_bytes or None, f"a job of {cluster}", helps, *again)
    if gpu is not None:
        return _Machine(cost.Slot("cuda", gpu, ranks=ranks), 1, None, "")
    helps = ("--gpu NAME or --cluster FILE to plan for another machine",)
    several = max(1, local.slots("cpu") // ranks)
    return _Machine(cost.Slot(ranks=ranks), several, memory.machine_bytes(), HERE, helps)


def _memory(study: Study, root: Path, machine: _Machine) -> memory.Memory | None:
    """What the largest run that is left to do takes on a CPU, None on a GPU. Raises InductiveError for a run that does
    not fit; into a job of a cluster with as many others as go side by side there."""
    if machine.slot.device == "cuda":
        return None
    together = 1 if machine.where == HERE else machine.side_by_side
    left = (one.run for one in study_states(study, root) if one.state not in ("finished", "diverged") or one.waiting)
    wanted = (memory.wanted(run, study.evaluations[run.id], root, machine.recompute) for run in left)
    return memory.largest(wanted, machine.memory, machine.where, together, machine.helps, machine.again)


def _memory_words(taken: memory.Memory, machine: _Machine) -> str:
    several = machine.side_by_side
    text = f"memory: a run takes up to about {memory.gigabytes(taken.side_by_side())}"
    if several > 1:
        text += f", {several} side by side {memory.gigabytes(taken.side_by_side(several))}"
    if machine.memory is None:
        return text
    text += f"; {machine.where} has {memory.gigabytes(machine.memory)}"
    fit = taken.fitting(machine.memory)
    return text + (f": --jobs {fit} fits" if fit < several else "")


def _second(study: Study, places: Places) -> Study | None:
    """What confirms a study's search, of cells whose search is not done by the recipe as it is: it costs the same. None
    for a study that searches nothing."""
    if study.tuning is None:
        return None
    chosen = {one.cell.key: one.chosen or 0 for one in outcomes(study, places)}
    return confirmation(study, chosen, places)


def _search_values(study: Study, second: Study | None, root: Path, slot: cost.Slot) -> dict[str, Any]:
    """Of a study that searches: what is searched, what its bands will say, and the dry run of what confirms it."""
    from analysis.statistics.tuning_curves import LEVEL, largest_k

    if study.tuning is None or second is None:
        return {}
    search = study.tuning.plan.search
    compared = largest_k(search.trials, 1 - (1 - LEVEL) / _searched_models(study))
    about = search.model_dump(mode="json") | {"largest_k": largest_k(search.trials), "largest_k_compared": compared}
    return {"search": about, "confirmation": plan_values(second, root, slot)}


def _search_words(study: Study) -> str:
    """What a study searches, and what its bands will say anything about."""
    from analysis.statistics.tuning_curves import LEVEL, largest_k

    assert study.tuning is not None
    plan = study.tuning.plan
    search, k = plan.search, largest_k(plan.search.trials)
    models = _searched_models(study)
    compared = largest_k(search.trials, 1 - (1 - LEVEL) / models)
    together = f"; of {models} models compared, about {_up_to(compared)}" if models > 1 else ""
    each = "model" if search.share else "model and train size"
    length = "" if search.budget.share == 1 else f", at {search.budget.share:.0%} of the budget"
    several = f" in {search.studies} equal searches" if search.studies > 1 else ""
    return (
        f"search: the recipe and {count(search.trials, 'drawn trials')} ({search.sampler}){several} of each {each}, "
        f"{count(len(plan.search_seeds), 'seeds')} each{length}; then {count(len(plan.confirm_seeds), 'fresh seeds')} "
        f"of what it chooses ({plan.rule.about})\nbands of {100 * LEVEL:g} % will say something about "
        f"{_up_to(k)}{together}"
    )


def _up_to(k: int) -> str:
    return f"the best of up to {count(k, 'trials')}" if k else "no number of trials: more of them would"


def _searched_models(study: Study) -> int:
    """How many models a search has at most that a page compares with one another."""
    beside: dict[tuple[Any, ...], set[tuple[str, ...]]] = {}
    for run in study.runs:
        beside.setdefault((run.dataset, run.resolution, run.train_size), set()).add(run.model_words)
    return max(map(len, beside.values()))


def plan_values(study: Study, root: Path, slot: cost.Slot = cost.CPU) -> dict[str, Any]:
    """The dry run as plain values: cells with states, size and time, invalid cells, and what it adds up to."""
    states = {one.run.id: one for one in study_states(study, root)}
    speeds = cost.measured(root, replace(study, runs=study.every_run), slot)
    rows = []
    seconds = bytes_left = 0.0
    to_do = 0
    names = cost.cell_names(study)
    for cell in cost.cells(study, root, slot, speeds):
        run = cell.runs[0]
        todo = [one for one in cell.runs if states[one.id].state not in ("finished", "diverged", "stale")]
        seconds += slot.ranks * cell.seconds * len(todo)
        bytes_left += cell.bytes * len(cell.runs)
        to_do += len(todo)
        rows.append(
            {
                "cell": names[run.id],
                "runs": [one.id for one in cell.runs],
                "states": dict(Counter(states[one.id].state for one in cell.runs)),
                "parameters": sum(cell.parameters.values()),
                "backbone_parameters": cell.parameters["backbone"],
                "trained_parameters": cell.trained,
                "macs": cell.macs,
                "steps": run.steps,
                "seconds_per_run": round(cell.seconds, 1),
                "measured": cell.measured,
                "waits_for_photographs": cell.waits,
            }
        )
    waiting = [one for one in states.values() if one.state == "finished" and one.waiting]
    added = slot.ranks * sum(cost.evaluation_seconds(one.run, one.waiting, slot, speeds) for one in waiting)
    unit = "gpu_seconds" if slot.device == "cuda" else "core_seconds"
    return {
        "study": study.name,
        "question": study.question,
        "cells": rows,
        "left_out": [{"cell": what, "reason": why} for what, why in study.left_out],
        "states": dict(Counter(one.state for one in states.values())),
        "evaluations_waiting": sum(len(one.waiting) for one in waiting),
        "evaluations_missing": evaluations_missing(waiting),
        f"evaluations_{unit}": round(added),
        "runs_to_do": to_do,
        unit: round(seconds),
        "files": len(study.runs) * cost.FILES_PER_RUN,
        "gigabytes": round(bytes_left / 1e9, 3),
        "assumption": f"{slot.assumption} where no run of the same network has been measured here",
    }


def print_plan(console: Console, study: Study, root: Path, slot: cost.Slot, jobs: int) -> None:
    """The dry run for people; `jobs` of its runs go side by side here."""
    values = plan_values(study, root, slot)
    cells = _as_one(values["cells"]) if study.tuning is not None else values["cells"]
    rows = [
        [
            row["cell"] + _learns(row),
            counted(state for state, number in row["states"].items() for _ in range(number)),
            f"{row['backbone_parameters'] / 1e6:.3f} M",
            f"{row['macs'] / 1e6:.1f} M",
            f"{row['steps']:,}",
            duration(row["seconds_per_run"]) + ("" if row["measured"] else "*"),
        ]
        for row in cells
    ]
    columns = dict.fromkeys(("cell", "runs"), "left") | dict.fromkeys(("backbone", "MACs", "steps", "a run"), "right")
    table(console, f"{count(len(study.runs), 'runs')} in {count(len(rows), 'cells')}", columns, rows)
    if waiting := sum(row["waits_for_photographs"] for row in values["cells"]):
        say(
            console,
            f"warning: decoding is the bottleneck in {waiting} of {count(len(values['cells']), 'cells')}: "
            f"{count(slot.workers, 'workers')} a run, {cost.DECODE_SECONDS * 1e3:g} ms a photograph, and the networks "
            "wait; --workers N plans for more",
        )
    for cell in values["left_out"]:
        say(console, f"left out: {cell['cell']}: {cell['reason']}")
    unit = "gpu_seconds" if slot.device == "cuda" else "core_seconds"
    say(console, counted(s for s, n in values["states"].items() for _ in range(n)))
    say(console, f"to do: {count(values['runs_to_do'], 'runs')}, {_time(values[unit], slot, jobs)}")
    if values["evaluations_missing"]:
        missing = missing_words(values["evaluations_missing"])
        took = _time(values[f"evaluations_{unit}"], slot, jobs)
        say(console, f"to evaluate: {missing}, {took}: `inductive run {study.argument}`")
    hint = "" if slot.device == "cuda" else "; --gpu NAME forecasts a GPU"
    say(
        console,
        f"leaves {count(values['files'], 'files')}, {values['gigabytes']:g} GB\n* {values['assumption']}{hint}",
    )


def _learns(row: Mapping[str, Any]) -> str:
    """What of a cell's networks learns, where that is not all."""
    learning = row["trained_parameters"]
    return f", {learning:,} parameters learn" if learning < row["parameters"] else ""


def _as_one(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of trials that differ in numbers of their recipe alone, as one."""
    merged: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["cell"], row["parameters"], row["macs"], row["steps"])
        one = merged.setdefault(key, {**row, "states": {}, "seconds_per_run": 0.0})
        one["states"] = dict(Counter(one["states"]) + Counter(row["states"]))
        one["seconds_per_run"] = max(one["seconds_per_run"], row["seconds_per_run"])
    return list(merged.values())


def _say_about(console: Console, texts: Mapping[str, str]) -> None:
    """What a study says of itself."""
    for text in filter(None, texts.values()):
        say(console, text)


def _time(seconds: float, slot: cost.Slot, jobs: int) -> str:
    if slot.device == "cuda":
        together = f", {slot.ranks} at a time: {duration(seconds / slot.ranks)}" if slot.ranks > 1 else ""
        return f"about {duration(seconds)} of one {kind_of(slot.gpu) or 'GPU'}{together}"
    together = f" by {slot.ranks} cores each" if slot.ranks > 1 else ""
    took = duration(seconds / slot.ranks / jobs)
    return f"about {duration(seconds)} of one core, {took} with {jobs} side by side{together}"
