"""How much data does each architecture need: test accuracy against train size, at the training resolution."""

import pandas as pd

from analysis import statistics, wording
from analysis.arms import ArmData, one_arm
from analysis.cells import at_home, summarise
from analysis.ranking import rank, told
from analysis.tables import each_group
from analysis.wording import Answer


def curve(arm: ArmData) -> pd.DataFrame:
    """The table: a row per model and train size, as `cells.summarise` describes it."""
    return summarise(at_home(arm.rows), arm.runs, "accuracy")


def notes(runs: pd.DataFrame, train_size: int) -> dict[str, tuple[str, ...]]:
    """What a sentence must say of each label at `train_size`: that its cell is starved, or lacks runs."""
    said = {}
    for label, cell in each_group(runs[runs["train_size"] == train_size], "label"):
        done = int(cell["train_accuracy"].notna().sum())
        starved = ("starved",) if cell["starved"].any() else ()
        said[label] = (*starved, f"{done} of {len(cell)} runs") if done < len(cell) else starved
    return said


def conditions(arm: ArmData, train_size: int) -> str:
    """What a claim at a train size holds for: arm and number of seeds."""
    cell = arm.runs[arm.runs["train_size"] == train_size]
    planned = int(cell.groupby("label").size().max())
    return f"{one_arm(arm.runs).words}; {wording.count(planned, statistics.unit_noun(cell))}"


def answers(arm: ArmData) -> list[Answer]:
    """Sentences on the smallest and the largest train size, and on how much data matches the smallest size's leader."""
    rows = at_home(arm.rows)
    sizes = sorted(rows["train_size"].unique())
    said = []
    for size in dict.fromkeys(sizes[:1] + sizes[-1:]):
        ranking = rank(rows[rows["train_size"] == size], "accuracy")
        if ranking is not None:
            sentence = told(ranking, "mean test accuracy", notes(arm.runs, size))
            said.append(Answer(f"With {wording.number(size)} images", conditions(arm, size), sentence))
    if len(sizes) > 1:
        said += _data_needed(arm, rows, sizes)
    return said


def _data_needed(arm: ArmData, rows: pd.DataFrame, sizes: list[int]) -> list[Answer]:
    """At which recorded train size each model is no longer below what the leader reaches with the smallest.

    By the paired interval over shared draws and seeds; nothing is interpolated between sizes or beyond the last."""
    ranking = rank(rows[rows["train_size"] == sizes[0]], "accuracy")
    if ranking is None or not ranking.mean.has_interval or ranking.size == 1:
        return []
    target = rows[(rows["train_size"] == sizes[0]) & (rows["label"] == ranking.leader)]
    others = [label for label in dict.fromkeys(arm.runs["label"]) if label != ranking.leader]
    reached: dict[int, list[str]] = {}
    never = []
    for label in others:
        mine = rows[rows["label"] == label]
        found, last = _first_not_below(mine, target, sizes)
        if found is not None:
            reached.setdefault(found, []).append(wording.noted(label, *notes(arm.runs, found)[label]))
        elif last is not None and statistics.verdict(last) == "below":
            behind = f"by {wording.points(last, signed=False)}"
            never.append(wording.noted(label, *notes(arm.runs, sizes[-1])[label], behind))
    parts = [f"{wording.number(size)} for {wording.names(reached[size])}" for size in sorted(reached)]
    text = f"{ranking.leader} reaches {wording.value(ranking.mean)} with {wording.number(sizes[0])} images."
    if parts:
        text += f" The first train size at which a model is not below that, by its interval, is {'; '.join(parts)}."
    if never:
        text += f" Still below it with {wording.number(sizes[-1])} images: {wording.names(never)}."
    return [Answer("Data needed", conditions(arm, sizes[0]), text)] if parts or never else []


def _first_not_below(
    mine: pd.DataFrame, target: pd.DataFrame, sizes: list[int]
) -> tuple[int | None, statistics.Estimate | None]:
    """The first size at which the interval of (mine - target) is not below 0, or None and the difference at the
    largest size (None where there is no run of it). Sizes without an interval are passed over."""
    last = None
    for size in sizes:
        last = statistics.paired_difference(mine[mine["train_size"] == size], target, "accuracy")
        if statistics.verdict(last) in ("above", "unclear"):
            return size, last
    return None, last
