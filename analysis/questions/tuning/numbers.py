"""What the search of an arm came to: its trials, tuning curves, what was chosen, and what the hyper-parameters did.

Everything but the confirmed test accuracy is on the validation part. The recipe itself, trial 0, is not drawn: it can
be chosen, and is in no curve. A trial of which a seed diverged counts as an accuracy of 0.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from analysis.elements.reported import ReportedArm
from analysis.frame.cells import at_home
from analysis.frame.rows import each_group
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate
from analysis.statistics.tuning_curves import LEVEL, tuning_curve
from benchmarks.data.dataset import Places
from benchmarks.errors import RecordError
from benchmarks.plan.run import Run
from benchmarks.plan.search import Plan, Range, Space, Trial, Value, is_limit, reaching
from benchmarks.records.metrics import read_metrics
from benchmarks.records.stages import Outcome, outcome

EDGE = 0.1  # share of a range at each end: what is chosen there may lie better beyond
LATE = 1.05  # the loss at the end over the lowest before, from which on a run has overfitted


@dataclass(frozen=True)
class Tuning:
    """The tables of an arm, in long form; empty where nothing was searched.

    `trials`: label, train_size, trial, study (which of the equal searches; '-' for the recipe), accuracy (mean over
    seeds, on the validation part), diverged, settings (in words), runs. `curves`: label, train_size, k, estimate, low,
    high (shares), says (whether the upper end depends on the trials). `together`: the same with bands that hold for
    all models of the arm at once. `chosen`: see `_chosen`. `sensitivity`: label, train_size, hyperparameter, space,
    share (see `explained`). `samplers` and `rules` are those of the searches, the rules in words."""

    trials: pd.DataFrame
    curves: pd.DataFrame
    together: pd.DataFrame
    chosen: pd.DataFrame
    sensitivity: pd.DataFrame
    samplers: frozenset[str] = frozenset()
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Cell:
    """A cell of the arm and the search whose choice it confirms. `space`: what is drawn and reaches its network."""

    label: str
    train_size: int
    confirmed: Estimate  # test accuracy
    outcome: Outcome
    trial: int
    plan: Plan
    space: Space

    @property
    def place(self) -> dict[str, Any]:
        return {"label": self.label, "train_size": self.train_size}

    @property
    def searched_size(self) -> int:
        """The train size that was searched at: its own, or the largest, where train sizes share a search."""
        return self.outcome.cell.trials[0].runs[0].train_size

    @property
    def is_searched(self) -> bool:
        """Whether the search was made at its own train size."""
        return self.searched_size == self.train_size

    def setting(self, trial: Trial) -> str:
        """What was drawn, as far as it reaches the network, in words."""
        return words({name: value for name, value in trial.values.items() if name in self.space})

    @property
    def drawn(self) -> list[float]:
        """The accuracies of the drawn trials, in their order."""
        return [score(found) for number, found in sorted(self.outcome.accuracies.items()) if number]


def score(found: Sequence[float] | None) -> float:
    """Of a trial: its mean over seeds, 0 where one diverged."""
    return float(np.mean(found)) if found else 0.0


def numbers(arm: ReportedArm) -> Tuning:
    """Reads the records of an arm's searches."""
    cells = list(_cells(arm))
    if not cells:
        nothing = pd.DataFrame()
        return Tuning(nothing, nothing, nothing, nothing, nothing)
    level = 1 - (1 - LEVEL) / len({cell.label for cell in cells})
    searched = [cell for cell in cells if cell.is_searched]
    return Tuning(
        pd.DataFrame([row for cell in searched for row in _trials(cell)]),
        pd.concat([_curve(cell, LEVEL) for cell in searched], ignore_index=True),
        pd.concat([_curve(cell, level) for cell in searched], ignore_index=True),
        pd.DataFrame([_chosen(cell, arm) for cell in cells]),
        pd.DataFrame([row for cell in searched for row in _sensitivities(cell)]),
        frozenset(cell.plan.search.sampler for cell in cells),
        tuple(dict.fromkeys(cell.plan.rule.about for cell in cells)),
    )


