"""How many times the images: data-equivalence factors and crossings of an arm, as tables and sentences.

The reference A is that of each family of many against one that the study declares, or the leader (`against`).
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import equivalence, fitted, statistics, wording
from analysis.against import Against, against, lead
from analysis.arms import ArmData, one_arm
from analysis.cells import at_home, kind, marks, planned_units
from analysis.curves import Curves, curves_of, missing_sizes, paired
from analysis.data_efficiency import notes, scope
from analysis.equivalence import Crossing, Factor
from analysis.naming import NONE
from analysis.tables import each_group, each_row
from analysis.wording import Answer
from benchmarks.study import Study


@dataclass(frozen=True)
class Needed:
    """The tables of an arm, in long form: `by_train_size`, `by_accuracy` and `crossings`, one reference of `against`
    after the other, and `fits` (`fitted.table`). Empty where there is one model or one size."""

    against: tuple[Against, ...]
    by_train_size: pd.DataFrame
    by_accuracy: pd.DataFrame
    crossings: pd.DataFrame
    fits: pd.DataFrame

    @property
    def any(self) -> bool:
        """Whether there is anything to show."""
        return not (self.by_train_size.empty and self.fits.empty)


def needed(arm: ArmData, study: Study | None = None) -> Needed:
    """All of them, with the families of the study where one is given."""
    held = against(arm, study)

    def stacked(make: Callable[[ArmData, str, Collection[str]], pd.DataFrame]) -> pd.DataFrame:
        tables = [table for one in held if len(table := make(arm, one.reference, one.labels))]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    return Needed(held, stacked(by_train_size), stacked(by_accuracy), stacked(crossings), fitted.table(arm))


STEPS = (0.05, 0.02, 0.01)  # distances between the accuracies at which a factor is given: the first that gives a few
FEW = 5


def by_train_size(arm: ArmData, reference: str | None = None, labels: Collection[str] | None = None) -> pd.DataFrame:
    """The factor of each model (B: those of `labels`, else all) against the reference (A, else the leader) at each of
    B's train sizes.

    Columns: label, line, reference, train_size, bound ('', 'at least', 'at most', 'unknown'), mean, low, high (factors;
    low and high may be 0 and infinite), n (units), reached (units whose accuracy lies on A's curve), done and planned
    (draws and seeds that both have whole), incomplete (sizes left out of A's or B's curve because runs are missing),
    starved, stale, model, position (of B), runs, reference_runs (ids)."""
    result = []
    for label, name, (b, a) in _pairs(arm, reference, labels):
        for size in sorted(arm.runs.loc[arm.runs["label"] == label, "train_size"].unique()):
            known = len(b) and size in b.sizes
            of_size = b.values[:, b.sizes.index(size)] if known else None
            factor = None if of_size is None else equivalence.factor_at(a.sizes, a.values, size, of_size)
            result.append({**_key(arm, label, name, size), **_told(factor), **_origin(arm, label, name, b, a)})
    return pd.DataFrame(result)


def by_accuracy(arm: ArmData, reference: str | None = None, labels: Collection[str] | None = None) -> pd.DataFrame:
    """The same as a function of accuracy, at round values that some pair reaches; accuracy instead of train_size."""
    pairs = [one for one in _pairs(arm, reference, labels) if len(one[2][0])]
    result = []
    for level in _levels([both for *_, both in pairs]):
        for label, name, (b, a) in pairs:
            factor = equivalence.factor_for(a.sizes, a.values, b.sizes, b.values, level)
            key = {"label": label, "line": label, "reference": name, "accuracy": level}
            result.append({**key, **_told(factor), **_origin(arm, label, name, b, a)})
    table = pd.DataFrame(result)
    return table if table.empty else table[table.groupby("accuracy")["reached"].transform("max") > 0]


def crossings(arm: ArmData, reference: str | None = None, labels: Collection[str] | None = None) -> pd.DataFrame:
    """Where the order of each model and the reference changes.

    Columns: label, line, reference, pieces (N* as '[low, high]', in images; 0 and inf where it is unbounded; '' where
    it is empty; '-' without an interval), changes (True: A is above somewhere and below elsewhere), words, n, done,
    planned, incomplete, starved, stale, model, position, runs, reference_runs."""
    result = []
    for label, name, (b, a) in _pairs(arm, reference, labels):
        shared = [size for size in a.sizes if size in b.sizes]
        found = None
        if len(a) and shared:
            a_at, b_at = (one.values[:, [one.sizes.index(size) for size in shared]] for one in (a, b))
            found = equivalence.crossing(shared, a_at - b_at)
        pieces = " ".join(f"[{low:.0f}, {high:.0f}]" for low, high in found.pieces) if found else NONE
        result.append(
            {
                "label": label,
                "line": label,
                "reference": name,
                "pieces": pieces,
                "changes": bool(found and found.changes),
                "words": crossing_words(found, shared),
                "n": len(a.values),
                **_origin(arm, label, name, b, a),
            }
        )
    return pd.DataFrame(result)


def crossing_words(found: Crossing | None, sizes: list[int]) -> str:
    """N* in words, as said of the reference's curve and another's."""
    if found is None:
        return "no interval, so no crossing can be given"
    first, last = wording.number(sizes[0]), wording.number(sizes[-1])
    if not found.pieces:
        return f"the curves do not cross up to {last}"
    if found.pieces == ((0.0, math.inf),):
        return f"the two cannot be told apart at any size from {first} to {last}"
    parts = [_piece(low, high, sizes) for low, high in found.pieces]
    if found.changes:
        return f"the order changes: the two cannot be told apart {wording.names(parts)}"
    return f"the two cannot be told apart {wording.names(parts)}; the order is not seen to change"


def _piece(low: float, high: float, sizes: list[int]) -> str:
    ends = [
        wording.number(round(end, -max(0, math.floor(math.log10(end)) - 2)))
        for end in (low, high)
        if 0 < end < math.inf
    ]
    if low == 0:
        return f"up to {ends[0]} (how far below {wording.number(sizes[0])} is not known)"
    if high == math.inf:
        return f"from {ends[0]} on (how far above {wording.number(sizes[-1])} is not known)"
    return f"from {ends[0]} to {ends[1]}"


def _pairs(
    arm: ArmData, reference: str | None, labels: Collection[str] | None = None
) -> Iterator[tuple[str, str, tuple[Curves, Curves]]]:
    """(label of B, label of A, paired curves of B and A) for each B. Raises KeyError for an unknown reference."""
    one_arm(arm.runs)
    if reference is None:
        first = lead(arm)
        if first is None:
            return
        reference = first.label
    curves = {label: curves_of(mine) for label, mine in each_group(at_home(arm.rows), "label")}
    if reference not in curves:
        raise KeyError(f"no run of {reference!r} in this arm; there are {wording.names(curves)}")
    for label in dict.fromkeys(arm.runs["label"]):
        if label != reference and label in curves and (labels is None or label in labels):
            yield label, reference, paired(curves[label], curves[reference])


def _levels(pairs: list[tuple[Curves, Curves]]) -> list[float]:
    """Round accuracies between the smallest and the largest mean that both of some pair have."""
    means = [tuple(curves.values.mean(axis=0) for curves in pair) for pair in pairs]
    ends = [(max(a.min(), b.min()), min(a.max(), b.max())) for a, b in means]
    shared = [(low, high) for low, high in ends if low < high]
    levels: list[float] = []
    for step in STEPS:
        reached = (range(math.ceil(low / step), math.floor(high / step) + 1) for low, high in shared)
        levels = sorted({round(step * k, 2) for ks in reached for k in ks})
        if len(levels) >= FEW:
            break
    return levels


def _key(arm: ArmData, label: str, reference: str, size: int) -> dict[str, Any]:
    return {"label": label, "line": label, "reference": reference, "train_size": size}


def _told(factor: Factor | None) -> dict[str, Any]:
    if factor is None:
        return {"bound": "unknown", "mean": math.nan, "low": math.nan, "high": math.nan, "n": 0, "reached": 0}
    found = factor.factor
    numbers = {"mean": found.mean, "low": found.low, "high": found.high}
    return {"bound": factor.bound, **numbers, "n": found.n, "reached": factor.reached}


def _origin(arm: ArmData, label: str, reference: str, b: Curves, a: Curves) -> dict[str, Any]:
    of = [arm.runs[arm.runs["label"] == one] for one in (label, reference)]
    planned = min(map(planned_units, of))
    left_out = {int(size) for runs, one in zip(of, (b, a), strict=True) for size in missing_sizes(runs, one).split()}
    done = {"done": len(b), "planned": planned, "incomplete": " ".join(map(str, sorted(left_out)))}
    return {**done, **marks(pd.concat(of)), **kind(of[0]), "runs": b.runs, "reference_runs": a.runs}


def lacks(done: int, planned: int, incomplete: str, noun: str) -> tuple[str, ...]:
    """What a number says that does not rest on all planned runs: '2 of 3 seeds', 'without n = 1,000'."""
    units = () if done == planned else (f"{done} of {wording.count(planned, noun)}",)
    sizes = wording.names(wording.number(int(size)) for size in incomplete.split())
    return (*units, f"without n = {sizes}") if sizes else units


def answers(arm: ArmData, held: Sequence[Against] | None = None) -> list[Answer]:
    """What each model would need for what the reference reaches with the smallest train size, and where curves cross;
    for each of `held`, else for the leader."""
    said = (_answer(arm, one) for one in (against(arm) if held is None else held))
    return [answer for answer in said if answer is not None]


def _answer(arm: ArmData, held: Against) -> Answer | None:
    rows = at_home(arm.rows)
    name, size = held.reference, held.train_size
    at_size = rows[rows["train_size"] == size]
    means = {
        label: statistics.over_seeds(mine, "accuracy", bounds=(0.0, 1.0))
        for label, mine in each_group(at_size, "label")
    }
    if not means[name].has_interval:
        return None
    of_label = notes(arm.runs, size)  # without the models that were not planned with it
    found, without = _needs(arm, held)
    needs = [
        wording.noted(label, *([wording.value(means[label])] if label in means else []), *of_label.get(label, ()))
        + f" {wording.noted(wording.factor(factor.factor, factor.bound), *lacking)}"
        for label, factor, lacking in found
    ]
    images = wording.number(size)
    noted = wording.noted(name, *of_label.get(name, ()))
    text = f"with {images} images {noted} reaches {wording.value(means[name])}."
    if held.passed:
        verb = "lacks" if len(held.passed) == 1 else "lack"
        text += f" {wording.names(held.passed)} could lead but {verb} runs there."
    if needs:
        text += (
            f" For as much, {_others(held)} would need so many times the images (in brackets: what they reach with "
            f"{images}): {'; '.join(needs)}."
        )
    if without:
        text += f" Not compared: {'; '.join(wording.noted(wording.names(of), why) for why, of in without.items())}."
    said: dict[str, list[str]] = {}
    for row in each_row(crossings(arm, name, held.labels)):
        lacking = lacks(row.done, row.planned, row.incomplete, statistics.unit_noun(arm.runs))
        said.setdefault(row.words, []).append(wording.noted(row.label, *lacking))
    parts = [f"{wording.names(labels)}: {words}" for words, labels in said.items()]
    beside = f" Beside {name}, {'; '.join(parts)}." if parts else ""
    return Answer("Data needed", scope(arm, size), text + beside)


def _others(held: Against) -> str:
    """'the others', or 'those declared against it (“encodings”)'."""
    named = wording.names(f"“{family}”" for family in held.families)
    return "the others" if held.leads else f"those declared against it ({named})"


def _needs(arm: ArmData, held: Against) -> tuple[list[tuple[str, Factor, tuple[str, ...]]], dict[str, list[str]]]:
    """(label, factor, what it lacks) of each other model, fewest first: images for the accuracy that the reference has
    with so many, over these; and by the reason, the models of which that cannot be said."""
    found: list[tuple[str, Factor, tuple[str, ...]]] = []
    without: dict[str, list[str]] = {}
    name, size, noun = held.reference, held.train_size, statistics.unit_noun(arm.runs)
    pairs = {label: pair for label, _, pair in _pairs(arm, name, held.labels)}
    for label in held.labels:
        why = _why_not(pairs[label][1], name, size, noun) if label in pairs else "no result"
        if why:
            without.setdefault(why, []).append(label)
            continue
        b, a = pairs[label]
        factor = equivalence.factor_at(b.sizes, b.values, size, a.values[:, a.sizes.index(size)]).inverse
        origin = _origin(arm, label, name, b, a)
        lacking = lacks(origin["done"], origin["planned"], origin["incomplete"], noun)
        found.append((label, factor, lacking))
    return sorted(found, key=lambda one: (math.isnan(one[1].log.mean), one[1].log.mean)), without


def _why_not(a: Curves, name: str, size: int, noun: str) -> str:
    """Why a model is not compared that has the curves `a` of `name` in common with it; '' if it is."""
    if len(a.values) < 2:
        crossed = noun == "runs"
        shared = wording.count(len(a.values), "draws" if crossed else noun)
        return f"{shared} that both have{' whole' if crossed else ''}"
    return "" if size in a.sizes else f"beside which {name}'s curve is without n = {wording.number(size)}"
