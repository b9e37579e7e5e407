"""The sections of the page that compare models: families, likelihood, error consistency, shares of variance."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.comparisons import figures, verdicts
from analysis.questions.comparisons.numbers import numbers
from analysis.statistics import intervals
from analysis.statistics.intervals import Estimate
from analysis.wording import ABSENT

SIMULTANEOUS = "95 % intervals that hold simultaneously at each train size"
RESAMPLED = "percentile 95 % intervals of a bootstrap over seeds and test images"


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """Declared families, another test set, likelihood, error consistency, shares of variance."""
    known = [(arm, arm.once(numbers)) for arm in arms]
    chapter = partial(Chapter, further=True)
    return [
        chapter(
            "comparisons",
            "comparisons",
            "Comparisons",
            tuple(families(arm) for arm, of in known if not of.families.empty),
            (
                "The families of comparisons that the study declares, run by run with the same draw and seed. "
                "All intervals of a family at one train size hold together."
            ),
        ),
        chapter(
            "test-set",
            "test set",
            "With another test set",
            tuple(resampled(arm) for arm, of in known if not of.resampled.empty),
            (
                "All other intervals are conditional on this test set. Here its images are resampled as well as "
                "the seeds. Percentile intervals over few seeds are too narrow (three seeds: 79 % instead of "
                "95), so they are no replacement for those above: compare the standard errors."
            ),
        ),
        chapter(
            "likelihood",
            "likelihood",
            "Accuracy, likelihood and calibration",
            tuple(measures(arm) for arm, of in known if of.measures["done"].sum()),
            "Calibration error: 15 bins of equal width, confidence of the predicted class.",
        ),
        chapter(
            "consistency",
            "errors",
            "Error consistency",
            tuple(consistency(arm) for arm, of in known if not of.consistency.empty),
            (
                "Do networks err on the same images, beyond what their accuracies make by chance? 1: on exactly "
                "the same; 0: as independent networks do. The diagonal, the same model with another seed, is "
                "the reference; two models can agree more than that. Means without interval: the pairs share "
                "networks."
            ),
        ),
        chapter(
            "variance",
            "variance",
            "Where the spread comes from",
            tuple(variance(arm) for arm, of in known if not of.variance.empty),
            (
                "Draws and seeds are crossed here, so the variance of a run's accuracy parts into that of the "
                "subset, of the seed (initialisation, order and augmentation), and of their interaction, from "
                "which one run a pair cannot tell the residual. Estimates of so few are rough; one below 0 is "
                "shown as 0."
            ),
        ),
    ]


def families(arm: ReportedArm) -> Section:
    """Each declared family: its differences by train size, and what their intervals rest on. Pairs that an earlier
    family judges are folded: one pair has one verdict."""
    of, tables, folded = arm.once(numbers), [], []
    judged = arm.once(verdicts.all_verdicts)
    for family, group in each_group(of.families, "family"):
        first = next(each_row(group))
        against = f"minus {first.reference}" if first.against_one else "in pairs"
        about = f"“{family}”: test accuracy {against}, in points."
        own = judged.applied(group)["family"] == family
        sizes = sorted(group["train_size"].unique())
        if own.any():
            view = linked.grid(group[own], arm.data, arm.links, "train_size", n_images, about, difference=True)
            tables.append(replace(view, rows=(*view.rows, *_basis(group, sizes, arm)), interval=SIMULTANEOUS))
        if not own.all():
            view = linked.grid(group[~own], arm.data, arm.links, "train_size", n_images, about, difference=True)
            title = f"“{family}”: pairs that an earlier family judges"
            folded.append((title, replace(view, interval=f"{SIMULTANEOUS} in this family")))
    varies = intervals.covers(arm.runs)
    remark = (
        f"Units of the intervals: {varies}. The test set is the same for all, unless trust says that images differ."
    )
    if not of.families["alike"].all():
        remark += (
            " “Not alike”: one model's residuals vary more than any of equal models would in 95 % of families; "
            "intervals between the more variable models are too narrow there, between the others too wide."
        )
    if of.families["collapsed"].any():
        remark += " A collapsed seed widens all intervals of its family at that size, as the residual is of all models."
    return Section(arm.words, (), tuple(tables), tuple(folded), remark)


def _basis(table: pd.DataFrame, sizes: list[int], arm: ReportedArm) -> tuple[Row, ...]:
    """The rows below a family's differences: n, the residual, and the critical value."""
    first = {row.train_size: row for row in reversed(list(each_row(table)))}
    noun = intervals.unit_noun(arm.runs)

    def row(name: str, text: Any, note: Any, mark: Any = lambda at: "") -> Row:
        cells = (Cell(text(first[n]), interval=note(first[n]), note=mark(first[n])) for n in sizes)
        return Row(Cell(name), tuple(cells), basis=True)

    return (
        row("units", lambda at: str(at.blocks), lambda at: f"{noun}, {at.models} models"),
        row(
            "residual, points",
            lambda at: _digits(100 * at.residual),
            lambda at: f"by model {_digits(100 * at.residual_low)} to {_digits(100 * at.residual_high)}",
            lambda at: "; ".join(["not alike"] * (not at.alike) + [f"collapsed: {at.collapsed_models}"] * at.collapsed),
        ),
        row("critical value of |t|", lambda at: _digits(at.critical), lambda at: f"{at.df} degrees of freedom"),
    )


