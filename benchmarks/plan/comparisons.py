"""Families of comparisons: which models a study means to compare, declared beside its grid and before its results.

    [[comparisons]]
    name = "encodings"
    against = "vit learned_1d"      # many against one reference; without it: all pairs
    models = ["vit"]                # default: every model of the study

A model is named by words, every one of which it must have: the family's name, the encoding, an option as `key=value`,
so the labels of tables are such names; `*` and `?` stand for letters. A family is corrected as a whole, once for each
train size. It is no part of a run and changes no id.
"""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import Field

from benchmarks.errors import ConfigError
from benchmarks.plan.run import Frozen, Run, canonical, names_of_starts, unknown_key, validated
from models.hints import did_you_mean

Text = Annotated[str, Field(min_length=1)]


class ComparisonFamily(Frozen):
    """One family: all models of `models` (names; empty: all) against one, or with each other in pairs.

    `spread` is the residual standard deviation of accuracy that is expected, a share; `inductive plan` uses it until
    runs are finished.
    """

    name: Text
    models: tuple[Text, ...] = ()
    against: Text | None = None
    spread: Annotated[float, Field(gt=0, lt=1)] | None = None

    def of(self, labelled: Mapping[str, Run]) -> tuple[tuple[str, ...], str | None]:
        """(labels of the models compared, without the reference; label of the reference, None for all pairs).

        `labelled` has one run of each model by its label, all of one arm. The reference is None as well where the arm
        lacks it, and then there are no labels.
        """
        chosen = [label for label, run in labelled.items() if not self.models or _any(self.models, run)]
        if self.against is None:
            return tuple(chosen), None
        reference = next((label for label, run in labelled.items() if is_called(run, self.against)), None)
        return tuple(label for label in chosen if label != reference) if reference else (), reference


def pairs_of(labels: Sequence[str], reference: str | None) -> list[tuple[str, str]]:
    """The comparisons of a family, as (label, reference)."""
    if reference is not None:
        return [(label, reference) for label in labels]
    return [(a, b) for i, a in enumerate(labels) for b in labels[i + 1 :]]


def words_of(run: Run) -> tuple[str, ...]:
    """What a run's model can be called by."""
    began = {"init_from": run.init_from} if run.init_from else {}
    named = {**run.options, "initial": run.initial, **began}
    options = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in named.items()]
    return (*run.model_words, *options)


def is_called(run: Run, name: str) -> bool:
    """Whether every word of `name` fits the run's model."""
    words = words_of(run)
    return all(any(fnmatchcase(word, pattern) for word in words) for pattern in name.replace(",", " ").split())


def _any(names: Iterable[str], run: Run) -> bool:
    return any(is_called(run, name) for name in names)


def read_families(tables: Any, runs: Sequence[Run]) -> tuple[ComparisonFamily, ...]:
    """The [[comparisons]] tables of a study with these runs. Raises ConfigError for the first thing wrong."""
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ConfigError("comparisons", "is not a list of tables: write [[comparisons]]")
    models = models_side_by_side(runs) if tables else []
    families: list[ComparisonFamily] = []
    for number, table in enumerate(tables):
        place = f"comparisons[{number}]"
        unknown_key(table, ComparisonFamily.model_fields, f"{place}.")
        if "name" not in table:
            raise ConfigError(f"{place}.name", "is required: what the page calls this family")
        listed = {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
        family = validated(ComparisonFamily, listed, f"{place}.")
        if family.name in (one.name for one in families):
            raise ConfigError(f"{place}.name", f"'{family.name}' is the name of another family already")
        _check(family, models, place)
        families.append(family)
    return tuple(families)


def models_side_by_side(runs: Sequence[Run]) -> list[list[Run]]:
    """One run of each model, for each part of the study within which models are compared."""
    groups: dict[str, dict[str, Run]] = {}
    starts = names_of_starts((_model(run), run.init_from) for run in runs)
    for run in runs:
        settings = run.settings()
        follows = {"model", "options", "initial", "init_from", "draw", "seed"}
        follows |= {"recipe"}  # a model may have its own
        group = canonical({key: value for key, value in settings.items() if key not in follows})
        model = _model(run)
        groups.setdefault(group, {}).setdefault(canonical([model, run.initial, starts[model, run.init_from]]), run)
    return [list(models.values()) for models in groups.values()]


def _model(run: Run) -> str:
    """A run's model with its options, but for drop path, which follows the recipe."""
    return canonical([run.model, {key: value for key, value in run.options.items() if key != "drop_path"}])


def _check(family: ComparisonFamily, groups: list[list[Run]], place: str) -> None:
    """Raises ConfigError for a name that fits no model, a reference that is several, and a family of one."""
    everyone = [run for models in groups for run in models]
    for key, names in (("models", family.models), ("against", (family.against,) if family.against else ())):
        for name in names:
            if not any(is_called(run, name) for run in everyone):
                raise ConfigError(
                    f"{place}.{key}", f"no model of the study is called '{name}'{nearest_word(name, everyone)}"
                )
    most = 0
    for models in groups:
        references = one_model(family.against, models, f"{place}.against") if family.against else []
        compared = [run for run in models if not family.models or _any(family.models, run)]
        others = [run for run in compared if run not in references]
        most = max(most, len(others) if references else 0 if family.against else len(others) - 1)
    if most < 1:
        raise ConfigError(place, f"'{family.name}' compares nothing: it needs two models of one data set and budget")


def one_model(name: str, models: Iterable[Run], place: str) -> list[Run]:
    """The one of `models` that is called so, or none. Raises ConfigError for several, with what tells them apart."""
    found = [run for run in models if is_called(run, name)]
    if len(found) > 1:
        words = [words_of(run) for run in found]
        apart = [" ".join(word for word in own if not all(word in other for other in words)) for own in words]
        raise ConfigError(place, f"'{name}' is {len(found)} models; add one of: {'; '.join(apart)}")
    return found


def nearest_word(name: str, runs: Iterable[Run]) -> str:
    """The first word of a name that fits nothing, with its nearest match among all words of the study."""
    known = list(dict.fromkeys(word for run in runs for word in words_of(run)))
    for pattern in name.replace(",", " ").split():
        if not any(fnmatchcase(word, pattern) for word in known):
            return did_you_mean(pattern, known) or f"; there are {', '.join(w for w in known if '=' not in w)}"
    return ": its words are those of several"
