"""The main table of a report: accuracy by model and train size; and the figures of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.reported import ReportedArm, begun
from analysis.elements.sections import Chapter, Section, Styles, n_images
from analysis.frame.cells import at_home, by_carry, summarise
from analysis.questions.accuracy import figures
from analysis.questions.accuracy.ranking import DIGITS, accuracy_ranking
from analysis.questions.accuracy.sentences import PLACE
from analysis.questions.comparisons.verdicts import all_verdicts
from analysis.wording import ABSENT, TIED


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """One chapter, with a section for each arm; of one that has not begun, while others have, it says only so."""
    there = begun(arms)
    sections = tuple(
        Section(arm.words, tuple(drawings(arm, styles)), (main_table(arm),))
        if arm in there
        else Section(arm.words, (), (), remark=f"None of its {wording.count(len(arm.runs), 'runs')} has a result yet.")
        for arm in arms
    )
    return [Chapter(PLACE, "accuracy", "Test accuracy", sections, always=True)]


def drawings(arm: ReportedArm, styles: Styles) -> Iterator[Drawing]:
    """Accuracy against train size; where there is one size, by model; nothing of a single number."""
    behind = arm.by_train_size
    if at_home(arm.rows)["train_size"].nunique() > 1:
        marks = captions.legend(captions.RUNS, captions.MEANS, captions.bars(behind), captions.CHANCE)
        draw = partial(figures.accuracy_by_train_size, arm.rows, styles)
        shows = "Test accuracy against training images, by model"
        yield Drawing(f"accuracy-by-train-size-{arm.number}", draw, behind, shows, marks, arm.words)
    elif len(known := behind.dropna(subset=["mean"])) > 1:
        [size] = known["train_size"].unique().tolist()
        marks = captions.legend(
            "points: means", captions.bars(known, rows=True), "hollow: not separable from the highest"
        )
        draw = partial(figures.accuracy_by_model, arm.rows, tied(arm, size), styles)
        shows = f"Test accuracy with {n_images(size)}, by model"
        yield Drawing(f"accuracy-by-model-{arm.number}", draw, known, shows, marks, arm.words)


def main_table(arm: ReportedArm) -> linked.Table:
    """Mean test accuracy, the best of each train size bold and those that are not separable from it marked; and the
    mean rank over train sizes."""
    if at_home(arm.rows).empty and not (away := by_carry(arm.rows)).empty:
        return _elsewhere(arm, away)
    about = "Mean test accuracy in per cent; mean rank by it, over the train sizes that all models have."
    view = linked.grid(arm.by_train_size, arm.data, arm.links, "train_size", n_images, about)
    sizes, ranks = sorted(arm.by_train_size["train_size"].unique().tolist()), mean_ranks(arm.by_train_size)
    leaders = {
        size: ranking.highest
        for size in sizes
        if (ranking := accuracy_ranking(arm.once(all_verdicts), size)) is not None
    }
    level = {size: tied(arm, size) for size in sizes}
    rows = []
    for row, label in zip(view.rows, dict.fromkeys(arm.by_train_size["label"]), strict=True):
        cells = tuple(
            replace(
                cell,
                best=label in leaders.get(size, ()) and len(view.rows) > 1,
                signs=cell.signs + (TIED if label in level[size] else ""),
            )
            for cell, size in zip(row.cells, sizes, strict=True)
        )
        of_all = linked.Cell(f"{ranks[label]:.1f}" if label in ranks else ABSENT, href=arm.links.model(label))
        rows.append(replace(row, cells=(*cells, of_all)))
    return replace(view, head=(*view.head, "mean rank"), rows=tuple(rows))


def _elsewhere(arm: ReportedArm, rows: pd.DataFrame) -> linked.Table:
    """The largest train size at each test resolution, where nothing was tested at the training resolution: what was
    measured of networks as they are, at sizes that are not their own."""
    size = arm.runs["train_size"].max()
    sides = sorted(rows["test_resolution"].unique().tolist())
    table = summarise(rows, arm.runs, "accuracy", sides, (0.0, 1.0))
    about = f"Mean test accuracy in per cent by test resolution; none was tested at its own, {arm.arm.resolution} px."
    chosen = table[table["train_size"] == size]
    return linked.grid(chosen, arm.data, arm.links, "test_resolution", lambda side: f"{side} px", about)


def tied(arm: ReportedArm, size: int) -> frozenset[str]:
    """The models that are not separable from the one that leads with so many images."""
    ranking = accuracy_ranking(arm.once(all_verdicts), size)
    return frozenset() if ranking is None else frozenset(label for label, _ in ranking.level)


def mean_ranks(table: pd.DataFrame) -> Mapping[str, float]:
    """The rank of each model by mean accuracy, 1 the highest, equal ones sharing theirs, over the train sizes at which
    every model of `table` (`cells.accuracy_by_train_size`) has a mean; empty without one, or of one model."""
    wide = table.pivot(index="label", columns="train_size", values="mean").dropna(axis="columns")
    if wide.empty or len(wide) < 2:
        return {}
    ranks = wide.round(DIGITS).rank(ascending=False).mean(axis="columns")
    return {str(label): float(mean) for label, mean in ranks.items()}
