"""Images needed for equal accuracy: factors, crossings and fitted curves; and budgets side by side."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images
from analysis.frame.cells import estimate_of
from analysis.frame.rows import each_group, each_row
from analysis.questions.comparisons.verdicts import SEPARATE, all_verdicts
from analysis.questions.data_needed import figures
from analysis.questions.data_needed.baselines import Baseline
from analysis.questions.data_needed.budgets import budgets
from analysis.questions.data_needed.numbers import fits_of, incomplete_words, numbers, piece_words
from analysis.questions.data_needed.sentences import factors_anchor
from analysis.statistics import fits
from analysis.statistics.intervals import Estimate, unit_noun
from analysis.wording import ABSENT

BOUNDS = "triangles: bounds"
FACTORS = "95 % t-intervals"
NO_VERDICT = "“Not separable” is the verdict on the pair's accuracies at that n, whatever the factor's interval."
FACTOR_INTERVALS = (
    "95 % t-intervals over log factors; of a bound (≥, ≤) the factors that no 95 % t-interval excludes, whose end it is"
)


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """The data that each arm's models need; and arms that differ in their budget alone, side by side."""
    known = tuple(needed(arm, styles) for arm in arms if arm.once(numbers).any)
    beside = tuple(budgets(arms, styles))
    return [
        Chapter("data-needed", "data needed", "Images needed for equal accuracy", known, further=True),
        Chapter("budgets", "budgets", "Steps beside epochs: under-trained or short of data", beside),
    ]


def needed(arm: ReportedArm, styles: Styles) -> Section:
    """Data-equivalence factors at each train size and as a function of accuracy, crossings, and fitted curves."""
    of, drawn, tables = arm.once(numbers), [], []
    folded = []
    drawn += list(images_needed(arm, styles))
    several = len(of.baselines) > 1
    for place, baseline in enumerate(of.baselines, start=1):
        name = f"{arm.number}-{place}" if several else str(arm.number)
        at, by_size, by_accuracy, crossings = (
            _held(one, baseline) for one in (of.at_reference, of.by_train_size, of.by_accuracy, of.crossings)
        )
        if not at.empty:
            tables.append(replace(_at_reference(at, arm, baseline), anchor=factors_anchor(arm.number, place)))
        if not by_size.empty:
            about = (
                f"Images used over the images with which {baseline.reference} is as accurate, at each train size: "
                "above 1, the model needs more. ≥ and ≤: a bound, because the accuracy of a draw lies beyond the other "
                f"curve. {NO_VERDICT}"
            )
            tables.append(_factors(by_size, arm, "train_size", n_images, about))
            if by_size["mean"].notna().any():
                shows = "against the model's training images"
                draw = partial(figures.factors, by_size, styles)
                drawn.append(_drawing(f"data-factor-{name}", draw, by_size, shows, arm))
            title = f"crossings with {baseline.reference}, interpolated between train sizes"
            folded.append((title, _crossings(crossings, arm)))
        if not by_accuracy.empty:
            about = (
                f"The same by accuracy: images needed for it over those that {baseline.reference} needs. Near the ends "
                "of the curves, where chance decides whether all draws reach the accuracy, a value that all reach has "
                "no interval. These intervals state no verdict."
            )
            title = f"by accuracy, against {baseline.reference}" if several else "by accuracy"
            folded.append((title, _factors(by_accuracy, arm, "accuracy", _accuracy, about)))
            if by_accuracy.loc[by_accuracy["mean"].notna(), "accuracy"].nunique() > 1:
                shows = "against the test accuracy that both reach"
                draw = partial(figures.factors, by_accuracy, styles, "accuracy")
                drawn.append(_drawing(f"data-factor-by-accuracy-{name}", draw, by_accuracy, shows, arm))
    if not of.fits.empty:
        tables.append(_fits(of.fits, arm))
        errors = arm.by_train_size
        legend = captions.legend(
            "points: geometric means of error",
            captions.bars(errors, "95 % t-intervals over log errors"),
            "lines: fits, dotted up to twice the largest n",
        )
        shows = "Test error against training images, and the curves fitted to it, by model"
        draw = partial(figures.fitted_curves, arm.rows, styles, arm.once(fits_of))
        drawn.append(Drawing(f"fitted-curves-{arm.number}", draw, of.fits, shows, legend, arm.words))
    return Section(arm.words, tuple(drawn), tuple(tables), tuple(folded))


def images_needed(arm: ReportedArm, styles: Styles) -> Iterator[Drawing]:
    """The forest plot of the images that each model needs for what the first reference reaches."""
    of = arm.once(numbers)
    if not of.baselines or of.at_reference.empty:
        return
    baseline = of.baselines[0]
    table = _held(of.at_reference, baseline)
    known = table[table["mean"].notna()]
    if known.empty:
        return
    level, apart = known["reference_accuracy"].iloc[0], separable(arm, baseline)
    draw = partial(figures.images_needed, known, apart, styles)
    shows = f"Images needed for the {wording.percent(level)} of {baseline.reference} at {n_images(baseline.train_size)}"
    hollow = "" if set(known["label"]) <= apart else f"hollow: in accuracy not separable from {baseline.reference}"
    bounds = BOUNDS if known["bound"].isin(figures.BOUNDS).any() else ""
    marks = captions.legend(captions.bars(known, FACTORS, rows=True), bounds, hollow)
    yield Drawing(f"images-needed-{arm.number}", draw, known, shows, marks, arm.words)


