"""Accuracy against test resolution, ways of testing, ways of carrying positions, the matrix of resolutions."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

import models
from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images, pixels
from analysis.frame.arms import alike_but_for
from analysis.frame.carrying import choices, ways_words
from analysis.frame.cells import at_home, usual
from analysis.frame.rows import each_group, each_row
from analysis.questions.comparisons.verdicts import interval_words
from analysis.questions.resolution import figures
from analysis.questions.resolution.matrix import RESOLUTION, resolution_matrix
from analysis.questions.resolution.numbers import numbers
from analysis.statistics.intervals import Estimate, unit_noun
from analysis.wording import ABSENT
from benchmarks.plan.run import Run

PANELS = "a panel a model"


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """Each arm at other test resolutions; and arms that differ in training resolution alone, side by side."""
    known = [(arm, arm.once(numbers)) for arm in arms]
    demonstrated = bool(arms) and all(arm.arm.interpolation_only for arm in arms)
    return [
        Chapter(
            "test-resolution",
            "test resolution",
            "Interpolation demonstration" if demonstrated else "Accuracy against test resolution",
            tuple(by_test_resolution(arm, styles) for arm in arms if arm.tested_elsewhere),
            further=demonstrated,
        ),
        Chapter(
            "ways-of-testing",
            "ways of testing",
            "What another resolution changes",
            tuple(by_way_of_testing(arm) for arm, of in known if not of.by_way.empty),
            (
                "More pixels change an image's scale, the number of tokens and what BatchNorm sees, all at "
                "once. The same networks, tested in ways that keep these apart:"
            ),
        ),
        Chapter(
            "carrying",
            "carrying positions",
            "Ways of carrying positions",
            tuple(carrying(arm) for arm, of in known if not of.carrying.accuracy.empty),
        ),
        Chapter("resolution-matrix", "training resolution", "Training and test resolution", tuple(matrices(arms))),
    ]


def summaries(table: pd.DataFrame, arm: ReportedArm) -> Table:
    """`summary.summary` at its largest train size. An area over another span than that of the study, from
    its smallest to its largest test resolution, names its own: the two are not comparable."""
    size = table["train_size"].max()
    table = table[table["train_size"] == size]
    span, others = (table["from"].min(), table["to"].max()), False
    rows, noun = [], unit_noun(arm.runs)
    for row in each_row(table.rename(columns={"from": "start", "to": "end"})):
        href = arm.links.cell(row.label, row.train_size)
        signs = linked.signs_of(row)
        notes = [linked.missing_units(n, row.planned_n, noun) for n in (row.n, row.best_accuracy_n, row.best_gain_n)]
        best = Cell(ABSENT) if math.isnan(row.best) else Cell(f"{row.best:.0f} px", href=href)
        area = _share(row, "area", row.n, href, notes[0], signs)
        if not math.isnan(row.area) and (row.start, row.end) != span:
            area, others = replace(area, aside=f"{row.start} to {row.end} px"), True
        there = _share(row, "best_accuracy", row.best_accuracy_n, href, "" if math.isnan(row.best) else notes[1])
        cells = (area, best, there, _gain(row, href, notes[2]))
        rows.append(Row(linked.model_name(row.label, arm.data, arm.links, row.line), cells))
    about = (
        f"Curves over test resolution, trained on {wording.number(size)} images at {arm.arm.resolution} px. Area: "
        f"test accuracy averaged over log resolution, {span[0]} to {span[1]} px"
        f"{' or the span below it' if others else ''}. Best test resolution: chosen on validation; accuracy there and "
        "gain over the training resolution: on test."
    )
    head = ("area, per cent", "best test resolution", "accuracy there", "gain, points")
    return Table(
        about, "model", head, tuple(rows), n=linked.units(table, noun, ("n", "best_accuracy_n", "best_gain_n"))
    )


def _share(row: Any, name: str, n: int, href: str, note: str, signs: str = "") -> Cell:
    mean, low, high = (getattr(row, name + end) for end in ("", "_low", "_high"))
    estimate = Estimate(mean, low, high, n)
    if math.isnan(estimate.mean):
        return Cell(ABSENT, note=note, href=href if note else "")
    return Cell(wording.mean(estimate), wording.interval(estimate) or "no interval", note, signs, href)


def _gain(row: Any, href: str, note: str) -> Cell:
    estimate = Estimate(row.best_gain, row.best_gain_low, row.best_gain_high, row.best_gain_n)
    if math.isnan(estimate.mean) or row.best == row.home:
        return Cell(ABSENT)
    return Cell(wording.difference(estimate), wording.interval(estimate) or "no interval", note, href=href)


def by_test_resolution(arm: ReportedArm, styles: Styles) -> Section:
    """Accuracy, and where it may be claimed retention, against test resolution; the largest train size first."""

    def view(table: pd.DataFrame, size: int, what: str) -> linked.Table:
        about = f"{what}, trained on {wording.number(size)} images at {arm.arm.resolution} px, in per cent."
        at = table[table["train_size"] == size]
        return linked.grid(at, arm.data, arm.links, "test_resolution", pixels(arm), about)

    of = arm.once(numbers)
    *smaller, largest = sorted(arm.runs["train_size"].unique().tolist())
    tables = [view(of.accuracy, largest, "Mean test accuracy")]
    if not of.retention.empty and not no_retention(arm, largest):
        tables.append(view(of.retention, largest, "Retention of accuracy above chance"))
    if not of.summary.empty:
        tables.append(summaries(of.summary, arm))
    folded = tuple((n_images(size), view(of.accuracy, size, "Mean test accuracy")) for size in smaller)
    rows = usual(arm.rows[arm.rows["train_size"] == largest])
    drawn = []
    if rows["test_resolution"].nunique() > 1:
        behind = of.accuracy[of.accuracy["train_size"] == largest]
        legend = captions.legend(
            captions.RUNS,
            captions.MEANS,
            captions.bars(behind, names="line"),
            captions.CHANCE,
            "vertical line: the training resolution",
        )
        drawn.append(
            Drawing(
                f"accuracy-by-test-resolution-{arm.number}",
                partial(figures.accuracy_by_test_resolution, rows, styles),
                behind,
                f"Test accuracy against test resolution, by model, with {n_images(largest)}",
                legend,
                arm.words,
            )
        )
        if not of.retention.empty and not no_retention(arm, largest):
            kept = of.retention[of.retention["train_size"] == largest]
            marks = captions.legend(captions.RUNS, captions.MEANS, captions.bars(kept, names="line"))
            draw = partial(figures.accuracy_by_test_resolution, rows, styles, "retention")
            shows = f"Retention of accuracy above chance against test resolution, by model, with {n_images(largest)}"
            drawn.append(Drawing(f"retention-by-test-resolution-{arm.number}", draw, kept, shows, marks, arm.words))
    remark = " ".join(filter(None, (upsampling(arm), no_retention(arm, largest), filled_maps(arm))))
    return Section(arm.words, tuple(drawn), tuple(tables), folded, remark)


def no_retention(arm: ReportedArm, size: int) -> str:
    """Why no retention with so many images is shown; '' where there is some, and where it is not claimed at all."""
    table = arm.once(numbers).retention
    if table.empty or table.loc[table["train_size"] == size, "mean"].notna().any():
        return ""
    home = at_home(arm.rows)
    if home[home["train_size"] == size].empty:
        return f"No retention is shown: with {n_images(size)}, no run was tested at {arm.arm.resolution} px."
    return (
        f"No retention is shown: with {n_images(size)}, no run is two standard errors above chance at "
        f"{arm.arm.resolution} px, so there is nothing to retain."
    )


def filled_maps(arm: ReportedArm) -> str:
    """At which other resolutions models fill odd maps with zeros, as they do not in training: 'convnext and swin: at 12
    and 20 px'. '' where none does."""
    runs = {run.id: run for run in arm.study.every_run}
    of_label = {row.label: runs[row.run] for row in each_row(arm.runs, ["label", "run"]) if row.run in runs}
    sides = sorted(arm.rows["test_resolution"].unique().tolist())
    found: dict[tuple[int, ...], list[str]] = {}
    for label, run in of_label.items():
        filled = {side for side in (*sides, run.resolution) if _fills(run, side)}
        if filled and run.resolution not in filled:
            found.setdefault(tuple(sorted(filled)), []).append(label)
    if not found:
        return ""
    phrases = [f"{wording.names(labels)}: at {wording.names(map(str, at))} px" for at, labels in found.items()]
    return (
        f"Some models fill odd maps with zeros before they halve them, which they do not at {arm.arm.resolution} px "
        f"({'; '.join(phrases)}): there, filling and resolution change together."
    )


