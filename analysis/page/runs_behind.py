"""The runs behind the numbers of a report, as its last part lists them; and the runs that are not finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import wording
from analysis.elements.reported import Anchors, ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import by_carry
from analysis.frame.rows import each_group, each_row
from analysis.frame.states import RECORDED, by_state
from analysis.page.questions import QUESTIONS
from analysis.wording import ABSENT

PAIR = ["label", "reference", "train_size"]


def pairs_of(arm: ReportedArm) -> pd.DataFrame:
    """The pairs of runs behind differences: label, reference, train_size, runs, reference_runs; each pair once."""
    columns = [*PAIR, "runs", "reference_runs"]
    every = [one.pairs(arm.once(one.numbers)) for one in QUESTIONS if one.pairs is not None]
    tables = [table[columns] for table in every if not table.empty]
    return pd.concat(tables).drop_duplicates(PAIR) if tables else pd.DataFrame(columns=columns)


@dataclass(frozen=True)
class Entry:
    """The runs behind a number: a small table, a row a run or a pair of runs.

    `rows` has (ids of the runs, whether there is a result to train again, texts of the columns in `head`)."""

    anchor: str
    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[tuple[str, ...], bool, tuple[str, ...]], ...]


@dataclass(frozen=True)
class ModelRuns:
    """The runs of a model, where its cells lead: an entry a train size, then one a pair of models."""

    anchor: str
    name: str
    entries: tuple[Entry, ...]


def runs_behind(arm: ArmData, links: Anchors, pairs: pd.DataFrame) -> tuple[ModelRuns, ...]:
    """Every run of an arm, by model and train size, with its accuracy at every test resolution; then the pairs
    behind differences (`pairs`: of `pairs_of`)."""
    rows = by_carry(arm.rows)
    shown = rows.sort_values(["carry_default", "carry"])  # the default way last; evaluations.csv has the others
    values = each_row(shown[["run", "test_resolution", "accuracy"]])
    accuracy = {(run, resolution): value for run, resolution, value in values}
    resolutions = sorted(rows["test_resolution"].unique().tolist())
    heads = [f"{r} px" for r in resolutions]
    units = {run: (str(draw), str(seed)) for run, draw, seed in each_row(arm.runs[["run", "draw", "seed"]])}
    result = []
    for label in links.labels:
        entries = []
        group = arm.runs[arm.runs["label"] == label]
        for size, cell in each_group(group, "train_size", ordered=True):
            lines = []
            shown = cell[["run", "draw", "seed", "state", "train_accuracy"]]
            for run in each_row(shown.sort_values(["draw", "seed"])):
                tested = [_share(accuracy.get((run.run, r))) for r in resolutions]
                texts = (str(run.draw), str(run.seed), run.state, _share(run.train_accuracy), *tested)
                lines.append(((run.run,), run.state in RECORDED, texts))
            title = f"{label}, {wording.number(size)} images"
            head = ("draw", "seed", "state", "train", *heads)
            entries.append(Entry(links.cell(label, size), title, head, tuple(lines)))
        if not pairs.empty:
            for pair in each_row(pairs[pairs["label"] == label]):
                entries.append(_pair_entry(pair, links, units, accuracy, resolutions))
        result.append(ModelRuns(links.model(label), label, tuple(entries)))
    return tuple(result)


def _pair_entry(
    pair: Any,
    links: Anchors,
    units: Mapping[str, tuple[str, str]],
    accuracy: Mapping[tuple[str, int], float],
    resolutions: Sequence[int],
) -> Entry:
    """`units`: draw and seed of each run."""
    lines = []
    for run, reference in zip(pair.runs.split(), pair.reference_runs.split(), strict=True):
        shown = []
        for resolution in resolutions:
            a, b = accuracy.get((run, resolution)), accuracy.get((reference, resolution))
            shown.append(ABSENT if a is None or b is None else f"{100 * (a - b):+.1f}".replace("-", "−"))
        texts = (*units[run], *shown)
        lines.append(((run, reference), True, texts))
    title = f"{pair.label} minus {pair.reference}, {wording.number(pair.train_size)} images, in points"
    head = ("draw", "seed", *(f"{r} px" for r in resolutions))
    return Entry(links.pair(pair.label, pair.reference, pair.train_size), title, head, tuple(lines))


def _share(value: float | None) -> str:
    return ABSENT if value is None or pd.isna(value) else f"{100 * value:.1f}"


def unfinished(runs: pd.DataFrame) -> list[tuple[str, list[tuple[str, str]]]]:
    """(state, [(run id, what is known)]) for all runs that are not finished, in the order of the study."""
    return [
        (state, [(row.run, _known(row)) for row in each_row(those)])
        for state, those in by_state(runs).items()
        if state != "finished"
    ]


def _known(row: Any) -> str:
    """Why a run has no result; who works on a running one is no matter of the report."""
    if row.state == "diverged" and not pd.isna(row.diverged_at):
        return f"loss not finite at step {wording.number(row.diverged_at)}"
    return "" if row.state in ("running", "lost") or pd.isna(row.reason) else str(row.reason)