def separable(arm: ReportedArm, baseline: Baseline) -> frozenset[str]:
    """The models whose accuracy with the baseline's images is told from the reference's, by the rule of verdicts."""
    known = arm.once(all_verdicts)
    judged = {label: known.of(label, baseline.reference, baseline.train_size).verdict for label in baseline.labels}
    return frozenset(label for label, verdict in judged.items() if verdict in ("above", "below"))


def _drawing(name: str, draw: Callable[..., Figure], table: pd.DataFrame, against: str, arm: ReportedArm) -> Drawing:
    """A figure of factors."""
    reference = table["reference"].iloc[0]
    sure = table[table["bound"] == ""]
    bounds = table["bound"].isin(figures.BOUNDS) & table["mean"].notna()
    legend = captions.legend(
        f"points and lines: geometric means over {unit_noun(arm.runs)}" if sure["mean"].notna().any() else "",
        captions.bars(sure, "95 % t-intervals over log factors"),
        "hollow, with triangles: bounds, and to which side they lie" if bounds.any() else "",
        f"line at 1: as many images as {reference}",
    )
    shows = f"Images needed over those of {reference} for equal accuracy, {against}"
    return Drawing(name, draw, table, shows, legend, arm.words)


def _held(table: pd.DataFrame, baseline: Baseline) -> pd.DataFrame:
    """The rows of a table that have this reference."""
    return table if table.empty else table[table["reference"] == baseline.reference]


def _chosen(baseline: Baseline) -> str:
    """Why it is the reference."""
    named = wording.names(f"“{family}”" for family in baseline.families)
    declared = f"{baseline.reference} is what the study declares {named} to be compared with." if named else ""
    leads = (
        f"{baseline.reference} leads with {n_images(baseline.train_size)}; exploratory, as the results chose it."
        if baseline.leads
        else ""
    )
    return f"{leads} {declared}".strip()


def _accuracy(share: float) -> str:
    return f"{100 * share:.0f} %"


def _signs(row: Any) -> str:
    return linked.signs_of(row)


def _missing(row: Any, arm: ReportedArm) -> str:
    """'2 of 3 seeds; without n = 1,000' where not all planned runs are on the curves."""
    return "; ".join(incomplete_words(row.done, row.planned, row.incomplete, unit_noun(arm.runs)))


def _at_reference(table: pd.DataFrame, arm: ReportedArm, baseline: Baseline) -> Table:
    """What the sentence on the data needed says, with the accuracies that it compares."""
    n, images = n_images(baseline.train_size), wording.number(baseline.train_size)
    rows = []
    for row in each_row(table):
        planned = arm.runs.loc[arm.runs["label"] == row.label, "train_size"]
        at_size = arm.links.cell(row.label, baseline.train_size) if baseline.train_size in set(planned) else ""
        why = row.why or "; ".join(incomplete_words(row.done, row.planned, row.incomplete, unit_noun(arm.runs)))
        cells = (
            _factor(row, arm.links.model(row.label), why),
            _reached(row, "accuracy", at_size),
            _reached(row, "reference_accuracy", arm.links.cell(row.reference, baseline.train_size)),
        )
        rows.append(Row(linked.model_name(row.label, arm.data, arm.links), cells))
    about = (
        f"Images needed for what {baseline.reference} reaches with {n}, over those {images}: above 1, it takes more. "
        "≥ and ≤: a bound, because what the reference reaches in a draw lies beyond the model's curve. "
        f"{NO_VERDICT} Test accuracies with {n} in per cent. {_chosen(baseline)}"
    )
    head = ("images over n", "accuracy", f"that of {baseline.reference}")
    units = linked.units(table, unit_noun(arm.runs))
    return Table(about, "model", head, tuple(rows), n=units, interval=f"{FACTOR_INTERVALS}; of accuracies t-intervals")


def _reached(row: Any, column: str, href: str) -> Cell:
    """An accuracy of `numbers.at_reference`."""
    mean, low, high = (getattr(row, column + end) for end in ("", "_low", "_high"))
    estimate = Estimate(mean, low, high, row.n)
    if math.isnan(mean):
        return Cell(ABSENT, href=href)
    return Cell(f"{100 * estimate.mean:.1f}", wording.interval(estimate) or "no interval", href=href)


