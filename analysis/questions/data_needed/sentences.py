"""The numbers of data needed in words: what each model needs for what the reference reaches; where curves cross."""

import math

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import estimate_of
from analysis.frame.naming import NONE
from analysis.frame.rows import each_row
from analysis.questions.data_needed.baselines import Baseline
from analysis.questions.data_needed.numbers import MANY, DataNeeded, incomplete_words, numbers
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate
from analysis.wording import Answer


def factors_anchor(arm: int, place: int) -> str:
    """The table of the factors against the reference of this place, from 1; the page sorts answers by its beginning."""
    return f"data-needed-{arm}-{place}"


def crossings_anchor(arm: int, place: int) -> str:
    """The table of the crossings with the curve of the reference of this place."""
    return f"crossings-{arm}-{place}"


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm, each with the anchor of the table that has its numbers."""
    return answers(arm.data, arm.once(numbers), arm.number)


def answers(arm: ArmData, of: DataNeeded, number: int) -> list[Claim]:
    """For each reference two answers; none where the reference has no interval. `number`: of the arm on the page."""
    found = []
    for place, baseline in enumerate(of.baselines, start=1):
        at, crossings = (table[table["reference"] == baseline.reference] for table in (of.at_reference, of.crossings))
        if at["reference_accuracy_low"].notna().any():
            found += [
                Claim(_factors(arm, baseline, at), factors_anchor(number, place)),
                Claim(_crossings(arm, baseline, crossings), crossings_anchor(number, place)),
            ]
    return found


def _factors(arm: ArmData, baseline: Baseline, table: pd.DataFrame) -> Answer:
    """What each model would need for what the reference reaches with so many images."""
    name, size, noun = baseline.reference, baseline.train_size, intervals.unit_noun(arm.runs)
    of_label = reservations(arm.runs, size)  # without the models that were not planned with it
    needs: list[str] = []
    without: dict[str, list[str]] = {}
    first = table.iloc[0]
    for row in each_row(table):
        if row.why:
            without.setdefault(row.why, []).append(row.label)
            continue
        reached = Estimate(row.accuracy, row.accuracy_low, row.accuracy_high, row.n)
        there = [] if math.isnan(row.accuracy) else [wording.value(reached)]
        factor = wording.factor(estimate_of(row), row.bound)
        lacking = incomplete_words(row.done, row.planned, row.incomplete, noun)
        needs.append(
            f"{wording.noted(row.label, *there, *of_label.get(row.label, ()))} {wording.noted(factor, *lacking)}"
        )
    images = wording.number(size)
    level = Estimate(first["reference_accuracy"], first["reference_accuracy_low"], first["reference_accuracy_high"], 0)
    text = f"with {images} images {wording.noted(name, *of_label.get(name, ()))} reaches {wording.value(level)}."
    if baseline.passed:
        verb = "lacks" if len(baseline.passed) == 1 else "lack"
        text += f" {wording.names(baseline.passed)} could lead but {verb} runs there."
    if needs:
        text += (
            f" For as much, {_others(baseline)} would need so many times the images (in brackets: what they reach with "
            f"{images}): {'; '.join(needs)}."
        )
    if without:
        text += f" Not compared: {'; '.join(wording.noted(wording.names(of), why) for why, of in without.items())}."
    return Answer("Data needed", scope(arm, size), text)


def _others(baseline: Baseline) -> str:
    """'the others', or 'those declared against it (“encodings”)'."""
    named = wording.names(f"“{family}”" for family in baseline.families)
    return "the others" if baseline.leads else f"those declared against it ({named})"


def _crossings(arm: ArmData, baseline: Baseline, table: pd.DataFrame) -> Answer:
    """Where the others' curves and the reference's cross: changed orders first, then what cannot be told apart."""
    phrases: dict[str, list[str]] = {}
    unclear = ~table["pieces"].isin(["", NONE])
    for row in each_row(
        table.assign(clear=~unclear).sort_values(["changes", "clear"], ascending=[False, True], kind="stable")
    ):
        lacking = incomplete_words(row.done, row.planned, row.incomplete, intervals.unit_noun(arm.runs))
        words = f"{row.words}; the table has them" if row.pieces.count("[") >= MANY else row.words
        phrases.setdefault(words, []).append(wording.noted(row.label, *lacking))
    parts = "; ".join(f"{wording.names(labels)}: {words}" for words, labels in phrases.items())
    text = f"beside {baseline.reference}, by the paired t-interval of each alone, size by size: {parts}."
    if unclear.any() and not table["changes"].all():
        text += f" The order is not seen to change{' for the others' if table['changes'].any() else ''}."
    return Answer("Crossings", scope(arm, baseline.train_size), text)
