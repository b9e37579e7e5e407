"""What a study expects, in a form that its results can be held against: a pair of models, and which is higher.

    [[expects]]
    higher = "resnet"
    lower = "vit learned_1d"
    train_size = 100
    test_resolution = 16            # default: the training resolution
    dataset = "digits"              # default: whatever the two are trained on

Models are named as in [[comparisons]]. It is no part of a run and changes no id. The page answers each by the verdict
on its pair: held, not held, or cannot be told.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field

from benchmarks.errors import ConfigError
from benchmarks.plan.comparisons import Text, is_called, models_side_by_side, nearest_word, one_model
from benchmarks.plan.run import Evaluation, Frozen, Run, default_evaluation, unknown_key, validated
from models.hints import did_you_mean


class Expectation(Frozen):
    """That `higher` has a higher test accuracy than `lower` with so many images, at the training resolution or at
    `test_resolution` (pixels); on every data set that both are trained on, or on `dataset` alone."""

    higher: Text
    lower: Text
    train_size: Annotated[int, Field(ge=1)]
    test_resolution: Annotated[int, Field(ge=1)] | None = None
    dataset: Text | None = None

    def of(self, labelled: Mapping[str, Run]) -> tuple[str, str] | None:
        """(label of the higher, label of the lower) of an arm; None where it lacks one of them. `labelled` has one run
        of each model by its label."""
        found = [
            next((label for label, run in labelled.items() if is_called(run, name)), None)
            for name in (self.higher, self.lower)
        ]
        return None if found[0] is None or found[1] is None else (found[0], found[1])


def read_expectations(
    tables: Any, runs: Sequence[Run], evaluations: Mapping[str, Sequence[Evaluation]]
) -> tuple[Expectation, ...]:
    """The [[expects]] tables of a study with these runs and evaluations (by run id). Raises ConfigError for the first
    thing wrong."""
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ConfigError("expects", "is not a list of tables: write [[expects]]")
    found: list[Expectation] = []
    for number, table in enumerate(tables):
        place = f"expects[{number}]"
        unknown_key(table, Expectation.model_fields, f"{place}.")
        for key, field in Expectation.model_fields.items():
            if field.is_required() and key not in table:
                raise ConfigError(f"{place}.{key}", "is required: [[expects]] has higher, lower and train_size")
        one = validated(Expectation, table, f"{place}.")
        _check(one, runs, evaluations, place)
        found.append(one)
    return tuple(dict.fromkeys(found))


def _check(one: Expectation, runs: Sequence[Run], evaluations: Mapping[str, Sequence[Evaluation]], place: str) -> None:
    """Raises ConfigError for names that are no model, several, the same, or never side by side, and for a train size or
    test resolution that they do not have."""
    if one.dataset is not None:
        there = dict.fromkeys(run.dataset for run in runs)
        if one.dataset not in there:
            known = f"is {one.dataset!r}, but the study has {', '.join(there)}{did_you_mean(one.dataset, there)}"
            raise ConfigError(f"{place}.dataset", known)
        runs = [run for run in runs if run.dataset == one.dataset]
    groups = models_side_by_side(runs)
    for key, name in (("higher", one.higher), ("lower", one.lower)):
        if not any(is_called(run, name) for run in runs):
            raise ConfigError(f"{place}.{key}", f"no model of the study is called '{name}'{nearest_word(name, runs)}")
        for models in groups:
            one_model(name, models, f"{place}.{key}")
    if any(is_called(run, one.higher) and is_called(run, one.lower) for run in runs):
        raise ConfigError(f"{place}.lower", f"'{one.lower}' is the model that is expected to be higher, too")
    pair = (one.higher, one.lower)
    beside = [models for models in groups if all(any(is_called(run, name) for run in models) for name in pair)]
    sizes = {run.train_size for models in beside for run in models}
    _listed(one.train_size, sizes, f"{place}.train_size", "the two models are beside each other with")
    if one.test_resolution is not None:
        sides: set[int] = set()
        for models in beside:
            found = [run for run in models if run.train_size == one.train_size and any(is_called(run, n) for n in pair)]
            if found:
                sides |= set.intersection(*(_usual_sides(run, evaluations[run.id]) for run in found))
        _listed(one.test_resolution, sides, f"{place}.test_resolution", "both are tested in the usual way at")


def _usual_sides(run: Run, evaluations: Iterable[Evaluation]) -> set[int]:
    """The resolutions at which a run is tested by default, which is what an expectation is held against."""
    return {one.resolution for one in evaluations if one == default_evaluation(run, "test", one.resolution)}


def _listed(value: int, allowed: Iterable[int], place: str, what: str) -> None:
    known = sorted(set(allowed))
    if value not in known:
        there = f"{what} {', '.join(map(str, known))}" if known else "the two models never have the same"
        nearest = f"; the nearest is {min(known, key=lambda one: abs(one - value))}" if known else ""
        raise ConfigError(place, f"is {value}, but {there}{nearest}")
