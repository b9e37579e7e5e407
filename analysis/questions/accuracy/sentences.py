"""How accurate is each model with so many images, in words; and what limits such sentences."""

import itertools
from collections.abc import Iterator, Mapping

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import at_home
from analysis.frame.rows import each_group
from analysis.frame.states import WITHOUT_RESULT
from analysis.questions.accuracy.ranking import accuracy_ranking, ranking_words
from analysis.questions.comparisons import verdicts
from analysis.questions.comparisons.verdicts import Verdicts
from analysis.wording import Answer, Scope

PLACE = "train-size"  # the anchor of the chapter
NAMED = 3  # models of which the cells are named; of more the tables have them


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm, by the verdicts on its pairs."""
    return [Claim(answer, PLACE) for answer in answers(arm.data, arm.once(verdicts.all_verdicts))]


def limits(arm: ReportedArm) -> Iterator[Claim]:
    """What limits every claim on an arm: verdicts that are exploratory; cells that are under-trained, have a collapsed
    run, or have no interval."""
    judged = arm.once(verdicts.all_verdicts)
    for answer in (*_exploratory(arm, judged), *_under_trained(arm), *_collapsed(arm), *_without_interval(arm)):
        yield Claim(answer, PLACE)


def answers(arm: ArmData, judged: Verdicts | None = None) -> list[Answer]:
    """Sentences on the smallest and the largest train size (the room `data_needed` has those on what lies between), by
    the verdicts on pairs; without those by paired t-intervals alone."""
    judged = judged or verdicts.verdicts_of(arm)
    found = []
    for size in _ends(judged.rows):
        ranking = accuracy_ranking(judged, size)
        if ranking is not None:
            of_label = reservations(arm.runs, size)
            sentence = ranking_words(ranking, of_label) + _without(arm.runs, size, of_label)
            found.append(Answer(f"{wording.number(size)} images", scope(arm, size), sentence))
    return found


def _ends(rows: pd.DataFrame) -> list[int]:
    """The smallest and the largest train size."""
    sizes = sorted(rows["train_size"].unique().tolist())
    return list(dict.fromkeys(sizes[:1] + sizes[-1:]))


def _without(runs: pd.DataFrame, train_size: int, of_label: Mapping[str, tuple[str, ...]]) -> str:
    """The models of which no run came to a result because some diverged or failed: no ranking has them."""
    cells = each_group(runs[runs["train_size"] == train_size], "label")
    names = [
        wording.noted(label, *of_label[label])
        for label, cell in cells
        if cell["train_accuracy"].isna().all() and cell["state"].isin(WITHOUT_RESULT).any()
    ]
    return f" Without any result: {wording.names(names)}." if names else ""


def _exploratory(arm: ReportedArm, judged: Verdicts) -> list[Answer]:
    """That some verdicts are on pairs that no family has."""
    table = arm.by_train_size
    labels = table.loc[table["low"].notna(), "label"].unique()
    outside = {frozenset(pair) for pair in itertools.combinations(labels, 2)} - set(map(frozenset, judged.pairs))
    if not outside:
        return []
    which = "pairs outside the declared families" if judged.declared else "pairs, as no family is declared"
    return [Answer("Exploratory", Scope(arm.words), f"all verdicts on {which} (separate intervals, uncorrected).")]


def _under_trained(arm: ReportedArm) -> list[Answer]:
    table = arm.by_train_size
    starved = table[table["starved"]]
    if starved.empty:
        return []
    cells = [
        f"{label} with {wording.names(map(wording.number, sizes['train_size']))} images"
        for label, sizes in each_group(starved, "label")
    ]
    few = starved["label"].nunique() <= NAMED
    which = wording.names(cells) if few else f"{len(starved)} of {len(table)} cells, ▽ in the tables"
    return [Answer("Under-trained", Scope(arm.words), f"{which}.")]


def _collapsed(arm: ReportedArm) -> list[Answer]:
    """Runs far below their cell, beside which its interval is not what it says."""
    home = at_home(arm.rows)
    cells = [
        f"{label} with {wording.number(size)} images ({wording.names(_percents(rows[rows['collapsed']]))}; median "
        f"{wording.percent(rows['accuracy'].median())})"
        for (label, size), rows in each_group(home, ["label", "train_size"])
        if rows["collapsed"].any()
    ]
    if not cells:
        return []
    return [Answer("Collapsed", Scope(arm.words), f"{wording.names(cells)}.")]


def _percents(rows: pd.DataFrame) -> list[str]:
    return [wording.percent(value) for value in sorted(rows["accuracy"])]


def _without_interval(arm: ReportedArm) -> list[Answer]:
    """Cells of several units that are all equal: no interval, which is not certainty."""
    table = arm.by_train_size
    level = table[(table["n"] > 1) & table["low"].isna()]
    if level.empty:
        return []
    body = f"in {len(level)} of {len(table)} cells all seeds are equal: no spread was seen, which does not mean none."
    return [Answer("Without interval", Scope(arm.words), body)]