def _fills(run: Run, side: int) -> bool:
    try:
        return models.fills_maps(run.model, size=run.size, options=run.options, resolution=side)
    except models.ModelError:  # of a plugin that is not loaded: nothing is known
        return False


def upsampling(arm: ReportedArm) -> str:
    """What must be said of a data set whose images are too small to be tested at other sizes; '' for any other."""
    if not arm.arm.interpolation_only:
        return ""
    native = arm.data.dataset.native_resolution
    return (
        f"The images have {native}x{native} pixels. Other sizes are interpolated from these and hold no more "
        "detail: this shows that the networks can be tested there, and nothing about architectures is claimed "
        "from it."
    )


WAYS = {  # what a word in the name of a line means
    "resize": "resize: the whole image with more or fewer pixels; scale and number of tokens change together",
    "canvas": "canvas: the image as in training in the middle of a larger canvas of the training images' mean (of a "
    "smaller one: its middle); the scale stays, tokens come or go around it",
    "patch": "patch: resized, with patches that grow as the image does (their kernel by the pseudo-inverse of the "
    "resizing, as FlexiViT's); the number of tokens stays",
    "carry": "carry: another way than the model's default of carrying positions to the grid",
    "crop 0": "crop: the middle of the image, by this share of its side",
    "crop from": "crop from: the middle of the image, after its shorter side was resized to so many pixels",
    "BatchNorm": "BatchNorm re-estimated: its statistics are taken anew from the run's training images as shown there",
    "with its mirror": "with its mirror image: the logits are the mean of an image's and of its mirror image's",
}