def _cells(arm: ReportedArm) -> Iterator[_Cell]:
    """The cells of an arm that confirm something, in the order of its runs."""
    home, known = at_home(arm.rows), dict[tuple[str, str], Outcome]()
    parts = {run: part for part in (arm.study.parts or (arm.study,)) for run in part.tuned}
    for label, of_model in each_group(arm.runs, "label"):
        for size, runs in each_group(of_model, "train_size", ordered=True):
            run = runs["run"].iloc[0]
            part = parts.get(run)
            if part is None or part.tuning is None:
                continue
            plan, confirms = part.tuning.plan, part.tuned[run]
            [cell] = [one for one in part.tuning.cells if one.key == confirms.key]
            if (part.name, cell.key) not in known:
                known[part.name, cell.key] = outcome(cell, plan.rule, Places(data=None, runs=arm.root))
            found = known[part.name, cell.key]
            tested = home[(home["label"] == label) & (home["train_size"] == size)]
            confirmed = intervals.over_seeds(tested, "accuracy", bounds=(0.0, 1.0))
            space = reaching(plan.spaces[cell.model], cell.trials[0].runs[0])
            yield _Cell(str(label), int(size), confirmed, found, confirms.trial, plan, space)


def words(values: Mapping[str, Value]) -> str:
    """A trial's setting: 'learning_rate 0.002, augmentation strong'; of trial 0 'the recipe'."""
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "the recipe"


def _trials(cell: _Cell) -> Iterator[dict[str, Any]]:
    for trial in cell.outcome.cell.trials:
        found, study = cell.outcome.accuracies.get(trial.number), cell.plan.study_of(trial.number)
        yield {
            **cell.place,
            "trial": trial.number,
            "study": "-" if study is None else str(study + 1),
            "accuracy": score(found) if found else math.nan,
            "diverged": found is None,
            "settings": cell.setting(trial),
            "runs": " ".join(run.id for run in trial.runs),
        }


def _curve(cell: _Cell, level: float) -> pd.DataFrame:
    curve = tuning_curve(cell.drawn, level)
    values = {"k": curve.k.astype(int), "estimate": curve.estimate, "low": curve.low, "high": curve.high}
    return pd.DataFrame({**cell.place, **values, "says": curve.k <= curve.largest})


def _chosen(cell: _Cell, arm: ReportedArm) -> dict[str, Any]:
    """A row of `Tuning.chosen`. Columns: trial, settings, searched_size and searched_budget (train size, and share of
    the budget, of the trials), validation_accuracy (the winner's), confirmed, confirmed_low, confirmed_high (test
    accuracy of the fresh seeds, with its t-interval), n (of them), seed_deviation (their standard deviation), optimism
    (validation less confirmed; NaN where trials had another train size or less of the budget), recipe_accuracy
    (of the recipe itself, on validation), searches, best_median, best_low, best_high (over the equal searches, the best
    of each), diverged, trials (drawn), stale (runs of the search, the recipe's among them, whose sources have changed
    since), boundary (hyper-parameters of the winner in the outer tenth of their range), overfits ('yes', 'no', or '-'
    where the validation loss was not logged), runs."""
    found, trials = cell.outcome.accuracies, cell.outcome.cell.trials
    winner = trials[cell.trial]
    best = [max(group) for group in _searches(cell.outcome, cell.plan)]
    validation = score(found[cell.trial])
    budget = cell.plan.search.budget.share
    deviation = math.nan
    tested = at_home(arm.rows)
    units = tested[(tested["label"] == cell.label) & (tested["train_size"] == cell.train_size)]
    if len(units) > 1:
        deviation = float(np.std(intervals.by_unit(units, "accuracy"), ddof=1))
    return {
        **cell.place,
        "trial": cell.trial,
        "settings": cell.setting(winner),
        "searched_size": cell.searched_size,
        "searched_budget": budget,
        "validation_accuracy": validation,
        "confirmed": cell.confirmed.mean,
        "confirmed_low": cell.confirmed.low,
        "confirmed_high": cell.confirmed.high,
        "n": cell.confirmed.n,
        "seed_deviation": deviation,
        "optimism": validation - cell.confirmed.mean if cell.is_searched and budget == 1 else math.nan,
        "recipe_accuracy": score(found[0]) if found[0] else math.nan,
        "searches": len(best),
        "best_median": float(np.median(best)),
        "best_low": min(best),
        "best_high": max(best),
        "diverged": sum(one is None for number, one in found.items() if number),
        "trials": len(trials) - 1,
        "stale": cell.outcome.stale,
        "boundary": " ".join(at_the_edge(winner.runs[0], winner.values, cell.space)),
        "overfits": _overfits(winner.runs, arm),
        "runs": " ".join(run.id for run in winner.runs),
    }


