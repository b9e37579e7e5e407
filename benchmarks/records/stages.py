"""The stages of a study that searches: what its trials came to, what was chosen of them, and the runs that confirm it.

All of it follows from the study and its records: the confirmation of a finished search is the same whoever asks. A part
of the grid is confirmed once all of its trials are finished or diverged, whatever the others are at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from benchmarks.console import count
from benchmarks.data.dataset import Places
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Run, default_evaluation
from benchmarks.plan.search import SearchedCell
from benchmarks.plan.selection import Rule
from benchmarks.plan.study import Study, confirmation
from benchmarks.records.record import read_record
from benchmarks.records.states import run_state

Accuracies = Mapping[int, tuple[float, ...] | None]


@dataclass(frozen=True)
class Outcome:
    """What the search of a cell has come to: the `accuracies` of its trials by number, on the validation part at the
    end of training, a share a seed (None where a seed diverged); how many runs are `left` to do, and how many are
    `stale`, which keep their accuracy; and the trial that is `chosen` once none is left, None where all diverged."""

    cell: SearchedCell
    accuracies: Accuracies
    left: int
    stale: int
    chosen: int | None


def outcomes(study: Study, places: Places) -> list[Outcome]:
    """What each search of a study has come to by the records under `places.runs`; none of a study that searches
    nothing."""
    if study.tuning is None:
        return []
    return [outcome(cell, study.tuning.plan.rule, places) for cell in study.tuning.cells]


def outcome(cell: SearchedCell, rule: Rule, places: Places) -> Outcome:
    """What the search of one cell has come to."""
    accuracies: dict[int, tuple[float, ...] | None] = {}
    left = stale = 0
    for trial in cell.trials:
        found = [_accuracy(run, places) for run in trial.runs]
        of_runs = [one for one, _ in found]
        left += of_runs.count("left")
        stale += sum(state == "stale" for _, state in found)
        if "left" not in of_runs:
            numbers = tuple(one for one in of_runs if isinstance(one, float))
            accuracies[trial.number] = numbers if len(numbers) == len(of_runs) else None
    return Outcome(cell, accuracies, left, stale, None if left else rule.choose(accuracies))


def _accuracy(run: Run, places: Places) -> tuple[float | str, str]:
    """On the validation part at the end of training, a share; 'diverged', or 'left' where it is still to be done. With
    the run's state: one that is stale counts as what it came to, as in every table."""
    root = places.runs
    if root is None:
        return "left", "missing"
    wanted = default_evaluation(run, "validation", run.resolution)
    now = run_state(run, root, [wanted])
    if now.state not in ("finished", "diverged", "stale") or now.waiting:
        return "left", now.state
    record = read_record(root / run.id)
    if record.state == "diverged":
        return "diverged", now.state
    entries = {entry["id"]: entry for entry in record.evaluations}
    return (float(entries[wanted.id]["accuracy"]) if wanted.id in entries else "left"), now.state


def confirming(study: Study, places: Places) -> Study | None:
    """The runs that confirm what a study has chosen so far; None where nothing is, or nothing is searched."""
    chosen = {one.cell.key: one.chosen for one in outcomes(study, places) if one.chosen is not None}
    return confirmation(study, chosen, places)


def is_searching(study: Study, places: Places) -> bool:
    """Whether runs of a study's search are left to do, so that what confirms it is not all known yet."""
    return any(one.left for one in outcomes(study, places))


def whole(study: Study, places: Places) -> Study:
    """A study with what confirms its search, as far as that is known by now; one that searches nothing is itself."""
    second = confirming(study, places)
    if second is None:
        return study
    return replace(
        study,
        runs=(*study.runs, *second.runs),
        evaluations={**study.evaluations, **second.evaluations},
        test_resolutions=tuple(sorted({*study.test_resolutions, *second.test_resolutions})),
        trials=second.trials,
        tuned=second.tuned,
    )


def reported(study: Study, places: Places) -> Study:
    """What a report is about: the study, or what confirms its search. Raises ConfigError while nothing is confirmed."""
    if study.tuning is None:
        return study
    second = confirming(study, places)
    if second is None:
        found = outcomes(study, places)
        left = sum(one.left for one in found)
        why = f"{count(left, 'runs')} left of its search; `inductive run {study.argument}`"
        nothing = "every trial of its search diverged; other ranges in search.draw may have some that do not"
        raise ConfigError("search", f"nothing is confirmed yet: {why if left else nothing}", study.name)
    return second