def _digits(value: float, digits: int = 2) -> str:
    return ABSENT if math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def resampled(arm: ReportedArm) -> Section:
    """The crossed bootstrap of the declared families, folded: its intervals state no verdict."""
    folded = []
    for family, group in each_group(arm.once(numbers).resampled, "family"):
        about = (
            f"“{family}”, {n_images(group['train_size'].iloc[0])}: seeds and test images resampled; standard errors by "
            "resampling seeds alone, images alone, and both, in points."
        )
        head = ("difference", "seeds", "images", "both", "pairs", "images in the test part")
        rows = []
        for row in each_row(group):
            estimate = Estimate(row.mean, row.low, row.high, row.n)
            href = arm.links.pair(row.label, row.reference, row.train_size)
            text = ABSENT if row.n == 0 else wording.difference(estimate)
            errors = (_digits(100 * value) for value in (row.se_seeds, row.se_images, row.se_both))
            pairs = Cell(f"{row.n}/{row.planned}")
            cells = (
                Cell(text, wording.interval(estimate), href=href),
                *map(Cell, errors),
                pairs,
                Cell(f"{row.images:,}"),
            )
            rows.append(Row(Cell(row.line, href=arm.links.model(row.label)), cells))
        noun = "pairs" if group["n"].equals(group["blocks"]) else intervals.unit_noun(arm.runs)
        n = linked.units(group, noun, ("blocks",))
        folded.append((f"“{family}”", Table(about, "model", head, tuple(rows), n=n, interval=RESAMPLED)))
    return Section(arm.words, (), (), tuple(folded))


HEADS = {"accuracy": "accuracy, %", "nll": "negative log-likelihood, nats", "calibration": "calibration error, %"}


def measures(arm: ReportedArm) -> Section:
    """Accuracy, likelihood and calibration side by side; the largest train size first, the others folded."""
    table = arm.once(numbers).measures
    known = [name for name in HEADS if table.loc[table["measure"] == name, "done"].sum()]

    def view(size: int) -> Table:
        at = table[table["train_size"] == size]
        rows = []
        for label, group in each_group(at, "label"):
            by_name = {row.measure: row for row in each_row(group)}
            href = arm.links.cell(label, size)
            cells = tuple(_measure(by_name[name], name, arm, href) for name in known)
            rows.append(Row(linked.model_name(label, arm.data, arm.links), cells))
        about = f"Test part, {n_images(size)}; means over runs."
        n = linked.units(at[at["measure"].isin(known)], intervals.unit_noun(arm.runs))
        return Table(about, "model", tuple(HEADS[name] for name in known), tuple(rows), n=n)

    *smaller, largest = sorted(arm.runs["train_size"].unique().tolist())
    remark = "" if "calibration" in known else "Calibration was not measured when these runs were evaluated."
    folded = tuple((n_images(size), view(size)) for size in smaller)
    return Section(arm.words, (), (view(largest),), folded, remark)


