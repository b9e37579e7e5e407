"""Accuracy against train size: the chapter that every report has."""

from collections.abc import Sequence
from functools import partial

from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images
from analysis.frame.cells import at_home
from analysis.questions.accuracy import figures
from analysis.questions.accuracy.sentences import PLACE


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """One chapter, with a section for each arm."""
    sections = tuple(by_train_size(arm, styles) for arm in arms)
    return [Chapter(PLACE, "train size", "Accuracy against train size", sections, signs=True, always=True)]


def by_train_size(arm: ReportedArm, styles: Styles) -> Section:
    """Accuracy against train size; the figure is left out where there is one size."""
    about = "Mean test accuracy in per cent."
    table = linked.grid(arm.by_train_size, arm.data, arm.links, "train_size", n_images, about)
    drawn = []
    if at_home(arm.rows)["train_size"].nunique() > 1:
        behind = arm.by_train_size
        shows = f"Test accuracy against the number of training images (log scale), by model; {arm.words}"
        marks = (captions.RUNS, captions.MEANS, captions.bars(behind), captions.CHANCE, captions.side_by_side(behind))
        drawn.append(
            Drawing(
                f"accuracy-by-train-size-{arm.number}",
                partial(figures.accuracy_by_train_size, arm.rows, styles),
                behind,
                shows,
                captions.legend(*marks),
            )
        )
    return Section(arm.words, tuple(drawn), (table,))
