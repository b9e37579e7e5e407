"""Figures of every kind at every width: what is written in them lies within them and nothing runs into its neighbour.

Reference: matplotlib's renderer, at the resolution of print.
"""

import functools
import inspect
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
import pytest
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.text import Text

from analysis.elements import drawings as drawn_as
from analysis.elements.axes import STYLE
from analysis.elements.drawings import Drawing
from analysis.elements.layout import WIDTH
from analysis.elements.palette import looks
from analysis.elements.reported import reported_arms
from analysis.elements.sections import Chapter
from analysis.formats import latex, markdown
from analysis.frame import paper
from analysis.frame.arms import MixedArmsError, split
from analysis.frame.frame import Frame, load
from analysis.page.content import each_chapter, ordered
from analysis.questions.accuracy import figures as accuracy_figures
from analysis.questions.data_needed import figures as data_figures
from analysis.questions.data_needed import numbers as data_needed
from analysis.questions.positions import figures as position_figures
from analysis.questions.positions import numbers as ablation
from analysis.questions.resolution import figures as resolution_figures
from analysis.questions.resolution import matrix, retention
from analysis.questions.training_loss import figures as loss_figures
from analysis.questions.training_loss.numbers import numbers as training_loss
from analysis.report import write_report
from benchmarks.plan.study import Study

LABELS = ["resnet", "vit learned_1d", "vit rope_axial"]
LONG = {label: f"{label}, as long a name as somebody may well give a model in print"[:60] for label in LABELS}
ORDER = ["vit rope_axial", "resnet", "vit learned_1d"]
WIDTHS = [50 / 25.4, 85 / 25.4, 120 / 25.4, WIDTH]


@pytest.fixture(scope="module")
def recorded(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    """Two budgets, two training resolutions, several ways of testing: a study that has figures of every kind."""
    table = {key: value for key, value in made_up.SMALL.items() if key != "budget"}
    study = made_up.study_of(
        table,
        dataset="cifar10",
        size="nano",
        train_size=[100, 5000, 10000, 45000],
        resolution=[16, 32],
        test_resolutions=[16, 24, 32, 48, 64, 128],
        arms=[{"budget": {"steps": 600}}, {"budget": {"epochs": 20}}],
        models=[{"name": "resnet"}, {"name": "vit", "position": ["learned_1d", "rope_axial"]}],
        evaluations=[{"carry": "all"}, {"images": "canvas", "resolution": [16, 32, 64]}],
        paper={"labels": LONG, "order": ORDER},
    )
    root = tmp_path_factory.mktemp("runs")
    made_up.write_study(root, study)
    for run in study.runs:
        losses = [{"step": step, "loss": 2.3 / step, "validation_loss": 3.1 / step} for step in (1, 10, run.steps)]
        (root / run.id / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in losses))
    return study, root


@pytest.fixture(scope="module")
def shown(recorded: tuple[Study, Path]) -> tuple[Chapter, ...]:
    study, root = recorded
    frame = paper.apply(load(root, study), study.paper)
    return ordered(each_chapter(reported_arms(study, frame, root), looks(frame.runs)))


@pytest.fixture(scope="module")
def drawings(shown: tuple[Chapter, ...]) -> dict[str, Drawing]:
    return {drawing.name: drawing for chapter in shown for drawing in chapter.drawings}


KINDS = [
    "accuracy-by-train-size-1",
    "accuracy-by-test-resolution-1",
    "retention-by-test-resolution-1",
    "images-needed-1",
    "data-factor-1",
    "data-factor-by-accuracy-1",
    "fitted-curves-1",
    "budgets-1",
    "budgets-training-1",
    "ways-of-testing-1",
    "carrying-1",
    "resolution-matrix-1",
    "resolution-matrix-curves-1",
    "position-ablation-1-1",
    "training-loss-1",
    "validation-loss-1",
]


def test_these_are_all_kinds(drawings: dict[str, Drawing]) -> None:
    """Reference: the names of the report's figures, without the numbers of arms."""
    first, every = ({re.sub(r"(-\d+)+$", "", name) for name in names} for names in (KINDS, drawings))
    assert first == every


