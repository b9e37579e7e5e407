"""Which trial of a search is chosen: rules, each a small class under a name. They see the validation part alone."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Rule(Protocol):
    """`about` is the rule in words; `choose` gives a trial's number."""

    about: str

    def choose(self, accuracies: Mapping[int, Sequence[float] | None]) -> int | None:
        """One of the trials, by number; None where there is none to choose.

        `accuracies`: of each trial at the end of training, on the validation part, a share a seed; None where a seed
        diverged.
        """
        ...


DIGITS = 12  # of a mean that count: equal means are summed in another order to another last digit


class LastValidation:
    """The best mean validation accuracy at the end; ties go to the earlier trial."""

    about = "best mean validation accuracy at the end of training; ties go to the earlier trial"

    def choose(self, accuracies: Mapping[int, Sequence[float] | None]) -> int | None:
        means = {trial: round(sum(found) / len(found), DIGITS) for trial, found in accuracies.items() if found}
        return min(means, key=lambda trial: (-means[trial], trial), default=None)


RULES: Mapping[str, Rule] = {"last_validation": LastValidation()}
