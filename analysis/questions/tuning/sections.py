"""Tuning curves, what was chosen, how far it can be believed, and what the hyper-parameters did."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import pandas as pd

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images
from analysis.frame.rows import each_group, each_row
from analysis.questions.tuning import figures
from analysis.questions.tuning.numbers import Tuning, numbers
from analysis.questions.tuning.sentences import PLACE
from analysis.statistics.intervals import Estimate, unit_noun
from analysis.statistics.tuning_curves import LEVEL
from analysis.wording import ABSENT

INTRO = (
    "Every model had the same number of trials, drawn before any was run, and was judged on the validation part alone. "
    "What was chosen was then trained with fresh seeds on fresh subsets, of which all other chapters are."
)
BANDS = f"bars and bands: {100 * LEVEL:g} %, for all k of a model together"
RANDOM = ", whatever the distribution of its trials"
HALTON = "; of Halton points, for which they are not exact, but too wide where accuracy varies smoothly over the ranges"
CHOSEN = (
    "setting",
    "validation",
    "confirmed",
    "optimism",
    "deviation over seeds",
    "best of each search",
    "the recipe itself",
    "diverged",
    "flags",
)
OVERFITS = {"yes": "overfits late", "no": "", "-": ""}


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """One chapter, with a section for each arm that was searched."""
    sections = tuple(tuning(arm, styles) for arm in arms if not arm.once(numbers).curves.empty)
    return [Chapter(PLACE, "tuning", "Is a difference the tuning's?", sections, INTRO)]


def tuning(arm: ReportedArm, styles: Styles) -> Section:
    """The figure; a table of what was chosen for each train size; folded what explains the trials."""
    of = arm.once(numbers)
    halton = "halton" in of.samplers
    shows = "Median best validation accuracy of k drawn trials against k, by model, a panel a train size"
    marks = captions.legend(BANDS + (HALTON if halton else RANDOM), "grey: k about which no band says anything")
    drawing = Drawing(
        f"tuning-{arm.number}", partial(figures.tuning_curves, of.curves, styles), of.curves, shows, marks, arm.words
    )
    tables = tuple(_chosen(arm, int(size), table) for size, table in each_group(of.chosen, "train_size", ordered=True))
    folded = [("what explains the trials", _sensitivity(arm, of))]
    logged = "" if (of.chosen["overfits"] != "-").all() else " Whether the winner overfits late was not logged "
    logged += "(validate_every in a study)." if logged else ""
    return Section(
        arm.words, (drawing,), tables, tuple(folded), remark=f"Chosen by: {wording.names(of.rules)}.{logged}"
    )


def _chosen(arm: ReportedArm, size: int, table: pd.DataFrame) -> Table:
    noun = unit_noun(arm.runs)
    rows = []
    for row in each_row(table):
        href = arm.links.cell(row.label, size)
        cells = (
            Cell(row.settings, note=f"trial {row.trial}", href=href),
            Cell(_percent(row.validation_accuracy), note=_searched(row), href=href),
            Cell(_percent(row.confirmed), wording.interval(_confirmed(row)), href=href),
            Cell(_points(row.optimism), href=href),
            Cell(ABSENT if math.isnan(row.seed_deviation) else f"{100 * row.seed_deviation:.1f}", href=href),
            Cell(_percent(row.best_median), _searches(row), href=href),
            Cell(_percent(row.recipe_accuracy), href=href),
            Cell(f"{row.diverged} of {row.trials}", href=href),
            Cell("; ".join(_flags(row)) or ABSENT, href=href),
        )
        rows.append(Row(linked.model_name(row.label, arm.data, arm.links), cells))
    about = (
        f"{n_images(size)}: the setting that was chosen; its validation accuracy in the search and its test accuracy "
        "with fresh seeds, in per cent; the first less the second, where both had one train size and budget, and the "
        "standard deviation over seeds, in points; validation accuracy of the best drawn trial of each of the equal "
        "searches, their median and from the lowest to the highest; that of the recipe itself; trials that diverged."
    )
    return Table(about, "model", CHOSEN, tuple(rows), "words", n=linked.units(table.assign(planned_n=table["n"]), noun))


def _confirmed(row: Any) -> Estimate:
    return Estimate(row.confirmed, row.confirmed_low, row.confirmed_high, row.n)


def _searched(row: Any) -> str:
    """How the trials were unlike what confirms them."""
    size = "" if row.searched_size == row.train_size else f"at {n_images(row.searched_size)}"
    budget = "" if row.searched_budget == 1 else f"{100 * row.searched_budget:g} % of the budget"
    return ", ".join(filter(None, (size, budget)))


def _searches(row: Any) -> str:
    return (
        "" if row.searches == 1 else f"{100 * row.best_low:.1f} to {100 * row.best_high:.1f}, {row.searches} searches"
    )


def _flags(row: Any) -> list[str]:
    edge = f"at the edge: {row.boundary.replace(' ', ', ')}" if row.boundary else ""
    return [text for text in (edge, OVERFITS[row.overfits]) if text]


def _sensitivity(arm: ReportedArm, of: Tuning) -> Table:
    """Rows of models and train sizes, columns of hyper-parameters."""
    columns = list(dict.fromkeys(of.sensitivity["hyperparameter"]))
    several = of.sensitivity["train_size"].nunique() > 1
    rows = []
    for (label, size), group in each_group(of.sensitivity, ["label", "train_size"]):
        href = arm.links.cell(label, size)
        found = {row.hyperparameter: row for row in each_row(group)}
        cells = tuple(Cell(_percent(found[name].share), href=href) if name in found else Cell("") for name in columns)
        line = f"{label}, {n_images(size)}" if several else None
        rows.append(Row(linked.model_name(label, arm.data, arm.links, line), cells))
    about = (
        "Share of the variance of the drawn trials' ranks, by validation accuracy, that goes with each "
        "hyper-parameter, in per cent (adjusted; about 0 without an effect)."
    )
    return Table(about, "model", tuple(columns), tuple(rows))


def _percent(share: float) -> str:
    return ABSENT if math.isnan(share) else f"{100 * share:.1f}"


def _points(share: float) -> str:
    return ABSENT if math.isnan(share) else f"{100 * share:+.1f}".replace("-", "−")
