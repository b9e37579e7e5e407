"""Loss curves, and what the loss comes to in the end."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images
from analysis.frame.rows import each_group, each_row
from analysis.questions.training_loss import figures
from analysis.questions.training_loss.numbers import numbers
from analysis.statistics.intervals import unit_noun
from analysis.wording import ABSENT

INTRO = (
    "The loss of a step's batch is as the recipe has it, augmentation and label smoothing included: it can be compared "
    "between models of one recipe, and not with the other two, which are of whole images as they are."
)
ABOUT = {
    "batch": "Training loss of the last step's batch, as the recipe has it, in nats.",
    "train": "Training loss of the final weights on all their own training images, without augmentation, in nats.",
    "validation": "Validation loss as last logged, in nats.",
}
FINAL = {"batch": "last batch", "train": "final weights, training images", "validation": "last validation"}
SHOWS = {"batch": "Training loss of a step's batch", "validation": "Loss on the validation part"}
NO_VALIDATION = "Validation loss was not logged while these runs were trained (validate_every in a study)."


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """One chapter, with a section for each arm that has logged a loss."""
    sections = tuple(training_loss(arm, styles) for arm in arms if not arm.once(numbers).curves.empty)
    return [Chapter("training-loss", "training loss", "Loss while training", sections, INTRO)]


def training_loss(arm: ReportedArm, styles: Styles) -> Section:
    """The curves of each measure that was logged; a table for each final loss, train sizes across."""
    of = arm.once(numbers)
    x = "epoch" if arm.arm.budget_kind == "epochs" else "step"
    drawn = []
    for measure, curves in each_group(of.curves, "measure", ordered=True):
        shows = f"{SHOWS[measure]} against the {figures.X[x]}, by model, a panel a train size"
        several = "bands: from the lowest to the highest run" if (curves["n"] > 1).any() else ""
        marks = captions.legend("lines: means over runs", several, "markers tell models apart")
        draw = partial(figures.loss_curves, curves, styles, x)
        name = "training-loss" if measure == "batch" else "validation-loss"
        drawn.append(Drawing(f"{name}-{arm.number}", draw, curves, shows, marks, arm.words))
    measured = [] if of.final.empty else list(dict.fromkeys(of.final["measure"]))  # none at the training resolution
    notes = [] if "validation" in measured else [NO_VALIDATION]
    notes += [f"Metrics that cannot be read: {wording.names(of.damaged)}."] if of.damaged else []
    tables = tuple((FINAL[measure], _final(arm, measure)) for measure in measured)
    return Section(arm.words, tuple(drawn), (), tables, remark=" ".join(notes))


def _final(arm: ReportedArm, measure: str) -> Table:
    """The final losses of a measure: rows of models, columns of train sizes."""
    final = arm.once(numbers).final
    table = final[final["measure"] == measure]
    sizes = sorted(table["train_size"].unique().tolist())
    noun = unit_noun(arm.runs)
    rows = []
    for label, of_model in each_group(table, "label"):
        by_size = {row.train_size: row for row in each_row(of_model)}
        cells = (
            _cell(by_size[size], noun, arm.links.cell(label, size)) if size in by_size else Cell("") for size in sizes
        )
        rows.append(Row(linked.model_name(label, arm.data, arm.links), tuple(cells)))
    return Table(ABOUT[measure], "model", tuple(map(n_images, sizes)), tuple(rows), n=linked.units(table, noun))


def _cell(row: Any, noun: str, href: str) -> Cell:
    note, signs = linked.missing_units(row.n, row.planned_n, noun), linked.signs_of(row)
    if math.isnan(row.mean):
        return Cell(ABSENT, note=note, signs=signs, href=href)
    interval = "no interval" if math.isnan(row.low) else f"[{_nats(row.low)}, {_nats(row.high)}]"
    return Cell(_nats(row.mean), interval, note, signs, href)


def _nats(value: float) -> str:
    """Three digits, as losses go over many powers of ten: '2.30', '0.00181', '1.2e-06'."""
    return f"{value:#.3g}" if value >= 1e-4 or value == 0 else f"{value:.1e}"