def ticks(axes: Axes) -> Iterator[list[Text]]:
    """The labels of each axis that are seen: matplotlib keeps ticks beyond the ends of an axis, and draws them not."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        texts = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
        yield [text for text in texts if axes.axison and text.get_visible() and text.get_text()]


def written(figure: Figure) -> list[Text]:
    """The texts that are seen."""
    texts = [*figure.texts, *(text for one in figure.legends for text in one.get_texts())]
    for axes in figure.axes:
        titles = [child for child in axes.get_children() if isinstance(child, Text)]
        texts += [*titles, axes.xaxis.label, axes.yaxis.label, *itertools.chain(*ticks(axes))]
    return [text for text in texts if text.get_text()]


@pytest.fixture(scope="module")
def drawn(drawings: dict[str, Drawing]) -> Callable[[str, float], Figure]:
    """A kind of figure at a width, drawn once."""
    return functools.cache(lambda kind, width: drawings[kind].draw(width=width))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_lies_within(
    drawn: Callable[[str, float], Figure], drawings: dict[str, Drawing], kind: str, width: float
) -> None:
    figure = drawn(kind, width)
    figure.set_dpi(200)
    with matplotlib.rc_context(STYLE):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
    renderer, (wide, high) = canvas.get_renderer(), figure.bbox.size
    for text in written(figure):
        box = text.get_window_extent(renderer)
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= wide + 1 and box.y1 <= high + 1
        assert inside, (text.get_text(), box, (wide, high))
    for axes in figure.axes:
        assert axes.bbox.width > 0.3 * figure.dpi
        assert axes.bbox.height > 0.3 * figure.dpi
        for labels in ticks(axes):
            boxes = [text.get_window_extent(renderer) for text in labels]
            assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in written(figure)]
    marks = {text.get_text() for axes in figure.axes for text in axes.texts}  # they may lie on each other's axes
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert {one, other} <= marks or not a.overlaps(b), (one, other)
    legends = {" ".join(text.get_text().split()) for one in figure.legends for text in one.get_texts()}
    if "label" in drawings[kind].data and kind in ("accuracy-by-train-size-1", "budgets-1"):
        assert {name.replace(" ", "") for name in LONG.values()} == {name.replace(" ", "") for name in legends}


def test_legends_have_the_order_of_the_tables(drawn: Callable[[str, float], Figure]) -> None:
    """In every figure whose lines are models. Reference: the study's [paper] order."""
    names = ["".join(LONG[label].split()) for label in ORDER]
    known = {kind: ["".join(text.get_text().split()) for one in drawn(kind, WIDTH).legends for text in one.get_texts()]
             for kind in KINDS}  # fmt: skip
    by_model = {kind: seen for kind, seen in known.items() if seen and seen[0].startswith(tuple(names))}
    assert len(by_model) >= 7
    for seen in by_model.values():
        places = [next(place for place, name in enumerate(names) if one.startswith(name)) for one in seen]
        assert places == sorted(places)


@pytest.mark.parametrize("kind", KINDS[::3])
def test_the_same_bytes_twice_at_a_width(drawings: dict[str, Drawing], kind: str) -> None:
    draw = drawings[kind].draw
    first, second = (drawn_as.printed(draw(width=WIDTHS[1]), "pdf") for _ in range(2))
    assert first == second


def test_no_two_figures_say_the_same(shown: tuple[Chapter, ...]) -> None:
    """Alt texts and captions name the arm, what is compared and, but for heat maps, what stands on the axis."""
    together = {}
    for chapter in shown:
        for section in chapter.sections:
            for one in section.figures:
                assert one.alt not in together
                assert one.printed_caption not in together.values()
                together[one.alt] = one.printed_caption
                assert section.title in one.alt
                assert section.title in one.printed_caption
                assert re.search(r"against|heat maps?|Images needed for", one.shows)
                assert re.search(r"\bby\b|line for each|Images needed", one.shows)
    assert len(together) > len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_caption_explains_the_marks_that_there_are(
    drawn: Callable[[str, float], Figure], drawings: dict[str, Drawing], kind: str
) -> None:
    """Reference: what matplotlib has drawn."""
    figure, legend = drawn(kind, WIDTH), drawings[kind].legend.lower()
    lines = [line for axes in figure.axes for line in axes.lines]
    assert ("small points: runs" in legend) == any(line.get_marker() == "." for line in lines)
    ends = [(line, *map(list, line.get_data())) for line in lines]
    upright = [line for line, x, y in ends if len(x) > 2 and x[0] == x[1] and math.isnan(x[2])]
    level = [
        line for line, x, y in ends if len(y) == 2 and y[0] == y[1] and line.get_linewidth() == 1.4
    ]  # forest plots
    assert ("bars: " in legend) == bool(upright + level)
    assert ("triangles: bounds" in legend) == any(line.get_fillstyle() == "none" for line in lines)
    assert ("dotted: chance" in legend) == any(line._unscaled_dash_pattern == (0, (1, 2)) for line in lines)
    assert ("cells: " in legend) == any(isinstance(one, QuadMesh) for axes in figure.axes for one in axes.collections)


