"""Who leads, who cannot be told apart from the leader, and who is below, by paired differences over seeds.

Means over other seeds are no means to choose by: a model whose worst run is not in yet would lead. So the leader is
one of the models with the most units in (all planned ones, where any model has them), and a model that lacks some is
judged by its difference to the leader where both ran, which may well be above it.

Where the study declares a family of comparisons that has a pair, its difference and interval are taken (`verdicts`).
Each other interval stands on its own: nothing is corrected for the number of comparisons, nor for the leader being
chosen by looking. The sentence says so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import pandas as pd

from analysis import wording
from analysis.frame.rows import each_group
from analysis.questions.comparisons.verdicts import Verdicts, judged_by
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate


@dataclass(frozen=True)
class Ranking:
    """`leader` has the highest mean of the models with the most units; `lacking` (with their means) have fewer,
    `unranked` none, as they have runs but no whole draw; `passed` are those of both that could lead, with a higher mean
    or none yet. `above`, `level`, `below` and `unknown` hold name and difference to the leader (name minus leader):
    interval above 0; containing 0; below 0; no interval to judge by. Highest mean first. `family_of` names the family
    that a difference is of, for those that have one; the others are paired differences."""

    leader: str
    mean: Estimate
    lacking: tuple[tuple[str, Estimate], ...]
    unranked: tuple[str, ...]
    passed: tuple[str, ...]
    above: tuple[tuple[str, Estimate], ...]
    level: tuple[tuple[str, Estimate], ...]
    below: tuple[tuple[str, Estimate], ...]
    unknown: tuple[tuple[str, Estimate], ...]
    family_of: Mapping[str, str]

    @property
    def size(self) -> int:
        """How many models are ranked, the leader among them."""
        return 1 + len(self.above) + len(self.level) + len(self.below) + len(self.unknown)


def rank(
    rows: pd.DataFrame,
    value: str,
    name: str = "label",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    declared: Verdicts = MappingProxyType({}),
) -> Ranking | None:
    """The ranking of the groups `name` by the mean of `value`; rows hold one row a run; `declared` are the differences
    of `value` that families have. None without any unit."""
    groups = dict(each_group(rows.dropna(subset=[value]), name))
    means = {key: intervals.over_seeds(group, value, bounds=bounds) for key, group in groups.items()}
    unranked = tuple(key for key, estimate in means.items() if not estimate.n)
    means = {key: estimate for key, estimate in means.items() if estimate.n}
    if not means:
        return None
    most = max(estimate.n for estimate in means.values())
    order = sorted(means, key=lambda key: -means[key].mean)  # ties keep the study's order
    leader = next(key for key in order if means[key].n == most)
    parted: dict[str, list[tuple[str, Estimate]]] = {"above": [], "unclear": [], "below": [], "no interval": []}
    for key in order:
        if key != leader:
            of_family = declared.get((key, leader))
            difference = of_family[1] if of_family else intervals.paired_difference(groups[key], groups[leader], value)
            parted[intervals.verdict(difference)].append((key, difference))
    lacking = tuple((key, means[key]) for key in order if means[key].n < most)
    passed = (*order[: order.index(leader)], *unranked)
    family_of = {key: declared[key, leader][0] for key in order if (key, leader) in declared}
    above, level, below, unknown = (tuple(those) for those in parted.values())
    return Ranking(leader, means[leader], lacking, unranked, passed, above, level, below, unknown, family_of)


def ranking_words(ranking: Ranking, what: str, notes: Mapping[str, tuple[str, ...]]) -> str:
    """The ranking in words: `what` names the quantity ('mean test accuracy'), `notes` go in brackets after names."""

    def name(key: str, *more: str) -> str:
        return wording.noted(key, *notes.get(key, ()), *more)

    left_out = ""
    if ranking.unranked:
        names = wording.names(map(name, ranking.unranked))
        left_out = f" Not in this order, as no draw has all its planned runs: {names}."
    if ranking.size == 1:
        return f"{name(ranking.leader)} has a {what} of {wording.value(ranking.mean)}.{left_out}"
    rivals, models = ranking.size - len(ranking.lacking), wording.count(ranking.size, "models")
    if not ranking.lacking:
        lead = f"has the highest {what} of {models}, {wording.value(ranking.mean)}"
    elif rivals > 1:
        lead = f"has the highest {what} of the {rivals} of {models} with the most runs, {wording.value(ranking.mean)}"
    else:
        lead = f"has a {what} of {wording.value(ranking.mean)}, and alone of {models} the most runs"
    text = f"{name(ranking.leader)} {lead}"
    if ranking.lacking:
        phrases = [wording.noted(f"{key} {wording.mean(mean)} %", *notes.get(key, ())) for key, mean in ranking.lacking]
        text += f"; outside of this, with fewer runs: {wording.names(phrases)}"
    text += "."
    if ranking.above:
        phrases = [name(key, wording.points(difference)) for key, difference in ranking.above]
        text += f" Higher than it: {wording.names(phrases)}."
    if ranking.level:
        phrases = [name(key, wording.points(difference)) for key, difference in ranking.level]
        text += f" It cannot be told apart from {wording.names(phrases)}."
    if ranking.below:
        text += f" Below it: {wording.names(_below(ranking, name))}."
    if ranking.unknown:
        phrases = [name(key, *_apart(difference)) for key, difference in ranking.unknown]
        text += f" No interval, so no order, for {wording.names(phrases)}."
    return text + _basis(ranking) + left_out


def _below(ranking: Ranking, name: Callable[..., str]) -> list[str]:
    """Those below by how far, each with its difference; the interval of the first and of the last, as the tables have
    the others."""
    order = sorted(ranking.below, key=lambda one: -one[1].mean)
    ends = (0, len(order) - 1)
    return [
        name(key, f"by {wording.points(-by, signed=False) if i in ends else wording.mean(-by)}")
        for i, (key, by) in enumerate(order)
    ]


def _basis(ranking: Ranking) -> str:
    """Which intervals the order is by, and what to mind: that a leader is chosen by looking is allowed for in a family
    that has it beside all others, and nowhere else; that means over other runs are not compared."""
    judged = [key for key, _ in (*ranking.above, *ranking.level, *ranking.below)]
    by = judged_by(judged, ranking.family_of)
    separate = [key for key in judged if key not in ranking.family_of]
    parts = [f"by {by}" if by else "", "the leader being chosen by looking" if separate else ""]
    lacking = [key for key, _ in ranking.lacking if key in separate]
    parts.append(f"{wording.names(lacking)} only where both ran" if lacking else "")
    phrases = ", ".join(part for part in parts if part)
    return f" {phrases[0].upper()}{phrases[1:]}." if phrases else ""


def _apart(difference: Estimate) -> tuple[str, ...]:
    """What is said of a model that has nothing to be paired by: with its own seeds in each draw, say."""
    return () if difference.n else ("no draw or seed that both have whole",)
