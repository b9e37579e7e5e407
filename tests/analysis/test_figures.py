"""Figures: what is drawn, that it is the same each time, and that it can stand in a page."""

import inspect
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib import rcParams
from matplotlib.figure import Figure

from analysis.elements import drawings
from analysis.elements.axes import chance_line, upright
from analysis.elements.drawings import Drawing
from analysis.elements.palette import KNOWN, SPARE, looks
from analysis.frame.arms import MixedArmsError, split
from analysis.frame.frame import load
from analysis.inside.look import look
from analysis.questions.accuracy.figures import accuracy_by_train_size
from analysis.questions.positions import numbers as ablation
from analysis.questions.positions.figures import differences_by_train_size
from analysis.questions.resolution.figures import accuracy_by_test_resolution
from analysis.report import write_report
from benchmarks.plan.study import Study


def drawn(study: Study, root: Path) -> dict[str, Figure]:
    frame = load(root, study)
    [arm] = split(frame)
    return {
        "n": accuracy_by_train_size(frame.rows),
        "r": accuracy_by_test_resolution(frame.rows),
        "retention": accuracy_by_test_resolution(frame.rows, value="retention"),
        "p": differences_by_train_size(ablation.differences(arm), looks(frame.runs)),
    }


def test_points_means_and_axes(small: tuple[Study, Path]) -> None:
    """Reference: three models at two sizes with three seeds are 18 points, 3 lines of 2 means and 6 bars."""
    study, root = small
    [axes] = drawn(study, root)["n"].axes
    assert axes.get_xscale() == "log"
    marked = [line for line in axes.lines if line.get_marker() not in ("None", ".")]
    lines = [line for line in marked if len(line.get_xdata()) > 1]  # type: ignore[arg-type]  # others mark names
    points = [line for line in axes.lines if line.get_marker() == "."]
    assert sum(len(line.get_xdata()) for line in points) == 18  # type: ignore[arg-type]
    assert [len(line.get_xdata()) for line in lines] == [2, 2, 2]  # type: ignore[arg-type]
    assert [text.get_text() for text in axes.texts] == ["chance 10.0 %", "resnet", "vit none", "vit learned_1d"]
    assert {line.get_color() for line in lines} == {line.get_color() for line in points}


def test_svg_is_the_same_each_time_and_names_no_address(small: tuple[Study, Path]) -> None:
    study, root = small
    before = dict(rcParams)
    first, second = ({name: drawings.svg(f, name) for name, f in drawn(study, root).items()} for _ in range(2))
    assert first == second
    assert dict(rcParams) == before
    for text in first.values():
        assert "http" not in text
        assert "<metadata" not in text


@pytest.mark.usefixtures("fork_server")
def test_pictures_drawn_by_other_processes_are_the_same(
    small: tuple[Study, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the same drawings made in this process."""
    rows = load(small[1], small[0]).rows
    figures = {"n": accuracy_by_train_size, "r": accuracy_by_test_resolution}
    parts = [Drawing(name, partial(draw, rows), rows, "shows", "legend", "arm") for name, draw in figures.items()]
    kinds = ("wide", "narrow", "pdf", "png")
    with drawings.drawn(kinds) as here:
        expected = [here(one) for one in parts]
    monkeypatch.setattr(drawings, "WORTH_IT", 1)
    monkeypatch.setattr(Drawing, "figure", None)  # so that no picture is made here
    with drawings.drawn(kinds, processes=2) as there:
        there.begin(parts)
        assert [there(one) for one in parts] == expected
    assert [list(one) for one in expected] == [list(kinds)] * 2


SCRIPT = """
import pandas as pd
from matplotlib.figure import Figure
from analysis.elements.drawings import Drawing, drawn

parts = [Drawing(f"d{n}", lambda width: Figure((width, 1)), pd.DataFrame(), "", "", "") for n in range(16)]
with drawn(("wide",)) as pictures:
    pictures.begin(parts)
    print(sum(pictures(one)["wide"].startswith(b"<svg") for one in parts))
"""


def test_a_script_read_from_standard_input_draws() -> None:
    """No other process can run it again, and it has no guard by `__name__`: as many drawings as may go to processes."""
    done = subprocess.run([sys.executable, "-"], input=SCRIPT, capture_output=True, text=True, check=False)
    assert done.stdout == "16\n", done.stderr
    for writer in (write_report, look):
        assert inspect.signature(writer).parameters["processes"].default == 1


def test_ids_of_several_figures_do_not_meet(small: tuple[Study, Path]) -> None:
    study, root = small
    ids = [re.findall(r'\bid="([^"]+)"', drawings.svg(f, name)) for name, f in drawn(study, root).items()]
    together = [one for each in ids for one in each]
    assert len(together) == len(set(together))


def test_every_reference_in_an_svg_is_there_and_names_are_text(small: tuple[Study, Path]) -> None:
    study, root = small
    rows = load(root, study).rows
    rows["label"] = rows["label"].replace("resnet", "$x$ <script>alert(1)</script>")
    text = drawings.svg(accuracy_by_train_size(rows), "a")
    tree = ElementTree.fromstring(text.replace("xlink:href", "href"))
    ids = {element.get("id") for element in tree.iter()}
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', text)
    assert references
    assert {one or other for one, other in references} <= ids
    assert "<script" not in text
    assert "$x$ &lt;script&gt;" in text


def test_mixed_budgets_are_refused(small: tuple[Study, Path]) -> None:
    study, root = small
    rows = load(root, study).rows
    rows.loc[rows["seed"] == 1, "budget_kind"] = "epochs"
    for draw in (accuracy_by_train_size, accuracy_by_test_resolution):
        with pytest.raises(MixedArmsError, match="budget_kind"):
            draw(rows)


def test_a_model_looks_the_same_in_every_study(made_up: Any, tmp_path: Path) -> None:
    whole = looks(load(tmp_path, made_up.study_of(made_up.TABLE)).runs)
    part = looks(load(tmp_path, made_up.study_of(made_up.SMALL)).runs)
    assert {label: whole[label] for label in part} == part
    assert len(set(whole.values())) == len(whole) == 9
    assert len(set(KNOWN.values())) == len(KNOWN)
    assert len(set(SPARE)) == len(SPARE)


def test_unknown_models_get_looks_of_their_own() -> None:
    labels = [f"model {i}" for i in range(20)]
    table = pd.DataFrame({"label": labels, "model": labels, "position": "-"})
    assert len(set(looks(table).values())) == len(labels)


def test_bars_are_one_line_and_chance_is_named_where_they_are_far() -> None:
    """Reference: by hand. The lowest bar is on the right, then on the left: the word stands on the other side."""
    for lowest, side in ((100.0, "left"), (1.0, "right")):
        axes = Figure().add_subplot()
        upright(axes, [(at, 5.0 if at == lowest else 50.0, 60.0) for at in (1.0, 10.0, 100.0)], color="k")
        [bars] = axes.lines
        assert np.nan_to_num(bars.get_xydata()[:3], nan=-1).tolist()[1:] == [[1.0, 60.0], [-1, -1]]
        chance_line(axes, 0.1)
        assert [text.get_horizontalalignment() for text in axes.texts] == [side]
