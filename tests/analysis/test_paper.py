"""[paper]: names, order, highlight and width of print; no run and no number changes."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.formats.html import table_of_all
from analysis.frame.frame import load
from analysis.frame.paper import apply
from analysis.report import FORMATS, write_report
from benchmarks.errors import ConfigError
from benchmarks.plan.paper import Paper, merged
from benchmarks.plan.study import Study, expand

PAPER = {
    "labels": {"resnet": "ResNet-8", "vit learned_1d": "ViT"},
    "order": ["vit none", "ViT"],
    "highlight": ["resnet"],
    "column_width": 84.0,
}


def test_it_changes_no_run_and_no_number(small: tuple[Study, Path], made_up: Any) -> None:
    study, root = small
    other = made_up.study_of(made_up.SMALL, paper=PAPER)
    assert [run.id for run in other.runs] == [run.id for run in study.runs]
    before, after = load(root, study), apply(load(root, other), other.paper)
    assert list(dict.fromkeys(after.runs["label"])) == ["vit none", "ViT", "ResNet-8"]
    for name in ("rows", "runs"):
        a, b = (getattr(frame, name).drop(columns="label") for frame in (before, after))
        keys = ["run", "evaluation"] if name == "rows" else ["run"]
        sorted_ = [table.sort_values(keys, ignore_index=True) for table in (a, b)]
        pd.testing.assert_frame_equal(*sorted_)


def test_it_reaches_every_format(small: tuple[Study, Path], made_up: Any, tmp_path: Path) -> None:
    """Names and order in tables, bold in page and LaTeX, thicker lines in figures, the width of the PDF (72 units an
    inch)."""
    _, root = small
    study = made_up.study_of(made_up.SMALL, paper=PAPER)
    write_report(study, root, tmp_path, FORMATS)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    names = re.findall(r'<tr( class="highlight")?><th scope="row"><a href="#[\w-]+">(.+?)</a>', page)[:3]
    assert names == [("", "vit none"), ("", "ViT"), (' class="highlight"', "ResNet-8")]
    assert r"\textbf{ResNet-8}" in (tmp_path / "latex" / "table-train-size-1-1.tex").read_text()
    assert "stroke-width: 2.6" in page  # twice 1.3
    pdf = (tmp_path / "figures" / "accuracy-by-train-size-1.pdf").read_bytes()
    [width] = re.findall(rb"/MediaBox \[ 0 0 ([\d.]+) ", pdf)
    assert float(width) == pytest.approx(84 / 25.4 * 72, abs=0.5)


@pytest.mark.parametrize(
    ("paper", "said"),
    [
        ({"order": ["resnett"]}, "paper.order: no model is called 'resnett'.*did you mean `resnet`"),
        ({"labels": {"vit": "ViT"}}, "paper.labels: no model is called 'vit'"),
        ({"highlight": ["x"]}, "paper.highlight"),
        ({"labels": {"resnet": "vit none"}}, "two models would be called 'vit none'"),
    ],
)
def test_names_of_no_model_are_refused(made_up: Any, tmp_path: Path, paper: dict[str, Any], said: str) -> None:
    study = made_up.study_of(made_up.SMALL, paper=paper)
    with pytest.raises(ConfigError, match=said):
        write_report(study, tmp_path, tmp_path / "out")


@pytest.mark.parametrize(
    ("paper", "said"),
    [
        ({"labls": {}}, "paper.labls"),
        ({"column_width": 5.0}, "paper.column_width"),
        ({"order": "resnet"}, "paper.order"),
        ({"labels": {"resnet": ""}}, "paper.labels.resnet: '' is no name that can be read; without the line"),
        ({"labels": {"vit none": "ViT", "resnet": " \t"}}, "paper.labels.resnet: ' .*' is no name"),
        ([], r"write \[paper\]"),
    ],
)
def test_a_wrong_table_is_refused_when_the_study_is_read(made_up: Any, paper: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        expand({**made_up.SMALL, "paper": paper}, "x")


def test_those_of_several_studies_are_merged() -> None:
    one, two = Paper(labels={"a": "A"}, order=["a"]), Paper(labels={"b": "B"}, order=["b", "a"], column_width=90.0)
    both = Paper(labels={"a": "A", "b": "B"}, order=["a", "b"], column_width=90.0)
    assert merged([one, two]) == both
    with pytest.raises(ConfigError, match=r"paper\.labels\.a: is 'A' in one study, 'X' in another"):
        merged([one, Paper(labels={"a": "X"})])


def test_a_run_without_an_evaluation_has_its_row(small: tuple[Study, Path], made_up: Any, tmp_path: Path) -> None:
    """The data in the page: one row per run and evaluation, and one for a run that has none."""
    study, _ = small
    made_up.write_study(tmp_path / "others", study, skip=[study.runs[0].id])
    table = table_of_all(load(tmp_path / "others", study))
    assert set(table["run"]) == {run.id for run in study.runs}
    assert len(table) == 1 + sum(len(study.evaluations[run.id]) for run in study.runs[1:])
