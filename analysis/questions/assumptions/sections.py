"""What models keep under probes: by probe with intervals, against the reference, and by strength."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pandas as pd

from analysis import wording
from analysis.elements import captions, linked
from analysis.elements.drawings import Drawing
from analysis.elements.linked import Cell, Row, Table
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, n_images
from analysis.frame.rows import each_group
from analysis.questions.assumptions import figures
from analysis.questions.assumptions.numbers import CONTROLS, numbers, probes_in_order
from analysis.questions.assumptions.sentences import PLACE, controls_line, elsewhere_line, rankings, spoken
from analysis.wording import TIED
from benchmarks.plan.probes import PROBES

INTRO = (
    "The same finished networks, tested with one thing changed in the test images. Accuracy kept is that under the "
    "probe over that without, the mean over strengths: the area below the curves of accuracy kept against strength. A "
    "network that guesses keeps chance over its accuracy, not 0."
)
SAME = "shift: same class"
ABOUT = {
    "kept": "Accuracy kept, mean over strengths, in per cent",
    "consistency": "the share of images taken for the same class as without the shift",
}


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """What is kept by probe, and, further, by strength; sections of the arms that have probed evaluations."""
    probed = [arm for arm in arms if len(arm.probed)]
    curved = [arm for arm in probed if not arm.once(numbers).by_strength.empty]
    return [
        Chapter(PLACE, "assumptions", "Which assumption", tuple(kept(arm, styles) for arm in probed), INTRO),
        Chapter(
            "probe-strengths",
            "probes",
            "Accuracy kept by strength",
            tuple(against_strength(arm, styles) for arm in curved),
            further=True,
        ),
    ]


def kept(arm: ReportedArm, styles: Styles) -> Section:
    """Figure and table of the largest probed train size; folded, differences to the reference and smaller sizes."""
    of = arm.once(numbers)
    if of.by_run.empty:
        return Section(arm.words, (), (), remark=remark(arm))
    *smaller, largest = sorted(of.by_run["train_size"].unique().tolist())
    level = {
        (probe, label)
        for probe, at in each_group(of.by_run[of.by_run["train_size"] == largest], "probe")
        if (ranking := rankings(at)) is not None
        for label, _ in ranking.level
    }
    behind = of.by_probe[(of.by_probe["measure"] == "kept") & (of.by_probe["train_size"] == largest)]
    behind = behind.dropna(subset=["mean"])
    shows = f"Accuracy kept by probe and model, with {n_images(largest)}"
    several = behind["label"].nunique() > 1
    marks = captions.legend(
        "points: means",
        captions.bars(behind, rows=True),
        _cut(behind),
        "hollow: not separable from the highest" if several else "",
    )
    draw = partial(figures.kept_by_probe, behind, level, styles)
    drawn = (Drawing(f"accuracy-kept-{arm.number}", draw, behind, shows, marks, arm.words),) if len(behind) else ()
    folded = [("what the probes do", meaning(arm)), *against_reference(arm, largest)]
    for size in smaller:
        folded += [(n_images(size), by_probe(arm, size)), *against_reference(arm, size)]
    return Section(arm.words, drawn, (by_probe(arm, largest),), tuple(folded), remark(arm))


def remark(arm: ReportedArm) -> str:
    """That nothing can be kept, the controls, and what was measured elsewhere."""
    return " ".join(line for line in (nothing_line(arm), controls_line(arm), elsewhere_line(arm)) if line)


def nothing_line(arm: ReportedArm) -> str:
    """Why the largest probed train size has no accuracy kept, '' where it has."""
    each = arm.once(numbers).by_run
    if each.empty or each.loc[each["train_size"] == each["train_size"].max(), "kept"].notna().any():
        return ""
    images = n_images(int(each["train_size"].max()))
    return f"No accuracy kept is given: with {images}, no run is two standard errors above chance without a probe."


def by_probe(arm: ReportedArm, size: int) -> Table:
    """Rows of models, columns of probes: what is kept, the most in bold; and how many answers a shift leaves alone."""
    of = arm.once(numbers)
    table = of.by_probe[of.by_probe["train_size"] == size]
    heads = {(probe, "kept"): spoken(probe) for probe in probes_in_order(of.by_run)}
    if "shift" in set(of.by_run["probe"]):
        heads[("shift", "consistency")] = SAME
    places = list(heads)
    shown = [key in heads for key in zip(table["probe"], table["measure"], strict=True)]
    table = table[shown]
    table = table.assign(place=[places.index(key) for key in zip(table["probe"], table["measure"], strict=True)])
    about = f"{ABOUT['kept']}, with {n_images(size)}"
    about += f"; last column: {ABOUT['consistency']}." if len(heads) > len(set(table["probe"])) else "."
    view = linked.grid(table, arm.data, arm.links, "place", lambda place: heads[places[place]], about)
    return replace(view, rows=_marked(view.rows, of.by_run[of.by_run["train_size"] == size], places, table))


def _marked(
    rows: Sequence[Row], each: pd.DataFrame, places: Sequence[tuple[str, str]], table: pd.DataFrame
) -> tuple[Row, ...]:
    """The rows with the highest of each probe in bold and those marked that are not separable from it."""
    of_probe = {probe: rankings(at) for probe, at in each_group(each, "probe")}
    marked = []
    for row, label in zip(rows, dict.fromkeys(table["label"]), strict=True):
        cells = []
        for cell, (probe, measure) in zip(row.cells, places, strict=True):
            ranking = of_probe.get(probe) if measure == "kept" and len(rows) > 1 else None
            tied = ranking is not None and label in dict(ranking.level)
            best = ranking is not None and label in ranking.highest
            cells.append(replace(cell, best=best, signs=cell.signs + (TIED if tied else "")))
        marked.append(replace(row, cells=tuple(cells)))
    return tuple(marked)


def against_reference(arm: ReportedArm, size: int) -> list[tuple[str, Table]]:
    """Paired differences of what is kept, in points, under a name; nothing of one model."""
    of = arm.once(numbers)
    table = of.differences[of.differences["train_size"] == size] if len(of.differences) else of.differences
    if table.empty:
        return []
    [reference] = table["reference"].unique()
    probes = probes_in_order(of.by_run)
    table = table.assign(place=[probes.index(probe) for probe in table["probe"]])
    about = f"Accuracy kept minus that of {reference}, in points, with {n_images(size)}; each pair alone."
    heads = [spoken(probe) for probe in probes]
    view = linked.grid(table, arm.data, arm.links, "place", heads.__getitem__, about, difference=True)
    return [(f"{n_images(size)}, minus {reference}", view)]


def meaning(arm: ReportedArm) -> Table:
    """What each probe does, controls included, with the strengths that were measured."""
    of = arm.once(numbers)
    measured = {probe: sorted(at["strength"].unique()) for probe, at in each_group(of.by_strength, "probe")}
    there = [*probes_in_order(of.by_run), *(probe for probe in probes_in_order(of.controls) if probe in CONTROLS)]
    rows = []
    for probe in there:
        known = PROBES.get(probe)
        does = known.does.replace("{0}", "s").replace("{}", "s") if known is not None else "a probe of another version"
        values = () if known is None or known.control else (f"{known.value(step):g}" for step in measured[probe])
        amount = ", ".join(values) or wording.ABSENT
        rows.append(Row(Cell(spoken(probe)), (Cell(does), Cell(amount))))
    about = "What is changed in the test images, by strengths s."
    return Table(about, "probe", ("images", "strengths s"), tuple(rows), "words")


def against_strength(arm: ReportedArm, styles: Styles) -> Section:
    """Curves of what is kept at the largest probed train size, and their numbers, folded by probe."""
    table = arm.once(numbers).by_strength
    table = table[(table["measure"] == "kept") & (table["train_size"] == table["train_size"].max())]
    size = n_images(table["train_size"].iloc[0])
    drawn: tuple[Drawing, ...] = ()
    if table["mean"].notna().any():
        marks = captions.legend(captions.MEANS, captions.bars(table), _cut(table))
        draw = partial(figures.kept_by_strength, table, styles)
        shows = f"Accuracy kept against strength, a panel a probe, with {size}"
        drawn = (Drawing(f"probe-strengths-{arm.number}", draw, table, shows, marks, arm.words),)
    folded = tuple(
        (spoken(probe), linked.grid(of_probe, arm.data, arm.links, "strength", _strength(probe),
                                    f"Accuracy kept under {spoken(probe)}, in per cent, with {size}."))
        for probe, of_probe in each_group(table, "probe")
    )  # fmt: skip
    return Section(arm.words, drawn, (), folded)


def _cut(table: pd.DataFrame) -> str:
    """What is to be said of intervals that go on beyond the axis of a figure, if any does."""
    return "some end beyond the axis" if (table["high"] > figures.end_of_axis(table)).any() else ""


def _strength(probe: str) -> linked.ColumnHead:
    """The head of a strength: '1', with its value where the probe is known: '1 (0.04)'."""
    known = PROBES.get(probe)
    return lambda step: (
        f"{step} ({known.value(step):g})" if known is not None and step in known.strengths else f"{step}"
    )