def _searches(found: Outcome, plan: Plan) -> list[list[float]]:
    """The accuracies of the drawn trials of each of the equal searches."""
    groups: dict[int, list[float]] = {}
    for number, accuracies in sorted(found.accuracies.items()):
        study = plan.study_of(number)
        if study is not None:
            groups.setdefault(study, []).append(score(accuracies))
    return list(groups.values())


def at_the_edge(run: Run, values: Mapping[str, Value], space: Space) -> list[str]:
    """The hyper-parameters whose value in a run lies in the outer tenth of its range, or beyond, at an end beyond which
    there are others."""
    found = []
    for name, one in space.items():
        if isinstance(one, Range):
            place = one.place(float(values.get(name, getattr(run.recipe, name))))
            low, high = place < EDGE, place > 1 - EDGE
            if (low and not is_limit(name, one.low)) or (high and not is_limit(name, one.high)):
                found.append(name)
    return found


def _overfits(runs: Sequence[Run], arm: ReportedArm) -> str:
    """Whether the validation loss of a setting's run has risen at the end over its lowest before."""
    answers = []
    for run in runs:
        try:
            rows = read_metrics(arm.root / run.id / "metrics.jsonl")
        except RecordError:
            continue
        losses = [float(row["validation_loss"]) for row in rows if row.get("validation_loss") is not None]
        if len(losses) > 1:
            answers.append(losses[-1] > LATE * min(losses))
    return "-" if not answers else "yes" if any(answers) else "no"


def _sensitivities(cell: _Cell) -> Iterator[dict[str, Any]]:
    drawn = [trial for trial in cell.outcome.cell.trials if trial.number]
    for name, space in cell.space.items():
        if isinstance(space, Range):
            columns = np.array([[space.place(float(trial.values[name]))] for trial in drawn])  # type: ignore[arg-type]
            columns = np.hstack([columns, columns**2])
        else:
            values = [repr(trial.values[name]) for trial in drawn]
            columns = np.array([[float(value == other) for other in sorted(set(values))[1:]] for value in values])
        share = explained(columns, cell.drawn)
        yield {**cell.place, "hyperparameter": name, "space": space.words, "share": share}


def explained(columns: NDArray[np.float64], accuracies: Sequence[float]) -> float:
    """The share of the variance of the trials' ranks (n,) that a hyper-parameter explains: adjusted R squared of least
    squares on its `columns` (n, c), so about 0 where it has no effect; not below 0. NaN for too few trials, or where
    all are equal.

    A range has its place and that squared, so that the best may lie within it; a choice has a column for each value
    but one. Source of the adjustment: Theil, "Economic forecasts and policy", 1961.
    """
    ranks = rankdata(accuracies)
    count, fitted = len(ranks), columns.shape[1]
    total = float(((ranks - ranks.mean()) ** 2).sum())
    if count - fitted < 2 or total == 0 or fitted == 0:
        return math.nan
    design = np.hstack([np.ones((count, 1)), columns])
    left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
    return max(0.0, 1 - float((left**2).sum()) / (count - fitted - 1) / (total / (count - 1)))
