"""How accurate is each model with so many images, in words; and what limits such sentences."""

from collections.abc import Iterator, Mapping

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import at_home
from analysis.frame.rows import each_group
from analysis.frame.states import WITHOUT_RESULT
from analysis.questions.accuracy.ranking import rank, ranking_words
from analysis.questions.comparisons import verdicts
from analysis.wording import Answer, Scope

PLACE = "train-size"  # the anchor of the chapter


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm, by the differences of its declared families where these have a pair."""
    return [Claim(answer, PLACE) for answer in answers(arm.data, arm.once(verdicts.differences))]


def limits(arm: ReportedArm) -> Iterator[Claim]:
    """What limits every claim on an arm: cells that are starved, have a collapsed run, or have no interval."""
    starved_below = arm.study.starved_below
    for answer in (*_starved(arm, starved_below), *_collapsed(arm), *_without_interval(arm)):
        yield Claim(answer, PLACE)


def answers(arm: ArmData, families: pd.DataFrame | None = None) -> list[Answer]:
    """Sentences on the smallest and the largest train size (the room `data_needed` has those on what lies between), by
    the differences of declared `families` (`comparisons.families.differences`) where these have a pair."""
    families = pd.DataFrame() if families is None else families
    rows = at_home(arm.rows)
    sizes = sorted(rows["train_size"].unique())
    found = []
    for size in dict.fromkeys(sizes[:1] + sizes[-1:]):
        ranking = rank(rows[rows["train_size"] == size], "accuracy", declared=verdicts.of_families(families, size))
        if ranking is not None:
            of_label = reservations(arm.runs, size)
            sentence = ranking_words(ranking, "mean test accuracy", of_label) + _without(arm.runs, size, of_label)
            found.append(Answer(f"With {wording.number(size)} images", scope(arm, size), sentence))
    return found


def _without(runs: pd.DataFrame, train_size: int, of_label: Mapping[str, tuple[str, ...]]) -> str:
    """The models of which no run came to a result because some diverged or failed: no ranking has them."""
    cells = each_group(runs[runs["train_size"] == train_size], "label")
    names = [
        wording.noted(label, *of_label[label])
        for label, cell in cells
        if cell["train_accuracy"].isna().all() and cell["state"].isin(WITHOUT_RESULT).any()
    ]
    return f" Without any result: {wording.names(names)}." if names else ""


def _starved(arm: ReportedArm, starved_below: float) -> list[Answer]:
    table = arm.by_train_size
    starved = table[table["starved"]]
    if starved.empty:
        return []
    cells = [
        f"{label} with {wording.names(map(wording.number, sizes['train_size']))} images"
        for label, sizes in each_group(starved, "label")
    ]
    body = (
        f"{len(starved)} of {len(table)} cells stay below {wording.percent(starved_below)} accuracy on their "
        f"own training images, so more updates might raise them: {wording.names(cells)}."
    )
    return [Answer("Starved", Scope(arm.words), body)]


def _collapsed(arm: ReportedArm) -> list[Answer]:
    """Runs far below their cell, beside which its interval is not what it says."""
    home = at_home(arm.rows)
    cells = [
        f"{label} with {wording.number(size)} images ({wording.names(_percents(rows[rows['collapsed']]))} in "
        f"{len(rows)} runs, whose median is {wording.percent(rows['accuracy'].median())})"
        for (label, size), rows in each_group(home, ["label", "train_size"])
        if rows["collapsed"].any()
    ]
    if not cells:
        return []
    body = (
        f"a run lies far below the others of its cell, so its mean and interval are of two kinds of runs and cover "
        f"less than 95 %: {wording.names(cells)}. More seeds show how often that happens."
    )
    return [Answer("Collapsed", Scope(arm.words), body)]


def _percents(rows: pd.DataFrame) -> list[str]:
    return [wording.percent(value) for value in sorted(rows["accuracy"])]


def _without_interval(arm: ReportedArm) -> list[Answer]:
    """Cells of several units that are all equal: no interval, which is not certainty."""
    table = arm.by_train_size
    level = table[(table["n"] > 1) & table["low"].isna()]
    if level.empty:
        return []
    body = (
        f"{len(level)} of {len(table)} cells have no interval, since all their seeds reach the same number of test "
        f"images: no spread was seen, which is not the same as none."
    )
    return [Answer("Without interval", Scope(arm.words), body)]