def by_way_of_testing(arm: ReportedArm) -> Section:
    """What another resolution changes, part by part: a row for each way of testing a model. Evaluations that show the
    whole image and those that crop, and so change the apparent size of what is in it, stand in tables of their own."""
    of = arm.once(numbers)
    table = of.by_way
    size = wording.number(table["train_size"].max())
    cropped = table["line"].str.contains(", crop ")
    tables = []
    for chunk, what in ((table[~cropped], "whole images"), (table[cropped], "the middle of each image")):
        if len(chunk):
            about = f"Mean test accuracy, {what}, trained on {size} images at {arm.arm.resolution} px, in per cent."
            tables.append(linked.grid(chunk, arm.data, arm.links, "test_resolution", pixels(arm), about))
    if not of.summary_by_way.empty:
        tables.append(summaries(of.summary_by_way, arm))
    phrases = [meaning for word, meaning in WAYS.items() if table["line"].str.contains(f", {word}", regex=False).any()]
    remark = f"{'. '.join(text[0].upper() + text[1:] for text in phrases)}."
    drawn = []
    if table["mean"].notna().any():
        shows = f"Test accuracy against test resolution, by way of testing, with {size} images"
        draw = partial(figures.ways_of_testing, table)
        marks = _lines(table, "line")
        drawn.append(Drawing(f"ways-of-testing-{arm.number}", draw, table, shows, marks, arm.words))
    remark = f"{remark} {upsampling(arm)}".rstrip()
    return Section(arm.words, tuple(drawn), tuple(tables), remark=remark)


def _lines(table: pd.DataFrame, by: str) -> str:
    """What the marks of curves mean, in panels of a model each, where the bars of several lines of one are shifted."""
    known = table.dropna(subset=["mean"])
    several = known[known.groupby("label")[by].transform("nunique") > 1]
    return captions.legend(PANELS, captions.MEANS, captions.bars(several if len(several) else table, names=by))


