"""Baselines of an arm: the models against which others are held, to say how many times the images they need.

A study says so by its families of many against one. Where these leave out a model, the leader is held against all; it
is chosen by the results, so what is said against it is exploratory.
"""

from dataclasses import dataclass

from analysis.frame.arms import ArmData
from analysis.frame.cells import at_home
from analysis.frame.families import declared_families
from analysis.frame.rows import each_group
from analysis.questions.accuracy.ranking import rank
from benchmarks.plan.study import Study


@dataclass(frozen=True)
class Leader:
    """The model with the highest mean accuracy at a train size, of those with the most draws or seeds there; `passed`
    are models that could lead but lack runs."""

    label: str
    train_size: int
    passed: tuple[str, ...] = ()


def leader(arm: ArmData) -> Leader | None:
    """The leader at the smallest of the sizes that most models were planned with: all of them, where models share a
    size. Two must have a result there. None where there are no two models or two sizes."""
    size = _shared_size(arm, set(arm.runs["label"]))
    if size is None:
        return None
    rows = at_home(arm.rows)
    ranking = rank(rows[rows["train_size"] == size], "accuracy")
    return None if ranking is None else Leader(ranking.leader, size, ranking.passed)


def _shared_size(arm: ArmData, labels: set[str], reference: str | None = None) -> int | None:
    """The smallest of the sizes that most of these models were planned with, where two have a result, one of them the
    reference. None without two models and two sizes."""
    rows, runs = (table[table["label"].isin(labels)] for table in (at_home(arm.rows), arm.runs))
    if rows["train_size"].nunique() < 2 or rows["label"].nunique() < 2:
        return None
    planned = runs.groupby("train_size")["label"].nunique()
    measured = {
        int(size): set(group["label"]) for size, group in each_group(rows.dropna(subset=["accuracy"]), "train_size")
    }
    there = [
        size for size, models in measured.items() if len(models) > 1 and (reference is None or reference in models)
    ]
    return min(there, key=lambda size: (-planned[size], size), default=None)


@dataclass(frozen=True)
class Baseline:
    """The models `labels` (B) that are held against `reference` (A): the `families` of the study that say so, and
    whether A `leads` with `train_size` images, the size at which sentences compare them, where models that could lead
    are `passed` over as they lack runs."""

    reference: str
    labels: tuple[str, ...]
    train_size: int
    families: tuple[str, ...] = ()
    leads: bool = False
    passed: tuple[str, ...] = ()


def baselines(arm: ArmData, study: Study | None = None) -> tuple[Baseline, ...]:
    """The baselines of an arm: the leader first, unless declared families have every model without it.

    A declared reference without a result beside one of its models is left out; so is everything without two sizes."""
    first = leader(arm)
    if first is None:
        return ()
    families: dict[str, dict[str, tuple[str, ...]]] = {}
    for family, by_label in declared_families(arm.runs, study) if study is not None else ():
        labels, reference = family.of(by_label)
        if reference is not None and labels:
            families.setdefault(reference, {})[family.name] = labels
    everyone = tuple(dict.fromkeys(arm.runs["label"]))
    members = {reference: {label for labels in own.values() for label in labels} for reference, own in families.items()}
    found = []
    if {*members, *(label for labels in members.values() for label in labels)} != set(everyone):
        others = tuple(label for label in everyone if label != first.label)
        own_families = tuple(families.pop(first.label, ()))
        found.append(Baseline(first.label, others, first.train_size, own_families, True, first.passed))
    for reference, own in families.items():
        size = _shared_size(arm, {reference, *members[reference]}, reference)
        if size is not None:
            labels = tuple(label for label in everyone if label in members[reference])
            found.append(Baseline(reference, labels, size, tuple(own)))
    return tuple(found)
