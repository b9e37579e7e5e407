"""The numbers of data needed in words: what each model needs for what the reference reaches; where the order changes.

Both speak of verdicts at measured train sizes: a factor of a pair that is not separable there is given as such, and
crossings between sizes, which are interpolated, stand in a table alone.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from analysis import wording
from analysis.elements.claims import Claim, reservations, scope
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_row
from analysis.questions.accuracy.ranking import accuracy_ranking
from analysis.questions.comparisons.verdicts import Verdicts, all_verdicts
from analysis.questions.data_needed.baselines import Baseline
from analysis.questions.data_needed.numbers import DataNeeded, incomplete_words, numbers
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate
from analysis.wording import Answer

ORDER = "train-size"  # the anchor of the chapter that shows where the order changes
SHOWN = 4  # factors, or pairs with a crossover, that a sentence names
BOUNDS = {"at least": "over ", "at most": "under ", "": ""}
NO_FACTOR = {"at least": "more images", "at most": "no more images"}  # by a curve that nobody knows further


def factors_anchor(arm: int, place: int) -> str:
    """The table of the factors against the reference of this place, from 1; the page sorts answers by its beginning."""
    return f"data-needed-{arm}-{place}"


def claims(arm: ReportedArm) -> list[Claim]:
    """The sentences of an arm, each with the anchor of what has its numbers."""
    return answers(arm.data, arm.once(numbers), arm.once(all_verdicts), arm.number)


def answers(arm: ArmData, of: DataNeeded, judged: Verdicts, number: int) -> list[Claim]:
    """For each reference an answer, but none where it has no interval; and where the order changes. `number`: of the
    arm on the page."""
    found = []
    for place, baseline in enumerate(of.baselines, start=1):
        at = of.at_reference[of.at_reference["reference"] == baseline.reference]
        if at["reference_accuracy_low"].notna().any() and (at["mean"].notna() | at["why"].astype(bool)).any():
            found.append(Claim(_factors(arm, baseline, at), factors_anchor(number, place)))
    return [*found, *(Claim(answer, ORDER) for answer in _crossovers(arm, of, judged))]


def _factors(arm: ArmData, baseline: Baseline, table: pd.DataFrame) -> Answer:
    """What each model would need for what the reference reaches with so many images."""
    name, size, noun = baseline.reference, baseline.train_size, intervals.unit_noun(arm.runs)
    of_label = reservations(arm.runs, size)  # without the models that were not planned with it
    takes: dict[str, str] = {}
    level: list[str] = []
    without: dict[str, list[str]] = {}
    of_row = {
        row.label: (*of_label.get(row.label, ()), *incomplete_words(row.done, row.planned, row.incomplete, noun))
        for row in each_row(table)
    }
    all_lack = shared_notes([of_row[row.label] for row in each_row(table) if not row.why])
    for row in each_row(table):
        lacking = tuple(note for note in dict.fromkeys(of_row[row.label]) if note not in all_lack)
        if row.why:
            without.setdefault(row.why, []).append(row.label)
        elif row.verdict == "unclear":
            level.append(wording.noted(row.label, factor_words(estimate_of(row), row.bound, False), *lacking))
        elif row.verdict == "no interval" or math.isnan(row.mean):
            without.setdefault("no interval" if row.verdict == "no interval" else "no factor", []).append(row.label)
        else:
            takes[row.label] = wording.noted(factor_words(estimate_of(row), row.bound), *lacking)
    first = table.iloc[0]
    reached = wording.mean(
        Estimate(first["reference_accuracy"], first["reference_accuracy_low"], first["reference_accuracy_high"], 0)
    )
    images, notes = f"{wording.number(size)} images", of_label.get(name, ())
    text = f"to match {name}'s {wording.noted(f'{reached} %', *notes)} at {images}: "
    bounded = frozenset(row.label for row in each_row(table) if row.bound)
    text = (
        f"{text}{_listed(takes, bounded)}." if takes else f"{wording.noted(name, f'{reached} %', *notes)} at {images}."
    )
    if level:
        text += f" Not separable in accuracy: {wording.names(level)}."
    if all_lack:
        text += f" All {wording.names(all_lack)}."
    if without:
        text += f" Not compared: {'; '.join(wording.noted(wording.names(of), why) for why, of in without.items())}."
    if baseline.passed:
        verb = "lacks" if len(baseline.passed) == 1 else "lack"
        text += f" {wording.names(baseline.passed)} could lead but {verb} runs there."
    return Answer("Data needed", scope(arm, size), text)


def shared_notes(notes: Sequence[tuple[str, ...]]) -> list[str]:
    """The notes that more than two models have, and all of them: they are said once."""
    return [note for note in dict.fromkeys(notes[0]) if all(note in of for of in notes)] if len(notes) > 2 else []


def _listed(takes: dict[str, str], bounded: frozenset[str]) -> str:
    """Each with its factor; of many the first and the last, with how many lie between, and apart those that are
    `bounded`, of which nobody knows where they lie."""
    each = [f"{label} {factor}" for label, factor in takes.items()]
    if len(each) <= SHOWN:
        return wording.names(each)
    told, beyond = (
        [f"{label} {factor}" for label, factor in takes.items() if (label in bounded) == apart]
        for apart in (False, True)
    )
    if len(told) > SHOWN:
        told = [f"from {told[0]} to {told[-1]} ({len(told) - 2} between)"]
    if len(beyond) > SHOWN:
        beyond = [f"{len(beyond)} by bounds alone, from {beyond[0]} to {beyond[-1]}"]
    return wording.names([*told, *beyond])


def known(factor: float, bound: str) -> bool:
    """Whether a factor says how many images: not where a curve ends, or begins, at the size that is matched."""
    return not math.isnan(factor) and not (bound and wording.times(factor) == wording.times(1))


def telling(row: Any) -> bool:
    """Whether a row of factors says more than its verdict: not the bound of a model with a higher accuracy that needs
    at most more images, or with a lower one at least fewer."""
    nothing = {"above": ("at most", 1), "below": ("at least", -1)}.get(row.verdict, ("", 0))
    beyond = row.bound == nothing[0] and (row.mean - 1) * nothing[1] > 0
    return known(row.mean, row.bound) and not beyond


def factor_words(factor: Estimate, bound: str, interval: bool = True) -> str:
    """'6.7× [3.0, 15]', 'over 5.8×'; 'unknown'. The interval of a bound that only repeats it is left out; a
    bound of 1.00 is that of a curve which ends, or begins, at the size that is matched."""
    if math.isnan(factor.mean):
        return "unknown"
    if not known(factor.mean, bound):
        return NO_FACTOR[bound]
    ends = wording.factor_interval(factor) if interval else ""
    repeats = bound and wording.times(factor.mean) in map(wording.times, (factor.low, factor.high))
    return f"{BOUNDS[bound]}{wording.times(factor.mean)}× {'' if repeats else ends}".rstrip()


def _crossovers(arm: ArmData, of: DataNeeded, judged: Verdicts) -> list[Answer]:
    """Between which measured train sizes the verdict on a pair changes its sign, of the pairs that are compared: those
    of declared families and those of a model and its reference. Nothing without two sizes and a verdict."""
    sizes = sorted(int(size) for size in judged.rows["train_size"].unique())
    pairs = [*judged.pairs, *((label, one.reference) for one in of.baselines for label in one.labels)]
    pairs = list({frozenset(pair): pair for pair in reversed(pairs)}.values())[::-1]
    changed: dict[tuple[int, int], list[str]] = {}
    seen: set[int] = set()  # the sizes at which some pair has a verdict
    for label, reference in pairs:
        found = {size: judged.of(label, reference, size).verdict for size in sizes}
        signs = [(size, verdict) for size, verdict in found.items() if verdict in ("above", "below")]
        seen |= {size for size, verdict in found.items() if verdict != "no interval"}
        ends = [(a, b) for (a, first), (b, second) in itertools.pairwise(signs) if first != second]
        if ends:
            where = ", ".join(
                f"{verdict} at {_numbers(size for size, one in signs if one == verdict)}"
                for verdict in dict.fromkeys(one for _, one in signs)
            )
            changed.setdefault(ends[0], []).append(f"{label} is {where.replace(' at', f' {reference} at', 1)}")
    if len(seen) < 2:
        return []
    if changed:
        return [
            Answer(f"Crossover between {_numbers(ends)} images", scope(arm, ends[0]), f"{_first(phrases)}.")
            for ends, phrases in changed.items()
        ]
    return [_no_crossover(arm, judged, sorted(seen))]


def _first(phrases: list[str]) -> str:
    more = [f"{len(phrases) - SHOWN} more pairs"] if len(phrases) > SHOWN + 1 else []
    return "; ".join([*(phrases[:SHOWN] if more else phrases), *more])


def _no_crossover(arm: ArmData, judged: Verdicts, sizes: list[int]) -> Answer:
    leaders: dict[tuple[str, ...], list[int]] = {}
    for size in sizes:
        if ranking := accuracy_ranking(judged, size):
            leaders.setdefault(ranking.highest, []).append(size)
    places = [
        f"{wording.names(those)} {'share' if len(those) > 1 else 'has'} the highest mean at {_numbers(at)} images"
        for those, at in leaders.items()
    ]
    lead = "No crossover" if len(leaders) == 1 else "No crossover seen"
    change = "" if len(leaders) == 1 else "no verdict changes its sign; "
    return Answer(lead, scope(arm, sizes[0]), f"{change}{wording.names(places)}.")


def _numbers(sizes: Iterable[int]) -> str:
    return wording.names(map(wording.number, sizes))