def carrying(arm: ReportedArm) -> Section:
    """Each model's default way of carrying positions beside the one chosen on validation, and the ablation by it."""
    of, size = arm.once(numbers).carrying, arm.runs["train_size"].max()
    images = wording.number(size)
    heads = pixels(arm)
    tables = []
    for table, what in ((of.accuracy, "Mean test accuracy"), (of.retention, "Retention")):
        about = f"{what}, trained on {images} images at {arm.arm.resolution} px, in per cent."
        at = table[table["train_size"] == size]
        tables.append(linked.grid(at, arm.data, arm.links, "test_resolution", heads, about))
    tables.append(summaries(of.summary, arm))
    if not of.positions.empty:
        for reference, table in each_group(of.positions, "reference"):
            about = (
                f"Test accuracy minus that of {reference}, each by the way chosen on validation where it has several, "
                f"in points; trained on {images} images."
            )
            view = linked.grid(table, arm.data, arm.links, "test_resolution", heads, about, difference=True)
            tables.append(replace(view, interval=interval_words(table, arm.arm.resolution)))
    there = choices(arm.rows)
    phrases = [
        f"{label}: {words}" for label in dict.fromkeys(there["label"]) if (words := ways_words(there, label, size))
    ]
    if phrases:
        remark = f"Chosen on validation, with {images} images: {'. '.join(phrases)}."
    else:
        remark = "There is no validation part to choose a way on, so only the ways themselves are shown."
    behind = of.accuracy[of.accuracy["train_size"] == size]
    shows = f"Test accuracy against test resolution, by way of carrying positions, with {images} images"
    draw = partial(figures.ways_of_testing, behind, "default")
    drawn = (Drawing(f"carrying-{arm.number}", draw, behind, shows, _lines(behind, "line"), arm.words),)
    return Section(arm.words, drawn, tuple(tables), remark=remark)


def matrices(arms: Sequence[ReportedArm]) -> list[Section]:
    """Training against test resolution, for arms that differ in training resolution alone. A number is of one arm."""
    made = []
    data = [arm.data for arm in arms]
    for number, places in enumerate(alike_but_for(data, RESOLUTION), start=1):
        group = sorted((arms[place] for place in places), key=lambda arm: arm.arm.resolution)
        matrix = resolution_matrix([arm.data for arm in group])
        if matrix.empty:
            continue
        sides = wording.names(str(arm.arm.resolution) for arm in group)
        words = group[0].arm.words.replace(f"trained at {group[0].arm.resolution} px", f"trained at {sides} px")
        drawn = []
        if matrix["mean"].notna().any():
            size = wording.number(matrix["train_size"].max())
            draw_map, draw_curves = (partial(one, matrix) for one in (figures.heat_map, figures.matrix_curves))
            by = f"Test accuracy by test resolution and training resolution, with {size} images"
            curves = f"Test accuracy against test resolution, a line for each training resolution, with {size} images"
            cells, marks = _cells(matrix), _lines(matrix, "train_resolution")
            drawn = [
                Drawing(f"resolution-matrix-{number}", draw_map, matrix, f"{by}, as heat maps", cells, words),
                Drawing(f"resolution-matrix-curves-{number}", draw_curves, matrix, curves, marks, words),
            ]
        remark = (
            "Rows of different training resolutions are different conditions, equal in all else; they stand beside "
            f"each other here and are mixed in no number. {upsampling(group[0])}"
        )
        made.append(Section(words, tuple(drawn), (_matrix(matrix, group),), remark=remark.rstrip()))
    return made


HEAT = f"{PANELS}; cells: mean test accuracy in per cent, one colour scale for all models"


def _cells(matrix: pd.DataFrame) -> str:
    """What the cells of a heat map are; some are empty where not all places were measured."""
    places = matrix["train_resolution"].nunique() * matrix["test_resolution"].nunique() * matrix["label"].nunique()
    return captions.legend(HEAT, "empty: not measured" if matrix["mean"].notna().sum() < places else "")


def _matrix(matrix: pd.DataFrame, group: Sequence[ReportedArm]) -> Table:
    """Rows of models and training resolutions; columns of test resolutions, empty where none was asked for."""
    across = sorted(matrix["test_resolution"].unique().tolist())
    rows: dict[str, list[Row]] = {}
    for arm in group:
        side = arm.arm.resolution
        chunk = matrix[matrix["train_resolution"] == side]
        chunk = chunk.assign(line=chunk["line"] + f", trained at {side} px")
        view = linked.grid(chunk, arm.data, arm.links, "test_resolution", str, "")
        labels = chunk.drop_duplicates(["label", "line"])["label"]
        for label, row in zip(labels, view.rows, strict=True):
            there = dict(zip(view.head, row.cells, strict=True))
            cells = tuple(there.get(str(at), Cell("")) for at in across)
            rows.setdefault(label, []).append(Row(row.name, cells))
    size = wording.number(matrix["train_size"].max())
    about = f"Mean test accuracy in per cent by training and test resolution, trained on {size} images."
    head = tuple(f"{at} px" for at in across)
    n = linked.units(matrix, unit_noun(group[0].data.runs))
    return Table(about, "model", head, tuple(row for of_label in rows.values() for row in of_label), n=n)