def test_without_an_interval_no_bars_are_explained(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL, seed=[0])
    made_up.write_study(tmp_path, study)
    frame = load(tmp_path, study)
    every = [
        one
        for chapter in ordered(each_chapter(reported_arms(study, frame, tmp_path), looks(frame.runs)))
        for one in chapter.drawings
    ]
    assert every
    assert not any("bars" in one.caption.lower() for one in every)


def test_each_format_has_them(small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    frame = load(root, study)
    shown = ordered(each_chapter(reported_arms(study, frame, root), looks(frame.runs)))
    write_report(study, root, tmp_path, ["html", "latex", "markdown"])
    html, text = ((tmp_path / name).read_text(encoding="utf-8") for name in ("index.html", "report.md"))
    every = [drawing for chapter in shown for drawing in chapter.drawings]
    opened = ("accuracy-by-train-size-1", "images-needed-1")  # the first screen
    every.sort(key=lambda one: opened.index(one.name) if one.name in opened else len(opened))
    assert re.findall(r'<div role="img" aria-label="(.+?)">', html) == [str(escape(one.alt)) for one in every]
    assert re.findall(r"<figcaption>(.+?)</figcaption>", html) == [str(escape(one.caption)) for one in every]
    for one in every:
        assert (
            f"![{markdown.escape(one.alt)}](figures/{one.name}.png)\n\n{markdown.escape(one.printed_caption)}\n" in text
        )
        [caption] = re.findall(r"\\caption\{(.*)\}\n", (tmp_path / "latex" / f"figure-{one.name}.tex").read_text())
        assert caption.startswith(latex.escape(" ".join(one.printed_caption.split())))


def test_printing_leaves_the_page_as_it_is(small: tuple[Study, Path], tmp_path: Path) -> None:
    """Reference: the page of a report in no other format, without a width."""
    study, root = small
    narrow = replace(study, paper=study.paper.model_copy(update={"column_width": 50.0}))
    write_report(study, root, tmp_path / "page", ["html"])
    write_report(narrow, root, tmp_path / "both", ["html", "markdown"])
    pages = [(tmp_path / name / "index.html").read_text(encoding="utf-8") for name in ("page", "both")]
    drawn = [re.findall(r"<svg.*?</svg>", page, re.DOTALL) for page in pages]
    assert drawn[0] == drawn[1] != []


def tables(frame: Frame, study: Study, root: Path) -> dict[str, pd.DataFrame]:
    """The table that each public function of figures takes."""
    arms = split(frame)
    resolutions = matrix.resolution_matrix([arms[0], arms[1]])
    curves = training_loss(reported_arms(study, frame, root)[0]).curves
    return {
        "accuracy_by_train_size": arms[0].rows,
        "accuracy_by_test_resolution": arms[0].rows,
        "differences_by_train_size": ablation.differences(arms[0]),
        "fitted_curves": arms[0].rows,
        "loss_curves": curves[curves["measure"] == "batch"],
        "factors": data_needed.by_train_size(arms[0]),
        "accuracy_by_model": arms[0].rows.query("train_size == 100"),
        "images_needed": data_needed.needed(arms[0], study).at_reference,
        "side_by_side": frame.rows[frame.rows["resolution"] == arms[0].arm.resolution],
        "heat_map": resolutions,
        "matrix_curves": resolutions,
        "ways_of_testing": retention.curve(arms[0], "accuracy", []),
    }


MARKED: dict[str, dict[str, Any]] = {"accuracy_by_model": {"tied": ()}, "images_needed": {"separable": ()}}


def test_every_figure_is_a_function_of_its_table_alone(recorded: tuple[Study, Path]) -> None:
    """Each public function of the modules of figures; and models look as they do in the whole study."""
    study, root = recorded
    frame = load(root, study)
    of = tables(frame, study, root)
    modules = (accuracy_figures, position_figures, data_figures, resolution_figures, loss_figures)
    public = {
        name: function
        for module in modules
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    }
    assert set(public) == set(of)
    for name, draw in public.items():
        draw = partial(draw, of[name], **MARKED.get(name, {}))
        figure = draw()
        assert isinstance(figure, Figure)
        if "styles" in inspect.signature(draw).parameters:
            assert drawn_as.svg(figure, "a") == drawn_as.svg(draw(styles=looks(frame.runs)), "a")


def test_budgets_side_by_side_differ_in_nothing_else(recorded: tuple[Study, Path]) -> None:
    study, root = recorded
    with pytest.raises(MixedArmsError, match="resolution"):
        data_figures.side_by_side(load(root, study).rows)
