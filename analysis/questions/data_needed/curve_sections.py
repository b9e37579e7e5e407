"""The sections on learning curves: images needed at equal accuracy, fits, and budgets side by side."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.palette import Look
from analysis.frame.arms import ArmData
from analysis.frame.cells import estimate_of, summarise, trained
from analysis.frame.rows import each_group, each_row
from analysis.page.findings import Findings
from analysis.questions.accuracy import data_efficiency
from analysis.questions.accuracy.sections import Drawing, Section
from analysis.questions.data_needed import curve_figures, data_needed
from analysis.questions.data_needed.against import Against
from analysis.questions.resolution import across_arms
from analysis.statistics import fits
from analysis.statistics.intervals import Estimate, unit_noun
from analysis.wording import ABSENT

BOUNDS = (
    "Triangles: bounds, where the accuracy of at least one draw lies beyond the other curve; they point to where the "
    "factor is."
)
FACTOR_INTERVALS = (
    "95 % t-intervals over log factors; of a bound (≥, ≤) the factors that the paired 95 % t-interval does not exclude"
)


def needed(found: Findings, styles: Mapping[str, Look]) -> Section:
    """Data-equivalence factors at each train size and as a function of accuracy, crossings, and fitted curves."""
    of, drawn, tables = found.needed, [], []
    folded = []
    several = len(of.against) > 1
    for place, held in enumerate(of.against, start=1):
        name = f"{found.number}-{place}" if several else str(found.number)
        at, by_size, by_accuracy, crossings = (
            _held(one, held) for one in (of.at_reference, of.by_train_size, of.by_accuracy, of.crossings)
        )
        if not at.empty:
            tables.append(replace(_at_reference(at, found, held), anchor=found.links.needed(place)))
        if not by_size.empty:
            about = (
                f"Images used over the images with which {held.reference} is as accurate, at each train size: above 1, "
                "the model needs more. ≥ and ≤: a bound, because the accuracy of a draw lies beyond the other curve."
            )
            tables.append(_factors(by_size, found, "train_size", _n, about))
            if by_size["mean"].notna().any():
                shows = f"against the number of training images of the model (log scale); {found.arm.words}"
                draw = partial(curve_figures.factors, by_size, styles)
                drawn.append(_drawing(f"data-factor-{name}", draw, by_size, shows))
            tables.append(replace(_crossings(crossings, found), anchor=found.links.crossings(place)))
        if not by_accuracy.empty:
            about = (
                f"The same by accuracy: images needed for it over those that {held.reference} needs. No interval is "
                "given near the ends of the curves, where chance decides whether all draws reach the accuracy."
            )
            title = f"by accuracy, against {held.reference}" if several else "by accuracy"
            folded.append((title, _factors(by_accuracy, found, "accuracy", _accuracy, about)))
            if by_accuracy["accuracy"].nunique() > 1:
                shows = f"against the test accuracy that both reach; {found.arm.words}"
                draw = partial(curve_figures.factors, by_accuracy, styles, "accuracy")
                drawn.append(_drawing(f"data-factor-by-accuracy-{name}", draw, by_accuracy, shows))
    if not of.fits.empty:
        tables.append(_fits(of.fits, found))
        errors = found.by_train_size
        legend = captions.legend(
            "Points: geometric means of error.",
            captions.bars(errors, "95 % t-intervals over log errors"),
            "Lines: fits; dotted: up to twice the largest n.",
            captions.beside(errors),
        )
        shows = (
            "Test error against the number of training images (both log scale), and the curves fitted to it, by model; "
            f"{found.arm.words}"
        )
        draw = partial(curve_figures.fitted_curves, found.data.rows, styles)
        drawn.append(Drawing(f"fitted-curves-{found.number}", draw, of.fits, shows, legend))
    return Section(found.arm.words, tuple(drawn), tuple(tables), tuple(folded))


def _drawing(name: str, draw: Callable[..., Figure], table: pd.DataFrame, against: str) -> Drawing:
    """A figure of factors."""
    reference = table["reference"].iloc[0]
    sure = table[table["bound"] == ""]
    bounds = table["bound"].isin(curve_figures.BOUNDS) & table["mean"].notna()
    legend = captions.legend(
        "Points and lines: geometric means of the factors of draws." if sure["mean"].notna().any() else "",
        captions.bars(sure, "95 % t-intervals over log factors"),
        BOUNDS if bounds.any() else "",
        f"Line at 1: as many images as {reference}.",
        captions.beside(table),
    )
    shows = f"Images needed over those of {reference} for equal accuracy (log scale), {against}"
    return Drawing(name, draw, table, shows, legend)


def _held(table: pd.DataFrame, held: Against) -> pd.DataFrame:
    """The rows of a table that have this reference."""
    return table if table.empty else table[table["reference"] == held.reference]


def _chosen(held: Against) -> str:
    """Why it is the reference."""
    named = wording.names(f"“{family}”" for family in held.families)
    declared = f"{held.reference} is what the study declares {named} to be compared with." if named else ""
    leads = f"{held.reference} leads with {_n(held.train_size)}: it was chosen by looking." if held.leads else ""
    return f"{leads} {declared}".strip()


def _n(size: int) -> str:
    return f"n = {wording.number(size)}"


def _accuracy(share: float) -> str:
    return f"{100 * share:.0f} %"


def _signs(row: Any) -> str:
    return linked.signs_of(row)


def _missing(row: Any, found: Findings) -> str:
    """'2 of 3 seeds; without n = 1,000' where not all planned runs are on the curves."""
    return "; ".join(data_needed.lacks(row.done, row.planned, row.incomplete, unit_noun(found.data.runs)))


def _at_reference(table: pd.DataFrame, found: Findings, held: Against) -> Table:
    """What the sentence on the data needed says, with the accuracies that it compares."""
    n, images = _n(held.train_size), wording.number(held.train_size)
    rows = []
    for row in each_row(table):
        planned = found.data.runs.loc[found.data.runs["label"] == row.label, "train_size"]
        at_size = found.links.cell(row.label, held.train_size) if held.train_size in set(planned) else ""
        why = row.why or "; ".join(data_needed.lacks(row.done, row.planned, row.incomplete, unit_noun(found.data.runs)))
        cells = (
            _factor(row, found.links.model(row.label), why),
            _reached(row, "accuracy", at_size),
            _reached(row, "reference_accuracy", found.links.cell(row.reference, held.train_size)),
        )
        rows.append(Row(linked.model_name(row.label, found.data, found.links), cells))
    about = (
        f"Images needed for what {held.reference} reaches with {n}, over those {images}: above 1, it takes more. "
        "≥ and ≤: a bound, because what the reference reaches in a draw lies beyond the model's curve. "
        f"Test accuracies with {n} in per cent. {_chosen(held)}"
    )
    head = ("images over n", "accuracy", f"that of {held.reference}")
    units = linked.units(table, unit_noun(found.data.runs))
    return Table(about, "model", head, tuple(rows), n=units, interval=f"{FACTOR_INTERVALS}; of accuracies t-intervals")


def _reached(row: Any, column: str, href: str) -> Cell:
    """An accuracy of `data_needed.at_reference`."""
    mean, low, high = (getattr(row, column + end) for end in ("", "_low", "_high"))
    estimate = Estimate(mean, low, high, row.n)
    if math.isnan(mean):
        return Cell(ABSENT, href=href)
    return Cell(f"{100 * estimate.mean:.1f}", wording.interval(estimate) or "no interval", href=href)


def _factors(table: pd.DataFrame, found: Findings, columns: str, head: linked.Head, about: str) -> Table:
    across = sorted(table[columns].unique().tolist())
    sizes = sorted({int(size) for one in table["incomplete"] for size in one.split()})
    if sizes:
        about += f" Left out of curves, because runs are missing: n = {wording.names(map(wording.number, sizes))}."
    rows = []
    for label, mine in each_group(table, "label"):
        by_place = {getattr(row, columns): row for row in each_row(mine)}
        cells = tuple(_factor_at(by_place[at], found, columns) if at in by_place else Cell("") for at in across)
        rows.append(Row(linked.model_name(label, found.data, found.links), cells))
    n = linked.units(table, unit_noun(found.data.runs))
    return Table(about, "model", tuple(map(head, across)), tuple(rows), n=n, interval=FACTOR_INTERVALS)


def _factor_at(row: Any, found: Findings, columns: str) -> Cell:
    of_cell = columns == "train_size"
    href = found.links.cell(row.label, row.train_size) if of_cell else found.links.model(row.label)
    return _factor(row, href, "; ".join(data_needed.lacks(row.done, row.planned, "", unit_noun(found.data.runs))))


def _factor(row: Any, href: str, note: str) -> Cell:
    estimate, signs = estimate_of(row), _signs(row)
    aside = f"{row.reached} of {row.n} on the curve" if row.bound and row.n else ""
    if math.isnan(row.mean):
        return Cell(ABSENT, wording.factor_interval(estimate), note, signs, href, aside)
    sign = {"at least": "≥ ", "at most": "≤ "}.get(row.bound, "")
    none = "" if row.bound else "no interval"
    interval = wording.factor_interval(estimate) or none
    return Cell(f"{sign}{wording.times(row.mean)}×", interval, note, signs, href, aside)


def _crossings(table: pd.DataFrame, found: Findings) -> Table:
    reference = table["reference"].iloc[0]
    rows = []
    for row in each_row(table):
        pieces = ABSENT if row.pieces == "-" else _pieces(row.pieces) or "none"
        cells = (
            Cell(pieces, note=_missing(row, found), signs=_signs(row), href=found.links.model(row.label)),
            Cell("yes" if row.changes else "not seen"),
        )
        rows.append(Row(linked.model_name(row.label, found.data, found.links), cells))
    about = (
        f"N*, the train sizes at which a model's curve and that of {reference} cannot be told apart: where the paired "
        "95 % t-interval contains 0, between sizes along log n. None: the curves do not cross. "
        "“Up to” and “on”: how far beyond the sizes is not known. The level holds at each size, not for all."
    )
    head = ("N*, images", "order changes")
    return Table(about, "model", head, tuple(rows), "ledger", linked.units(table, unit_noun(found.data.runs)))


def _pieces(text: str) -> str:
    """'[0, 1234] [5000, inf]' -> 'up to 1,230; from 5,000 on'."""
    ends = [piece.strip("[]").split(", ") for piece in text.split("] [")] if text else []
    return "; ".join(data_needed.piece_words(float(low), float(high)).removeprefix("at ") for low, high in ends)


def _fits(table: pd.DataFrame, found: Findings) -> Table:
    rows = []
    has_alpha = bool((table["form"] == "m4").any())
    for row in each_row(table):
        href = found.links.model(row.label)
        held_out = {form: getattr(row, f"held_out_{form}") for form in fits.SIZES_NEEDED}
        known = "; ".join(f"{form} {100 * off:+.0f} %" for form, off in held_out.items() if not math.isnan(off))
        at_chance = f"left out, at chance: n = {row.left_out.replace(' ', ', ')}" if row.left_out else ""
        cells = (
            Cell(row.form, note=_missing(row, found), signs=_signs(row), aside=at_chance, href=href),
            _parameter(row, "slope", href),
            _parameter(row, "a", href),
            _parameter(row, "b", href),
            _parameter(row, "c", href, 100, " %"),
            *([_parameter(row, "alpha", href)] if has_alpha else []),
            _parameter(row, "doubled", href, 100, " %"),
            Cell(known.replace("-", "−")),
            Cell(row.said or ABSENT),
        )
        rows.append(Row(linked.model_name(row.label, found.data, found.links), cells))
    head = (
        *("form", "slope without c", "a", "b", "c", *(["alpha"] if has_alpha else []), "error at twice the largest n"),
        *("largest n, predicted without it", "not identified"),
    )
    about = (
        "Test error e against n, fitted draw by draw to log e. The form, of "
        f"{'; '.join(f'{form}: {words}' for form, words in fits.WORDS.items())}, is the one that predicts the largest "
        "size best without having seen it; of equally good ones, that with the fewest parameters. Nothing "
        "is said beyond twice that."
    )
    n = linked.units(table, unit_noun(found.data.runs))
    return Table(about, "model", head, tuple(rows), "ledger", n, "95 % t-intervals over the fits of draws")


def _parameter(row: Any, name: str, href: str, scale: float = 1, unit: str = "") -> Cell:
    mean, low, high = (scale * getattr(row, name + end) for end in ("", "_low", "_high"))
    if math.isnan(mean):
        return Cell(ABSENT)
    estimate = Estimate(mean, low, high, row.n)
    written = wording.times if name == "a" else partial(_decimals, digits=1 if unit else 2)  # a is a scale, of any size
    interval = f"[{written(low)}, {written(high)}]" if estimate.has_interval else "no interval"
    return Cell(f"{written(mean)}{unit}", interval, href=href)


def _decimals(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def _trained(data: ArmData) -> pd.DataFrame:
    return summarise(trained(data.rows), data.runs, "train_accuracy")


MEASURED = (  # column, in words, the table of an arm, the name of the figure, and what it has besides
    ("accuracy", "Test accuracy", data_efficiency.curve, "budgets", captions.CHANCE),
    ("train_accuracy", "Accuracy on the training images", _trained, "budgets-training", ""),
)


def budgets(findings: Sequence[Findings], styles: Mapping[str, Look]) -> list[Section]:
    """Arms that differ in their budget alone, side by side: accuracy, and the accuracy on the training images, which
    says whether a model was starved of steps. The same models in the same order; no number is of two arms."""
    made = []
    for number, places in enumerate(across_arms.budgets([found.data for found in findings]), start=1):
        group = [findings[place] for place in places]
        panels = [found.data.rows for found in group if len(found.data.rows)]
        several = bool(panels) and pd.concat(panels)["train_size"].nunique() > 1
        names = " beside ".join(_budget(found) for found in group)
        title = group[0].arm.words.replace(_budget(group[0]), names)
        tables, drawn = [], []
        for value, what, make, name, chance in MEASURED:
            behind = []
            for found in group:
                table = make(found.data)
                about = f"{what} in per cent, {_budget(found)}."
                view = linked.grid(table, found.data, found.links, "train_size", _n, about)
                tables.append(replace(view, rows=(_updates(found), *view.rows)))
                behind.append(table.assign(arm=found.number))
            if several:
                table = pd.concat(behind)
                marks = (captions.RUNS, captions.MEANS, captions.bars(table), chance, captions.beside(table))
                shows = f"{what} against the number of training images (log scale), by model, a panel a budget; {title}"
                draw = partial(curve_figures.side_by_side, pd.concat(panels), styles, value)
                drawn.append(Drawing(f"{name}-{number}", draw, table, shows, captions.legend(*marks)))
        remark = (
            "A model that falls behind at small n with fixed epochs, which are few steps there, and not with fixed "
            "steps was starved of steps, not of data. Below the tests: what the same networks reach on their own "
            "training images."
        )
        made.append(Section(title, tuple(drawn), tuple(tables), remark=remark))
    return made


def _budget(found: Findings) -> str:
    return f"{wording.number(found.arm.budget)} {found.arm.budget_kind}"


def _updates(found: Findings) -> Row:
    """The updates that the runs of each column made."""
    known = found.data.runs.dropna(subset=["updates"])
    cells = []
    for size in sorted(found.data.runs["train_size"].unique()):
        updates = known.loc[known["train_size"] == size, "updates"]
        cells.append(Cell(wording.span(updates.min(), updates.max())))
    return Row(Cell("updates of a run"), tuple(cells), basis=True)
