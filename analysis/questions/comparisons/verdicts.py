"""One verdict on two models at a train size, the same everywhere on a page. For every question.

The rule: a pair is judged by the first declared family that has it, by that family's simultaneous interval at this
train size; a pair of no family by the paired t-interval of its own. Test accuracy at the training resolution is what is
judged, at train sizes that were measured. Whatever else has an interval (factors of images needed, crossings, a second
family, separate intervals) shows how large and how sure a thing is, and states no verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis import wording
from analysis.elements import linked
from analysis.elements.reported import ReportedArm
from analysis.frame.arms import ArmData
from analysis.frame.cells import at_home, estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.comparisons import families
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate

SEPARATE = "separate 95 % t-intervals, uncorrected"


@dataclass(frozen=True)
class Judged:
    """The difference of two models (the first minus the second, a share) and the family whose interval it has; '' for
    the paired t-interval of the pair alone."""

    difference: Estimate
    family: str = ""

    @property
    def verdict(self) -> intervals.Verdict:
        """Of the first model against the second; "unclear" is not separable."""
        return intervals.verdict(self.difference)

    def __neg__(self) -> "Judged":
        """Of the second model against the first."""
        return Judged(-self.difference, self.family)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """The verdicts of an arm: `rows` are its evaluations at the training resolution, `declared` the differences that
    families have, by label, reference and train size."""

    rows: pd.DataFrame
    declared: Mapping[tuple[str, str, int], Judged]

    def of(self, label: str, reference: str, train_size: int) -> Judged:
        """On `label` against `reference` with so many images; without an interval where the two share too few runs."""
        declared = self.declared.get((label, reference, train_size))
        if declared is not None:
            return declared
        both = self._cells.get((label, train_size)), self._cells.get((reference, train_size))
        if both[0] is None or both[1] is None:
            return Judged(intervals.t_interval([]))
        return Judged(intervals.paired_difference(both[0], both[1], "accuracy"))

    @cached_property
    def _cells(self) -> dict[tuple[str, int], pd.DataFrame]:
        known = self.rows.dropna(subset=["accuracy"])
        return {(label, int(size)): cell for (label, size), cell in each_group(known, ["label", "train_size"])}

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """(label, reference) of every pair that a family has, each once, in the order of declaration."""
        found: dict[frozenset[str], tuple[str, str]] = {}
        for label, reference, _ in self.declared:
            found.setdefault(frozenset((label, reference)), (label, reference))
        return tuple(found.values())

    def applied(self, table: pd.DataFrame, home: int | None = None) -> pd.DataFrame:
        """A table of differences of test accuracy (label, reference, train_size; mean, low, high, n) by the rule; the
        column `family` names the family that each is of, '' for a paired t-interval. Of a table with test_resolution
        the rule holds for the rows at `home`, the training resolution; the others stay as they are."""
        if table.empty:
            return table
        found = []
        for row in each_row(table):
            here = home is None or row.test_resolution == home
            known = self.declared.get((row.label, row.reference, int(row.train_size))) if here else None
            found.append(known or Judged(estimate_of(row)))
        columns = {name: [getattr(one.difference, name) for one in found] for name in ("mean", "low", "high", "n")}
        return table.assign(**columns, family=[one.family for one in found])


def all_verdicts(arm: ReportedArm) -> Verdicts:
    """Those of an arm by the families that its study declares; to be taken by `arm.once(all_verdicts)`."""
    return verdicts_of(arm.data, arm.once(differences))


def verdicts_of(arm: ArmData, declared: pd.DataFrame | None = None) -> Verdicts:
    """Those of an arm; `declared` is a table of `families.differences`."""
    found: dict[tuple[str, str, int], Judged] = {}
    for row in () if declared is None else each_row(declared):
        judged = Judged(estimate_of(row), row.family)
        if (row.label, row.reference, int(row.train_size)) not in found:
            found[row.label, row.reference, int(row.train_size)] = judged
            found[row.reference, row.label, int(row.train_size)] = -judged
    return Verdicts(at_home(arm.rows), found)


def differences(arm: ReportedArm) -> pd.DataFrame:
    """The differences of the families that the study declares, as `families.differences` describes them. To be taken by
    `arm.once(differences)`: several questions judge by them."""
    return families.differences(arm.data, arm.study)


def interval_words(table: pd.DataFrame, home: int | None = None) -> str:
    """What the intervals of a table of `Verdicts.applied` are, to which `home` was given."""
    if home is not None and (elsewhere := table["test_resolution"] != home).any():
        there = interval_words(table[~elsewhere])
        if there == linked.T_INTERVALS:
            return there
        return f"{there}, at {home} px; at other resolutions {SEPARATE.removeprefix('separate ')}"
    names = list(dict.fromkeys(table["family"])) if "family" in table else [""]
    declared = wording.names(f"“{name}”" for name in names if name)
    if not declared:
        return linked.T_INTERVALS
    simultaneous = f"95 % intervals, simultaneous at each train size in {declared}"
    return f"{simultaneous}; t-intervals of pairs outside" if "" in names else simultaneous


def against_words(found: Mapping[str, Estimate], notes: Mapping[str, tuple[str, ...]]) -> str:
    """Models against one reference, by verdict: 'a and b lower (5.7 to 7.8 points); others not separable'.
    `notes` go in brackets after names."""
    parted: dict[str, list[str]] = {}
    for label, difference in found.items():
        parted.setdefault(intervals.verdict(difference), []).append(label)

    def named(labels: list[str]) -> str:
        return wording.names(wording.noted(label, *notes.get(label, ())) for label in labels)

    phrases = [
        f"{named(parted[verdict])} {words} ({wording.points_range(found[label] for label in parted[verdict])})"
        for verdict, words in (("above", "higher"), ("below", "lower"))
        if verdict in parted
    ]
    level = parted.get("unclear", [])
    if len(level) > 1 and phrases and "no interval" not in parted and not any(notes.get(label) for label in level):
        phrases.append("others not separable")
    elif level:
        phrases.append(f"{named(level)} not separable")
    if "no interval" in parted:
        phrases.append(f"{named(parted['no interval'])} without an interval")
    return "; ".join(phrases)
