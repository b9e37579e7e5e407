"""The sections on learning curves: images needed at equal accuracy, fits, and budgets side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis import across_arms, curve_figures, data_efficiency, fits, page, wording
from analysis.cells import estimate_of, summarise, trained
from analysis.findings import Findings
from analysis.page import Cell, Row, Table
from analysis.palette import Look
from analysis.sections import LEGEND, Drawing, Section
from analysis.statistics import Estimate, unit_noun
from analysis.tables import each_group, each_row
from analysis.wording import ABSENT, STALE, STARVED

FACTORS = (
    "Factors: bars are 95 % t-intervals over log factors; triangles are bounds, where the accuracy of at least one "
    "draw lies beyond the other curve, and point to where the factor is. Fits: bars are t-intervals of the mean error."
)


def needed(found: Findings, styles: Mapping[str, Look]) -> Section:
    """Data-equivalence factors at each train size and as a function of accuracy, crossings, and fitted curves."""
    of, drawn, tables = found.needed, [], []
    folded = []
    if not of.by_train_size.empty:
        reference = of.by_train_size["reference"].iloc[0]
        about = (
            f"Images used over the images with which {reference} is as accurate, at each train size: above 1, the "
            "model needs more. ≥ and ≤: a bound, because the accuracy of a draw lies beyond the other curve."
        )
        tables.append(_factors(of.by_train_size, found, "train_size", lambda n: f"n = {wording.number(n)}", about))
        drawn.append(
            Drawing(f"data-factor-{found.number}", curve_figures.factors(of.by_train_size, styles), of.by_train_size)
        )
        tables.append(_crossings(of.crossings, found))
    if not of.by_accuracy.empty:
        about = f"The same by accuracy: images needed for it over those that {reference} needs."
        heads = lambda share: f"{100 * share:.0f} %"  # noqa: E731
        folded.append(("by accuracy", _factors(of.by_accuracy, found, "accuracy", heads, about)))
        if of.by_accuracy["accuracy"].nunique() > 1:
            figure = curve_figures.factors(of.by_accuracy, styles, "accuracy")
            drawn.append(Drawing(f"data-factor-by-accuracy-{found.number}", figure, of.by_accuracy))
    if not of.fits.empty:
        tables.append(_fits(of.fits, found))
        figure = curve_figures.fitted_curves(found.data.rows, styles)
        drawn.append(Drawing(f"fitted-curves-{found.number}", figure, of.fits))
    alt = f"Images needed for equal accuracy, and fitted curves, {found.arm.words}; the tables below have the numbers."
    return Section(found.arm.words, tuple(drawn), alt, tuple(tables), tuple(folded), legend=FACTORS)


def _signs(row: Any) -> str:
    return (STARVED if row.starved else "") + (STALE if row.stale else "")


def _missing(row: Any, found: Findings) -> str:
    """'2/3 seeds' where not all planned curves are whole."""
    return "" if row.done == row.planned else f"{row.done}/{row.planned} {unit_noun(found.data.runs)}"


def _factors(table: pd.DataFrame, found: Findings, columns: str, head: page.Head, about: str) -> Table:
    across = sorted(table[columns].unique().tolist())
    rows = []
    for label, mine in each_group(table, "label"):
        by_place = {getattr(row, columns): row for row in each_row(mine)}
        cells = tuple(_factor(by_place[at], found, columns) if at in by_place else Cell("") for at in across)
        rows.append(Row(page.model_name(label, found.data, found.links), cells))
    return Table(about, "model", tuple(map(head, across)), tuple(rows), n=page.units(table, unit_noun(found.data.runs)))


def _factor(row: Any, found: Findings, columns: str) -> Cell:
    estimate = estimate_of(row)
    of_cell = columns == "train_size"
    href = found.links.cell(row.label, row.train_size) if of_cell else found.links.model(row.label)
    signs, note = _signs(row), _missing(row, found)
    if row.bound and not note:
        note = f"{row.reached} of {row.n} on the curve"
    if math.isnan(row.mean):
        return Cell(ABSENT, wording.factor_interval(estimate), note, signs, href)
    sign = {"at least": "≥ ", "at most": "≤ "}.get(row.bound, "")
    none = "" if row.bound else "no interval"
    interval = wording.factor_interval(estimate) or none
    return Cell(f"{sign}{wording.times(row.mean)}×", interval, note, signs, href)


def _crossings(table: pd.DataFrame, found: Findings) -> Table:
    reference = table["reference"].iloc[0]
    rows = []
    for row in each_row(table):
        if row.pieces == "-":
            pieces = ABSENT
        else:
            pieces = row.pieces.replace(" [", ", [").replace("[", "").replace("]", "") or "none"
            pieces = pieces.replace("inf", "∞").replace(", ", " – ")
        cells = (
            Cell(pieces, note=_missing(row, found), signs=_signs(row), href=found.links.model(row.label)),
            Cell("yes" if row.changes else "not seen"),
            Cell(row.words),
        )
        rows.append(Row(page.model_name(row.label, found.data, found.links), cells))
    about = (
        f"N*, the train sizes at which a model's curve and that of {reference} cannot be told apart: where the paired "
        "95 % t-interval contains 0, between sizes along log n. The level holds at each size, not for all together."
    )
    head = ("N*, images", "order changes", "in words")
    return Table(about, "model", head, tuple(rows), "words", page.units(table, unit_noun(found.data.runs)))


def _fits(table: pd.DataFrame, found: Findings) -> Table:
    rows = []
    for row in each_row(table):
        href = found.links.model(row.label)
        held_out = {form: getattr(row, f"held_out_{form}") for form in fits.SIZES_NEEDED}
        known = "; ".join(f"{form} {100 * off:+.0f} %" for form, off in held_out.items() if not math.isnan(off))
        at_chance = f"left out, at chance: n = {row.left_out.replace(' ', ', ')}" if row.left_out else ""
        cells = (
            Cell(fits.WORDS[row.form], note=_missing(row, found), signs=_signs(row), aside=at_chance, href=href),
            _parameter(row, "slope", href),
            _parameter(row, "b", href),
            _parameter(row, "c", href, 100, " %"),
            _parameter(row, "doubled", href, 100, " %"),
            Cell(known.replace("-", "−")),
            Cell(row.said or ABSENT),
        )
        rows.append(Row(page.model_name(row.label, found.data, found.links), cells))
    head = (
        *("form", "slope without c", "b", "c", "error at twice the largest n"),
        *("largest n, predicted without it", "not identified"),
    )
    about = (
        "Test error e against n, fitted draw by draw to log e. The form is the one that predicts the largest size best "
        "without having seen it. Nothing is said beyond twice that."
    )
    return Table(about, "model", head, tuple(rows), "ledger", page.units(table, unit_noun(found.data.runs)))


def _parameter(row: Any, name: str, href: str, scale: float = 1, unit: str = "") -> Cell:
    mean, low, high = (scale * getattr(row, name + end) for end in ("", "_low", "_high"))
    if math.isnan(mean):
        return Cell(ABSENT)
    estimate = Estimate(mean, low, high, row.n)
    digits = 1 if unit else 2
    interval = f"[{low:.{digits}f}, {high:.{digits}f}]" if estimate.has_interval else "no interval"
    return Cell(f"{mean:.{digits}f}{unit}", interval.replace("-", "−"), href=href)


def budgets(findings: Sequence[Findings], styles: Mapping[str, Look]) -> list[Section]:
    """Arms that differ in their budget alone, side by side: accuracy, and the accuracy on the training images, which
    says whether a model was starved of steps. The same models in the same order; no number is of two arms."""
    made = []
    for number, places in enumerate(across_arms.budgets([found.data for found in findings]), start=1):
        group = [findings[place] for place in places]
        tables = []
        for what, make in (("Test accuracy", data_efficiency.curve), ("Accuracy on the training images", _trained)):
            for found in group:
                about = f"{what} in per cent, {_budget(found)}; beside n the updates of a run."
                table = make(found.data)
                tables.append(page.grid(table, found.data, found.links, "train_size", _head(found), about))
        panels = [found.data.rows for found in group if len(found.data.rows)]
        drawn = []
        behind = pd.concat([found.by_train_size.assign(arm=found.number) for found in group])
        if panels and pd.concat(panels)["train_size"].nunique() > 1:
            for value, name in (("accuracy", "budgets"), ("train_accuracy", "budgets-training")):
                figure = curve_figures.side_by_side(panels, styles, value)
                drawn.append(Drawing(f"{name}-{number}", figure, behind))
        names = " beside ".join(_budget(found) for found in group)
        alt = f"Test and training accuracy against train size, {names}, in panels; the tables have the numbers."
        remark = (
            "A model that falls behind at small n with fixed epochs, which are few steps there, and not with fixed "
            "steps was starved of steps, not of data. Below the tests: what the same networks reach on their own "
            "training images."
        )
        title = f"{group[0].arm.words}: {names}"
        made.append(Section(title, tuple(drawn), alt, tuple(tables), remark=remark, legend=LEGEND))
    return made


def _budget(found: Findings) -> str:
    return f"{wording.number(found.arm.budget)} {found.arm.budget_kind}"


def _trained(data: Any) -> pd.DataFrame:
    return summarise(trained(data.rows), data.runs, "train_accuracy")


def _head(found: Findings) -> page.Head:
    """The train size, and the updates that runs of it made."""
    known = found.data.runs.dropna(subset=["updates"])

    def head(size: int) -> str:
        updates = known.loc[known["train_size"] == size, "updates"]
        said = f" ({wording.span(updates.min(), updates.max())} updates)" if len(updates) else ""
        return f"n = {wording.number(size)}{said}"

    return head
