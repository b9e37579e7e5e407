"""Who leads, who is not separable from the leader, and who is below, by the verdicts on pairs.

Means over other seeds are no means to choose by: a model whose worst run is not in yet would lead. So the leader is
one of the models with the most units in (all planned ones, where any model has them), and a model that lacks some is
judged by its difference to the leader where both ran, which may well be above it.

Of accuracy at the training resolution the differences are those of `verdicts`; of anything else the paired ones, each
on its own. That a leader is singled out after seeing the results is allowed for in a family that has it beside all
others, and nowhere else: such verdicts are exploratory, and the page says so once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis import wording
from analysis.frame.rows import each_group
from analysis.questions.comparisons.verdicts import Verdicts
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate

DIGITS = 12  # of means that are compared: beyond them is rounding, by which equal ones differ
MANY = 2  # names that a sentence gives one by one, where several have the same verdict
Difference = Callable[[str, str], Estimate]  # of two names: the first minus the second


@dataclass(frozen=True)
class Ranking:
    """`leader` has the highest of `means` of the models with the most units; `lacking` have fewer, `unranked` none, as
    they have runs but no whole draw; `passed` are those of both that could lead, with a higher mean or none yet.
    `above`, `level`, `below` and `unknown` hold name and difference to the leader (name minus leader): interval above
    0; containing 0; below 0; no interval to judge by. Highest mean first. `together`: the level ones are not separable
    from each other either."""

    leader: str
    means: Mapping[str, Estimate]
    lacking: tuple[str, ...]
    unranked: tuple[str, ...]
    passed: tuple[str, ...]
    above: tuple[tuple[str, Estimate], ...]
    level: tuple[tuple[str, Estimate], ...]
    below: tuple[tuple[str, Estimate], ...]
    unknown: tuple[tuple[str, Estimate], ...]
    together: bool

    @property
    def mean(self) -> Estimate:
        """The leader's."""
        return self.means[self.leader]

    @property
    def highest(self) -> tuple[str, ...]:
        """The leader, and those of as many units whose mean is the same."""
        mean, n = round(self.mean.mean, DIGITS), self.mean.n
        return tuple(key for key, one in self.means.items() if one.n == n and round(one.mean, DIGITS) == mean)


def rank(
    rows: pd.DataFrame,
    value: str,
    name: str = "label",
    bounds: tuple[float, float] | None = (0.0, 1.0),
    difference: Difference | None = None,
) -> Ranking | None:
    """The ranking of the groups `name` by the mean of `value`; rows hold one row a run. `difference` judges two of
    them; without it the paired difference of `value` does. None without any unit."""
    groups = dict(each_group(rows.dropna(subset=[value]), name))

    def paired(a: str, b: str) -> Estimate:
        return intervals.paired_difference(groups[a], groups[b], value)

    judge = difference or paired
    means = {key: intervals.over_seeds(group, value, bounds=bounds) for key, group in groups.items()}
    unranked = tuple(key for key, estimate in means.items() if not estimate.n)
    means = {key: estimate for key, estimate in means.items() if estimate.n}
    if not means:
        return None
    most = max(estimate.n for estimate in means.values())
    order = sorted(means, key=lambda key: -round(means[key].mean, DIGITS))  # ties keep the study's order
    leader = next(key for key in order if means[key].n == most)
    parted: dict[str, list[tuple[str, Estimate]]] = {"above": [], "unclear": [], "below": [], "no interval": []}
    for key in order:
        if key != leader:
            found = judge(key, leader)
            parted[intervals.verdict(found)].append((key, found))
    lacking = tuple(key for key in order if means[key].n < most)
    passed = (*order[: order.index(leader)], *unranked)
    above, level, below, unknown = (tuple(those) for those in parted.values())
    together = all(
        intervals.verdict(judge(a, b)) == "unclear" for place, (a, _) in enumerate(level) for b, _ in level[:place]
    )
    means = {key: means[key] for key in order}
    return Ranking(leader, means, lacking, unranked, passed, above, level, below, unknown, together)


def accuracy_ranking(judged: Verdicts, train_size: int) -> Ranking | None:
    """The ranking in test accuracy at a train size, by the verdicts on pairs; None without any unit there."""
    rows = judged.rows[judged.rows["train_size"] == train_size]
    return rank(rows, "accuracy", difference=lambda a, b: judged.of(a, b, train_size).difference)


def ranking_words(ranking: Ranking, notes: Mapping[str, tuple[str, ...]]) -> str:
    """The ranking in words, 'a 85.4 %, b 74.5 % and c 74.4 %: not separable. The other 6 models are 32 to 45 points
    below.'; `notes` go in brackets after names."""

    def mean(key: str) -> str:
        return wording.noted(f"{key} {wording.mean(ranking.means[key])} %", *notes.get(key, ()))

    level = [key for key, _ in ranking.level]
    first = mean(ranking.leader)
    if level and ranking.together:
        first = f"{wording.names(map(mean, (ranking.leader, *level)))}: not separable"
    elif level:
        first = f"{first}, not separable from {wording.names(map(mean, level))}"
    elif len(ranking.below) == len(ranking.means) - 1 > 0:
        by = wording.points_range(difference for _, difference in ranking.below)
        return f"{first}, above {_group(ranking.below, ranking, notes)} by {by}.{_left_out(ranking, notes)}"
    rest = [
        f"{_group(those, ranking, notes)} {'are' if len(those) > 1 else 'is'} "
        f"{wording.points_range(difference for _, difference in those)} {where}"
        for those, where in ((ranking.above, "above"), (ranking.below, "below"))
        if those
    ]
    if ranking.unknown:
        rest.append(f"no interval, so no verdict, for {_group(ranking.unknown, ranking, notes)}")
    second = f" {_sentence('; '.join(rest))}" if rest else ""
    return f"{first}.{second}{_left_out(ranking, notes)}"


def _group(those: Sequence[tuple[str, Estimate]], ranking: Ranking, notes: Mapping[str, tuple[str, ...]]) -> str:
    """Their names, or of several of which nothing is to be noted 'the 6 vit models', 'the other 6 models'."""
    keys = [key for key, _ in those]
    kinds = {_kind(key) for key in keys}
    if len(keys) > MANY and not any(notes.get(key) for key in keys):
        if len(kinds) == 1 and not kinds & {_kind(key) for key in ranking.means if key not in keys}:
            return f"the {len(keys)} {next(iter(kinds))} models"
        if not ranking.unknown and bool(ranking.above) + bool(ranking.below) == 1:
            return f"the other {len(keys)} models"
    return wording.names(wording.noted(key, *notes.get(key, ())) for key in keys)


def _kind(key: str) -> str:
    """The first word of a name, which is the model's."""
    return key.partition(" ")[0].rstrip(",")


def _left_out(ranking: Ranking, notes: Mapping[str, tuple[str, ...]]) -> str:
    """Models that could lead, had they their runs; they are compared with the leader where both ran."""
    names = wording.names(
        wording.noted(key, *(() if key in ranking.means else notes.get(key, ()))) for key in ranking.passed
    )
    return f" {names} could lead but {'lacks' if len(ranking.passed) == 1 else 'lack'} runs." if ranking.passed else ""


def _sentence(text: str) -> str:
    """With a capital, unless a model's name begins it."""
    return f"{text[:1].upper()}{text[1:]}." if text.startswith(("the ", "no ")) else f"{text}."