def _measure(row: Any, name: str, arm: ReportedArm, href: str) -> Cell:
    estimate = estimate_of(row)
    noun = intervals.unit_noun(arm.runs)
    note = linked.missing_units(row.n, row.planned_n, noun)
    if estimate.n == 0:
        return Cell(ABSENT, note=note, href=href)
    if name != "nll":
        return Cell(wording.mean(estimate), wording.interval(estimate) or "no interval", note, href=href)
    ends = f"[{estimate.low:.3f}, {estimate.high:.3f}]" if estimate.has_interval else "no interval"
    return Cell(f"{estimate.mean:.3f}", ends, note, href=href)


def consistency(arm: ReportedArm) -> Section:
    """Error consistency, models by models; on the diagonal the reference, the same model with another seed."""
    table = arm.once(numbers).consistency
    size = int(table["train_size"].iloc[0])
    rows = []
    for label, group in each_group(table, "label"):
        href = arm.links.cell(label, size)
        cells = []
        for row in each_row(group):
            own = row.label == row.other
            cells.append(
                Cell(_digits(row.kappa), wording.count(row.pairs, "pairs") + (", reference" if own else ""), href=href)
            )
        rows.append(Row(linked.model_name(label, arm.data, arm.links), tuple(cells)))
    planned = arm.runs[arm.runs["train_size"] == size]
    kept = len(set(" ".join(table["runs"]).split()))
    about = (
        f"Cohen’s kappa of correctness, {n_images(size)}, mean over pairs of networks with different draws and seeds; "
        "reference: the same model with another seed; "
        f"predictions are kept of {kept} of {wording.count(len(planned), 'runs')}."
    )
    drawn = []
    if table["kappa"].notna().any() and table["label"].nunique() > 1:  # one model has but the reference: no map
        shows = f"Error consistency (Cohen’s kappa) by model, as a heat map, {n_images(size)}"
        marks = captions.legend("diagonal: the same model with another seed")
        draw = partial(figures.consistency_map, table)
        drawn.append(Drawing(f"error-consistency-{arm.number}", draw, table, shows, marks, arm.words))
    return Section(arm.words, tuple(drawn), (Table(about, "model", tuple(table["other"].unique()), tuple(rows)),))


PARTS = {"subset": "subset (draw)", "seed": "initialisation (seed)", "interaction": "interaction and residual"}


def variance(arm: ReportedArm) -> Section:
    """Shares of variance by model, a table a train size."""
    tables = []
    for size, group in each_group(arm.once(numbers).variance, "train_size", ordered=True):
        rows = []
        for row in each_row(group):
            href = arm.links.cell(row.label, size)
            note = "" if row.done == row.planned else f"{row.done}/{row.planned} runs"
            cells = [Cell(_digits(100 * row.total), note=note, href=href)]
            for name in PARTS:
                below = "estimate below 0" if name in row.negative.split() else ""
                share = getattr(row, name)
                cells.append(Cell(ABSENT if math.isnan(share) else f"{100 * share:.0f} %", below, href=href))
            cells.append(Cell(f"{row.draws} × {row.seeds}"))
            rows.append(Row(linked.model_name(row.label, arm.data, arm.links), tuple(cells)))
        head = ("standard deviation of a run, points", *PARTS.values(), "draws × seeds")
        tables.append(Table(f"Shares of the variance of test accuracy, {n_images(size)}.", "model", head, tuple(rows)))
    return Section(arm.words, (), tuple(tables))
