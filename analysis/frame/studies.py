"""Several studies as one, for a report on all of them."""

from collections.abc import Sequence

from benchmarks.errors import ConfigError
from benchmarks.plan.comparisons import ComparisonFamily
from benchmarks.plan.paper import merged
from benchmarks.plan.run import Evaluation
from benchmarks.plan.study import Study


def joined(studies: Sequence[Study]) -> Study:
    """The runs and evaluations of all studies; a run of several is one run. One study is itself.

    Runs of two studies that agree in all that decides an arm stand in one table: they answer the same question.
    Raises ConfigError for studies that disagree on when a cell is starved, on the name of a model, on a family of
    comparisons, or on the tuning trials of a run.
    """
    if len(studies) == 1:
        return studies[0]
    names = " + ".join(study.name for study in studies)
    limits = sorted({study.starved_below for study in studies})
    if len(limits) > 1:
        raise ConfigError(
            "starved_below", f"is {' and '.join(map(str, limits))}: report these studies one by one", names
        )
    evaluations: dict[str, list[Evaluation]] = {}
    for study in studies:
        for run, wanted in study.evaluations.items():
            evaluations[run] = list(dict.fromkeys([*evaluations.get(run, []), *wanted]))
    return Study(
        name=names,
        question=" ".join(study.question for study in studies if study.question),
        cost="; ".join(f"{study.name}: {study.cost.rstrip('.')}" for study in studies if study.cost),
        expect="; ".join(f"{study.name}: {study.expect.rstrip('.')}" for study in studies if study.expect),
        runs=tuple({run.id: run for study in studies for run in study.runs}.values()),
        evaluations=evaluations,
        test_resolutions=tuple(sorted({at for study in studies for at in study.test_resolutions})),
        left_out=tuple(dict.fromkeys(left for study in studies for left in study.left_out)),
        starved_below=limits[0],
        comparisons=_families(studies),
        expects=tuple(dict.fromkeys(one for study in studies for one in study.expects)),
        trials=_trials(studies),
        tuned={run: chosen for study in studies for run, chosen in study.tuned.items()},
        paper=merged([study.paper for study in studies]),
        parts=tuple(studies),
    )


def _trials(studies: Sequence[Study]) -> dict[str, int]:
    """What any study states of a run; one that states nothing contradicts nobody."""
    stated: dict[str, tuple[int, str]] = {}
    for study in studies:
        for run, number in study.trials.items():
            other, name = stated.setdefault(run, (number, study.name))
            if other != number:
                phrases = (
                    f"is {other} in study {name} and {number} in study {study.name}, for one and the same run: {run}"
                )
                raise ConfigError("trials", phrases)
    return {run: number for run, (number, _) in stated.items()}


def _families(studies: Sequence[Study]) -> tuple[ComparisonFamily, ...]:
    """The declared families of all studies, each once."""
    families: dict[str, ComparisonFamily] = {}
    for family in (family for study in studies for family in study.comparisons):
        if families.setdefault(family.name, family) != family:
            raise ConfigError("comparisons.name", f"'{family.name}' is another family in another of these studies")
    return tuple(families.values())
