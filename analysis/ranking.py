"""Who leads, who cannot be told apart from the leader, and who is below, by paired differences over seeds.

Means over other seeds are no means to choose by: a model whose worst run is not in yet would lead. So the leader is
one of the models with the most units in (all planned ones, where any model has them), and a model that lacks some is
judged by its difference to the leader where both ran, which may well be above it.

Each interval stands on its own: nothing is corrected for the number of comparisons, nor for the leader being chosen
by looking. The page says so beside the answers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd

from analysis import statistics, wording
from analysis.statistics import Estimate
from analysis.tables import each_group


@dataclass(frozen=True)
class Ranking:
    """`leader` has the highest mean of the models with the most units; `lacking` have fewer, `unranked` none, as they
    have runs but no whole draw; `passed` are those of both that could lead, with a higher mean or none yet. `above`,
    `level`, `below` and `unknown` hold name and paired difference to the leader (name minus leader): interval above 0;
    containing 0; below 0; no interval to judge by. Highest mean first."""

    leader: str
    mean: Estimate
    lacking: tuple[str, ...]
    unranked: tuple[str, ...]
    passed: tuple[str, ...]
    above: tuple[tuple[str, Estimate], ...]
    level: tuple[tuple[str, Estimate], ...]
    below: tuple[tuple[str, Estimate], ...]
    unknown: tuple[tuple[str, Estimate], ...]

    @property
    def size(self) -> int:
        return 1 + len(self.above) + len(self.level) + len(self.below) + len(self.unknown)


def rank(
    rows: pd.DataFrame, value: str, name: str = "label", bounds: tuple[float, float] | None = (0.0, 1.0)
) -> Ranking | None:
    """The ranking of the groups `name` by the mean of `value`; rows hold one row a run. None without any
    unit."""
    groups = dict(each_group(rows.dropna(subset=[value]), name))
    means = {key: statistics.over_seeds(group, value, bounds=bounds) for key, group in groups.items()}
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
            difference = statistics.paired_difference(groups[key], groups[leader], value)
            parted[statistics.verdict(difference)].append((key, difference))
    lacking = tuple(key for key in order if means[key].n < most)
    passed = (*order[: order.index(leader)], *unranked)
    return Ranking(leader, means[leader], lacking, unranked, passed, *(tuple(those) for those in parted.values()))


def told(
    ranking: Ranking,
    what: str,
    notes: Mapping[str, tuple[str, ...]],
    value: Callable[[Estimate], str] = wording.value,
) -> str:
    """The ranking in words: `what` names the quantity ('mean test accuracy'), `notes` go in brackets after names."""

    def name(key: str, *more: str) -> str:
        return wording.noted(key, *notes.get(key, ()), *more)

    left_out = ""
    if ranking.unranked:
        names = wording.names(map(name, ranking.unranked))
        left_out = f" Not in this order, as no draw has all its planned runs: {names}."
    if ranking.size == 1:
        return f"{name(ranking.leader)} has a {what} of {value(ranking.mean)}.{left_out}"
    rivals, models = ranking.size - len(ranking.lacking), wording.count(ranking.size, "models")
    if not ranking.lacking:
        lead = f"has the highest {what} of {models}, {value(ranking.mean)}."
    elif rivals > 1:
        lead = f"has the highest {what} of the {rivals} of {models} with the most runs, {value(ranking.mean)}."
    else:
        lead = f"has a {what} of {value(ranking.mean)}, and alone of {models} the most runs."
    text = f"{name(ranking.leader)} {lead}"
    if ranking.lacking:
        verbs = "lacks runs and is" if len(ranking.lacking) == 1 else "lack runs and are"
        text += f" {wording.names(ranking.lacking)} {verbs} compared with it only where both ran."
    if ranking.above:
        said = [name(key, wording.points(difference)) for key, difference in ranking.above]
        text += f" Higher than it where both ran: {wording.names(said)}."
    if ranking.level:
        said = [name(key, wording.points(difference)) for key, difference in ranking.level]
        text += f" It cannot be told apart from {wording.names(said)}."
    if ranking.below:
        ends = (0, len(ranking.below) - 1)
        said = [
            name(key, f"by {wording.points(difference, signed=False)}") if i in ends else name(key)
            for i, (key, difference) in enumerate(ranking.below)
        ]
        text += f" Below it: {wording.names(said)}."
    if ranking.unknown:
        said = [name(key, *_apart(difference)) for key, difference in ranking.unknown]
        text += f" No interval, so no order, for {wording.names(said)}."
    return text + left_out


def _apart(difference: Estimate) -> tuple[str, ...]:
    """What is said of a model that has nothing to be paired by: with its own seeds in each draw, say."""
    return () if difference.n else ("no draw or seed that both have whole",)