def _factors(table: pd.DataFrame, arm: ReportedArm, columns: str, head: linked.ColumnHead, about: str) -> Table:
    across = sorted(table[columns].unique().tolist())
    sizes = sorted({int(size) for one in table["incomplete"] for size in one.split()})
    if sizes:
        about += f" Left out of curves, because runs are missing: n = {wording.names(map(wording.number, sizes))}."
    rows = []
    for label, group in each_group(table, "label"):
        by_place = {getattr(row, columns): row for row in each_row(group)}
        cells = tuple(_factor_at(by_place[at], arm, columns) if at in by_place else Cell("") for at in across)
        rows.append(Row(linked.model_name(label, arm.data, arm.links), cells))
    n = linked.units(table, unit_noun(arm.runs))
    return Table(about, "model", tuple(map(head, across)), tuple(rows), n=n, interval=FACTOR_INTERVALS)


def _factor_at(row: Any, arm: ReportedArm, columns: str) -> Cell:
    of_cell = columns == "train_size"
    href = arm.links.cell(row.label, row.train_size) if of_cell else arm.links.model(row.label)
    return _factor(row, href, "; ".join(incomplete_words(row.done, row.planned, "", unit_noun(arm.runs))))


def _factor(row: Any, href: str, note: str) -> Cell:
    estimate, signs = estimate_of(row), _signs(row)
    on_curve = f"{row.reached} of {row.n} on the curve" if row.bound and row.n else ""
    level = "not separable" if getattr(row, "verdict", "") == "unclear" else ""
    aside = "; ".join(part for part in (level, on_curve) if part)
    if math.isnan(row.mean):
        return Cell(ABSENT, wording.factor_interval(estimate), note, signs, href, aside)
    sign = {"at least": "≥ ", "at most": "≤ "}.get(row.bound, "")
    none = "" if row.bound else "no interval"
    interval = wording.factor_interval(estimate) or none
    return Cell(f"{sign}{wording.times(row.mean)}×", interval, note, signs, href, aside)


def _crossings(table: pd.DataFrame, arm: ReportedArm) -> Table:
    reference = table["reference"].iloc[0]
    rows = []
    for row in each_row(table):
        pieces = ABSENT if row.pieces == "-" else _pieces(row.pieces) or "none"
        cell = Cell(pieces, note=_missing(row, arm), signs=_signs(row), href=arm.links.model(row.label))
        rows.append(Row(linked.model_name(row.label, arm.data, arm.links), (cell,)))
    about = (
        "Interpolation, no verdict. N*, the train sizes at which the paired 95 % t-interval of a model's curve and "
        f"that of {reference} contains 0: {SEPARATE}, curves being linear in log n between sizes. None: the curves do "
        "not cross. “Up to” and “on”: how far beyond the sizes is not known. The level holds at each size, not for all."
    )
    return Table(about, "model", ("N*, images",), tuple(rows), "ledger", linked.units(table, unit_noun(arm.runs)))


def _pieces(text: str) -> str:
    """'[0, 1234] [5000, inf]' -> 'up to 1,230; from 5,000 on'."""
    ends = [piece.strip("[]").split(", ") for piece in text.split("] [")] if text else []
    return "; ".join(piece_words(float(low), float(high)).removeprefix("at ") for low, high in ends)


def _fits(table: pd.DataFrame, arm: ReportedArm) -> Table:
    rows = []
    has_alpha = bool((table["form"] == "m4").any())
    for row in each_row(table):
        href = arm.links.model(row.label)
        held_out = {form: getattr(row, f"held_out_{form}") for form in fits.SIZES_NEEDED}
        known = "; ".join(f"{form} {100 * off:+.0f} %" for form, off in held_out.items() if not math.isnan(off))
        at_chance = f"left out, at chance: n = {row.left_out.replace(' ', ', ')}" if row.left_out else ""
        cells = (
            Cell(row.form, note=_missing(row, arm), signs=_signs(row), aside=at_chance, href=href),
            _parameter(row, "slope", href),
            _parameter(row, "a", href),
            _parameter(row, "b", href),
            _parameter(row, "c", href, 100, " %"),
            *([_parameter(row, "alpha", href)] if has_alpha else []),
            _parameter(row, "doubled", href, 100, " %"),
            Cell(known.replace("-", "−")),
            Cell(row.said or ABSENT),
        )
        rows.append(Row(linked.model_name(row.label, arm.data, arm.links), cells))
    head = (
        *("form", "slope without c", "a", "b", "c", *(["alpha"] if has_alpha else []), "error at twice the largest n"),
        *("largest n, predicted without it", "not identified"),
    )
    about = (
        "Test error e against n, fitted draw by draw to log e. The form, of "
        f"{'; '.join(f'{form}: {words}' for form, words in fits.WORDS.items())}, is the one that predicts the largest "
        "size best without having seen it; of equally good ones, that with the fewest parameters. Nothing "
        "is said beyond twice that, and of fewer than five sizes without an interval."
    )
    n = linked.units(table, unit_noun(arm.runs))
    return Table(
        about, "model", head, tuple(rows), "ledger", n, "95 % t-intervals over the fits of draws, given the form"
    )


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
