"""Budgets side by side: arms that differ in their budget alone, fixed steps beside fixed epochs.

A model that is under-trained at small n looks hungry for data. Every number is of one arm.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.linked import Cell, Row
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Section, Styles, n_images
from analysis.frame.arms import ArmData, alike_but_for
from analysis.frame.cells import accuracy_by_train_size, summarise, trained
from analysis.questions.data_needed import figures


def budget_groups(arms: Sequence[ArmData]) -> list[list[int]]:
    """The places in `arms` of those that differ in budget alone and have more than one kind of it."""
    groups = alike_but_for(arms, figures.BUDGET)
    return [places for places in groups if len({arms[place].arm.budget_kind for place in places}) > 1]


def _trained(data: ArmData) -> pd.DataFrame:
    return summarise(trained(data.rows), data.runs, "train_accuracy")


MEASURED = (  # column, in words, the table of an arm, the name of the figure, and what it has besides
    ("accuracy", "Test accuracy", accuracy_by_train_size, "budgets", captions.CHANCE),
    ("train_accuracy", "Accuracy on the training images", _trained, "budgets-training", ""),
)


def budgets(arms: Sequence[ReportedArm], styles: Styles) -> list[Section]:
    """Arms that differ in their budget alone, side by side: accuracy, and the accuracy on the training images, which
    says whether a model was under-trained. The same models in the same order; no number is of two arms."""
    made = []
    for number, places in enumerate(budget_groups([arm.data for arm in arms]), start=1):
        group = [arms[place] for place in places]
        panels = [arm.rows for arm in group if len(arm.rows)]
        several = bool(panels) and pd.concat(panels)["train_size"].nunique() > 1
        names = " beside ".join(_budget(arm) for arm in group)
        title = group[0].arm.words.replace(_budget(group[0]), names)
        tables, drawn = [], []
        for value, what, make, name, chance in MEASURED:
            behind = []
            for arm in group:
                table = make(arm.data)
                about = f"{what} in per cent, {_budget(arm)}."
                view = linked.grid(table, arm.data, arm.links, "train_size", n_images, about)
                tables.append(replace(view, rows=(_updates(arm), *view.rows)))
                behind.append(table.assign(arm=arm.number))
            if several:
                table = pd.concat(behind)
                marks = (captions.RUNS, captions.MEANS, captions.bars(table), chance)
                shows = f"{what} against training images, by model, a panel a budget"
                draw = partial(figures.side_by_side, pd.concat(panels), styles, value)
                drawn.append(Drawing(f"{name}-{number}", draw, table, shows, captions.legend(*marks), title))
        remark = (
            "A model that falls behind at small n with fixed epochs, which are few steps there, and not with fixed "
            "steps was under-trained, not short of data. Below the tests: what the same networks reach on their own "
            "training images."
        )
        made.append(Section(title, tuple(drawn), tuple(tables), remark=remark))
    return made


def _budget(arm: ReportedArm) -> str:
    return f"{wording.number(arm.arm.budget)} {arm.arm.budget_kind}"


def _updates(arm: ReportedArm) -> Row:
    """The updates that the runs of each column made."""
    known = arm.runs.dropna(subset=["updates"])
    cells = []
    for size in sorted(arm.runs["train_size"].unique()):
        updates = known.loc[known["train_size"] == size, "updates"]
        cells.append(Cell(wording.span(updates.min(), updates.max())))
    return Row(Cell("updates of a run"), tuple(cells), basis=True)
