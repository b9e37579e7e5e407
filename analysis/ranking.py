"""Who leads, who cannot be told apart from the leader, and who is below, by paired differences over seeds.

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
    """`leader` has the highest mean. `level`, `below` and `unknown` hold name and paired difference to the leader
    (name minus leader): interval containing 0; interval below 0; no interval to judge by. Highest first."""

    leader: str
    mean: Estimate
    level: tuple[tuple[str, Estimate], ...]
    below: tuple[tuple[str, Estimate], ...]
    unknown: tuple[tuple[str, Estimate], ...]

    @property
    def size(self) -> int:
        return 1 + len(self.level) + len(self.below) + len(self.unknown)


def rank(
    rows: pd.DataFrame, value: str, name: str = "label", bounds: tuple[float, float] | None = (0.0, 1.0)
) -> Ranking | None:
    """The ranking of the groups `name` by the mean of `value`; rows hold one row a run. None without any value."""
    groups = dict(each_group(rows.dropna(subset=[value]), name))
    if not groups:
        return None
    means = {key: statistics.over_seeds(group, value, bounds=bounds) for key, group in groups.items()}
    leader, *others = sorted(groups, key=lambda key: -means[key].mean)  # ties keep the study's order
    parted: dict[str, list[tuple[str, Estimate]]] = {"level": [], "below": [], "unknown": []}
    for key in others:
        difference = statistics.paired_difference(groups[key], groups[leader], value)
        place = {"below": "below", "no interval": "unknown"}.get(statistics.verdict(difference), "level")
        parted[place].append((key, difference))
    return Ranking(leader, means[leader], *(tuple(parted[place]) for place in ("level", "below", "unknown")))


def told(
    ranking: Ranking,
    what: str,
    notes: Mapping[str, tuple[str, ...]],
    value: Callable[[Estimate], str] = wording.value,
) -> str:
    """The ranking in words: `what` names the quantity ('mean test accuracy'), `notes` go in brackets after names."""

    def name(key: str, *more: str) -> str:
        return wording.noted(key, *notes.get(key, ()), *more)

    if ranking.size == 1:
        return f"{name(ranking.leader)} has a {what} of {value(ranking.mean)}."
    models = wording.count(ranking.size, "models")
    text = f"{name(ranking.leader)} has the highest {what} of {models}, {value(ranking.mean)}."
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
        said = [name(key) for key, _ in ranking.unknown]
        text += f" No interval, so no order, for {wording.names(said)}."
    return text
