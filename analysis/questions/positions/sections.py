"""The position ablation: differences to the reference, by train size and by test resolution."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from markupsafe import Markup

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images, pixels
from analysis.frame.rows import each_group
from analysis.questions.comparisons import verdicts
from analysis.questions.positions import figures
from analysis.questions.positions.numbers import numbers

SEPARATE = "separate 95 % t-intervals, pair by pair (those of a declared family, under “Comparisons”, hold together)"
INTRO = (
    "Positional encodings against <code>learned_1d</code>, run by run with the same draw and seed: "
    "the networks start from the same weights outside their encoding and see the same images in "
    "the same order."
)
ALONE = (
    " Each interval stands on its own here; those of declared families, under <a href='#comparisons'>"
    "comparisons</a>, hold together."
)


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """One chapter, with a section for each arm that has encodings to compare."""
    declared = any(not arm.once(verdicts.differences).empty for arm in arms)
    sections = tuple(ablation(arm, styles) for arm in arms if not arm.once(numbers).by_train_size.empty)
    intro = Markup(INTRO + (ALONE if declared else ""))
    return [Chapter("positions", "positions", "Position ablation", sections, intro)]


def ablation(arm: ReportedArm, styles: Styles) -> Section:
    """The position ablation: differences to the reference, by train size and by test resolution."""
    of = arm.once(numbers)
    tables, drawn = [], []
    interval = linked.T_INTERVALS if arm.once(verdicts.differences).empty else SEPARATE
    for number, (reference, table) in enumerate(each_group(of.by_train_size, "reference"), start=1):
        about = f"Test accuracy minus that of {reference}, at {arm.arm.resolution} px, in points."
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
            tables.append(replace(view, interval=interval))
    return Section(arm.words, tuple(drawn), tuple(tables))
