"""Maps of what is taken for what, and a table a model of the images that are hardest for it."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from analysis import wording
from analysis.elements import captions
from analysis.elements.drawings import Drawing
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images
from analysis.frame.rows import each_group, each_row
from analysis.questions.mistakes import figures
from analysis.questions.mistakes.numbers import numbers

INTRO = (
    "From the predictions that records keep, on the test images at the training resolution. "
    "'inductive show RUN --html FILE' shows a run’s worst images themselves."
)


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """One chapter, with a section for each arm whose records keep predictions."""
    sections = tuple(mistakes(arm) for arm in arms if not arm.once(numbers).confusion.empty)
    return [Chapter("mistakes", "mistakes", "What is mistaken for what", sections, INTRO, further=True)]


def mistakes(arm: ReportedArm) -> Section:
    """The maps of all models, and folded the hardest images of each."""
    of = arm.once(numbers)
    size = n_images(of.confusion["train_size"].iloc[0])
    shows = f"Share of each class’s test images taken for another class, by model, {size}"
    full = wording.percent(figures.largest_share(of.confusion))
    marks = captions.legend("no colour: none", f"full colour: {full}", "what was right, on the line, is left out")
    draw = partial(figures.confusion_maps, of.confusion, of.classes)
    drawing = Drawing(f"confusion-{arm.number}", draw, of.confusion, shows, marks, arm.words)
    folded = tuple(
        (f"{label}: the hardest images", hardest(label, table)) for label, table in each_group(of.hardest, "label")
    )
    return Section(arm.words, (drawing,), (), folded)


def hardest(label: str, table: pd.DataFrame) -> Table:
    """The images that most runs of a model got wrong. `table`: `numbers.hardest_images`."""
    rows = []
    for row in each_row(table):
        texts = (row.true, row.predicted, wording.percent(row.confidence), f"{row.wrong}/{row.of}")
        rows.append(Row(Cell(str(row.image)), tuple(map(Cell, texts))))
    about = (
        f"The test images that the most runs of {label} got wrong, by their index in the test part, and the mean "
        "confidence in the wrong answer."
    )
    return Table(about, "image", ("is", "taken for", "confidence", "wrong in runs"), tuple(rows))
