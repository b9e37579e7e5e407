"""The position ablation: differences to the reference, by train size and by test resolution."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images, pixels
from analysis.frame.rows import each_group
from analysis.questions.comparisons import verdicts
from analysis.questions.positions import figures
from analysis.questions.positions.numbers import numbers

INTRO = (
    "Positional encodings against learned_1d, run by run with the same draw and seed: "
    "the networks start from the same weights outside their encoding and see the same images in "
    "the same order."
)


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """One chapter, with a section for each arm that has encodings to compare."""
    sections = tuple(ablation(arm, styles) for arm in arms if not arm.once(numbers).by_train_size.empty)
    return [Chapter("positions", "positions", "Position ablation", sections, INTRO)]


def ablation(arm: ReportedArm, styles: Styles) -> Section:
    """The position ablation: differences to the reference, by train size and by test resolution."""
    of = arm.once(numbers)
    tables, drawn = [], []
    for number, (reference, table) in enumerate(each_group(of.by_train_size, "reference"), start=1):
        about = f"Test accuracy minus that of {reference}, at {arm.arm.resolution} px, in points."
        interval = verdicts.interval_words(table)
        view = linked.grid(table, arm.data, arm.links, "train_size", n_images, about, difference=True)
        tables.append(replace(view, interval=interval))
        if table.loc[table["done"] > 0, "train_size"].nunique() > 1:
            legend = captions.legend(
                "lines: mean paired differences",
                captions.bars(table, interval),
                "line at 0: the reference",
            )
            drawn.append(
                Drawing(
                    f"position-ablation-{arm.number}-{number}",
                    partial(figures.differences_by_train_size, table, styles),
                    table,
                    f"Test accuracy minus that of {reference}, in points, against training images, by encoding",
                    legend,
                    arm.words,
                )
            )
    if not of.by_test_resolution.empty:
        size = wording.number(of.by_test_resolution["train_size"].max())
        for reference, table in each_group(of.by_test_resolution, "reference"):
            about = f"The same, minus {reference}, at each test resolution, trained on {size} images."
            heads = pixels(arm)
            view = linked.grid(table, arm.data, arm.links, "test_resolution", heads, about, difference=True)
            tables.append(replace(view, interval=verdicts.interval_words(table, arm.arm.resolution)))
    return Section(arm.words, tuple(drawn), tuple(tables), tuple(_separate(arm, of.separate)))


def _separate(arm: ReportedArm, table: pd.DataFrame) -> Iterator[tuple[str, linked.Table]]:
    """The t-intervals of pairs that a declared family judges: they state no verdict."""
    for reference, group in each_group(table, "reference") if len(table) else ():
        about = f"Test accuracy minus that of {reference}, at {arm.arm.resolution} px, in points, each pair alone."
        view = linked.grid(group, arm.data, arm.links, "train_size", n_images, about, difference=True)
        yield f"{verdicts.SEPARATE.capitalize()}, against {reference}", replace(view, interval=verdicts.SEPARATE)
