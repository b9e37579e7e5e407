"""The report: a pure function of records, honest about what is missing, every number with its runs."""

import dataclasses
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.frame.frame import load
from analysis.report import Report, write_report
from benchmarks.plan.study import Study


class Page(HTMLParser):
    """What a browser would make of a page: ids, links, resources, and the text of the tables' cells."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.resources: list[str] = []
        self.tags: list[str] = []
        self.cells: list[tuple[str, list[str]]] = []  # text and links of each td
        self.texts: list[str] = []
        self._in_cell = False
        self._in_style = False
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.links.append(values["href"])
        self.resources += [values[name] for name in ("src", "srcset", "data", "action") if name in values]
        if tag == "link":
            self.resources.append(values.get("href", ""))
        if tag == "td":
            self._in_cell = True
            self.cells.append(("", []))
        if tag == "a" and self._in_cell:
            self.cells[-1][1].append(values["href"])
        self._in_style = tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        if tag == "td":
            self._in_cell = False
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.texts.append(data)
        if self._in_cell:
            text, links = self.cells[-1]
            self.cells[-1] = (text + data, links)


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def written(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path, Report]:
    """A finished study, where its records lie, and its report, for tests that change nothing of it."""
    study, folder = made_up.study_of(made_up.SMALL), tmp_path_factory.mktemp("written")
    made_up.write_study(folder / "runs", study)
    return study, folder / "runs", write_report(study, folder / "runs", folder / "out")


def test_the_same_bytes_twice_and_from_another_place(written: tuple[Study, Path, Report], tmp_path: Path) -> None:
    study, root, first = written
    elsewhere = shutil.copytree(root, tmp_path / "moved")
    second = write_report(study, elsewhere, tmp_path / "second")
    assert everything(first.page.parent) == everything(second.page.parent)
    assert first.answers == second.answers
    assert [path.name for path in first.tables] == [path.name for path in second.tables]


def test_the_page_is_self_contained(written: tuple[Study, Path, Report]) -> None:
    _, root, report = written
    html = report.page.read_text(encoding="utf-8")
    page = Page(report.page)
    assert page.tags.count("script") == 2  # one is data
    assert page.resources == []
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert str(root.parent) not in html
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("svg") == 2 * 5  # each for a wide screen and for a phone


def test_every_number_leads_to_its_runs(written: tuple[Study, Path, Report]) -> None:
    """Reference: the ids in Study.runs. Every link has its anchor, every cell with an interval has a link, and every
    run stands there with its command."""
    study, _, report = written
    page = Page(report.page)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    shown = [links for text, links in page.cells if re.search(r"\[.*\]", text)]
    assert (
        len(shown) == 6 + 12 + 2 + 6 + 4
    )  # by train size, test resolution at both sizes, position; likelihood; factors
    assert all(links for links in shown)
    for run in study.runs:
        assert f"inductive rerun {run.id}" in page.text


def test_csv_equals_the_frame_and_the_page(written: tuple[Study, Path, Report]) -> None:
    """Reference: means recomputed from evaluations.csv with pandas alone."""
    study, root, report = written
    tables = {path.stem: pd.read_csv(path, keep_default_na=True) for path in report.tables}
    frame = load(root, study)
    pd.testing.assert_series_equal(tables["evaluations"]["accuracy"], frame.rows["accuracy"])
    assert tables["evaluations"]["run"].tolist() == frame.rows["run"].tolist()
    assert tables["runs"]["run"].tolist() == [run.id for run in study.runs]

    by_size = tables["accuracy-by-train-size"]
    rows = tables["evaluations"].query("part == 'test' and test_resolution == 8").set_index("run")
    page = Page(report.page)
    for row in by_size.itertuples():
        runs = str(row.runs).split()
        assert row.mean == pytest.approx(rows.loc[runs, "accuracy"].mean())
        assert set(rows.loc[runs, "label"]) == {row.label}
        assert any(text.strip().startswith(f"{100 * row.mean:.1f}") for text, _ in page.cells)
    assert len(by_size) == 6


def test_missing_failed_diverged_and_stale_are_said(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL)
    root = tmp_path / "runs"
    states = {0: "failed", 4: "diverged", 7: "stale", 9: "missing"}
    for number, run in enumerate(study.runs):
        state = states.get(number, "finished")
        if state != "missing":
            error = "Traceback:\n  line\nRuntimeError: <b>out</b> of memory" if state == "failed" else None
            made_up.write_record(root, run, study.evaluations[run.id], state, error=error)
    (root / study.runs[11].id / "result.json").write_text("{")
    report = write_report(study, root, tmp_path / "out")
    page = Page(report.page)
    assert "13 of 18 runs are finished" in report.answers[1]
    for said in ("2 failed", "1 diverged", "1 stale", "1 missing", "1 unreadable", "2/3 seeds", "step 120"):
        assert said in page.text
    assert "RuntimeError: <b>out</b> of memory" in page.text
    assert "&lt;b&gt;out" in report.page.read_text(encoding="utf-8")
    assert str(tmp_path) not in report.page.read_text()
    assert f"{study.runs[11].id}/result.json" in page.text


def test_a_tenth_of_the_runs_missing(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL, seed=[0, 1, 2, 3, 4])
    skipped = [run.id for run in study.runs[::10]]
    made_up.write_study(tmp_path / "runs", study, skip=skipped)
    report = write_report(study, tmp_path / "runs", tmp_path / "out")
    assert f"{30 - len(skipped)} of 30 runs" in report.answers[1]
    table = pd.read_csv(tmp_path / "out" / "tables" / "accuracy-by-train-size.csv")
    assert table["done"].sum() == 30 - len(skipped)
    assert table["planned"].sum() == 30
    assert not set(" ".join(table["runs"]).split()) & set(skipped)


def test_one_seed_claims_no_order(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL, seed=0)
    made_up.write_study(tmp_path / "runs", study)
    report = write_report(study, tmp_path / "runs", tmp_path / "out")
    said = " ".join(report.answers)
    assert "No interval, so no verdict" in said
    assert "separable" not in said and "below" not in said
    assert "[" not in said
    assert "no interval" in Page(report.page).text


@pytest.mark.parametrize(("pixels", "there"), [([8], False), ([8, 16], True)])
def test_no_section_about_other_resolutions_without_one(
    pixels: list[int], there: bool, made_up: Any, tmp_path: Path
) -> None:
    """Reference: the study's test resolutions, beside 8 px of training."""
    study = made_up.study_of(made_up.SMALL, dataset="cifar10", resolution=8, test_resolutions=pixels)
    made_up.write_study(tmp_path / "runs", study)
    page = write_report(study, tmp_path / "runs", tmp_path / "out").page.read_text()
    for words in ("Accuracy against test resolution", "The same, minus", "Retention of accuracy"):
        assert (words in page) == there, words


def test_one_model_absent(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL)
    absent = [run.id for run in study.runs if run.model == "resnet"]
    made_up.write_study(tmp_path / "runs", study, skip=absent)
    report = write_report(study, tmp_path / "runs", tmp_path / "out")
    assert "0/3 seeds" in Page(report.page).text
    first = next(answer for answer in report.answers if answer.startswith("100 images"))
    assert first.startswith("100 images: vit learned_1d ") and "vit none" in first and "resnet" not in first


def test_nothing_there(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL)
    report = write_report(study, tmp_path / "no such folder", tmp_path / "out")
    assert report.answers == ["No answer yet: no run of this study has finished (18 runs missing)."]
    assert "18 missing" in Page(report.page).text


def test_digits_are_a_demonstration_and_under_trained_cells_are_marked(made_up: Any, tmp_path: Path) -> None:
    study = made_up.study_of(made_up.SMALL)
    for run in study.runs:
        reached = 0.9 if run.position == "none" else 1.0
        made_up.write_record(tmp_path / "runs", run, study.evaluations[run.id], train_accuracy=reached)
    report = write_report(study, tmp_path / "runs", tmp_path / "out")
    page = Page(report.page)
    assert "Interpolation demonstration" in page.text
    assert "Accuracy against test resolution" not in page.text
    assert sum("▽" in text for text, _ in page.cells) == 2 + 4 + 2 + 4  # its cells in all tables
    assert any(
        answer.startswith("Under-trained") and "vit none with 100 and 300 images" in answer for answer in report.answers
    )


def test_left_out_cells_and_names_are_shown_as_text(small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    hostile = dataclasses.replace(
        study,
        name="<script>alert(1)</script>",
        question="Is 1 < 2 & 3 > 2?",
        left_out=(("swin <i>train_size 5</i>", "a window of 7 does not fit"),),
    )
    page = Page(write_report(hostile, root, tmp_path / "out").page)
    assert page.tags.count("script") == 2  # the page's own
    assert page.tags.count("i") == 1  # the page's own
    for text in ("<script>alert(1)</script>", "Is 1 < 2 & 3 > 2?", "swin <i>train_size 5</i>", "window of 7"):
        assert text in page.text


def test_budgets_get_sections_of_their_own(made_up: Any, tmp_path: Path) -> None:
    table = {key: value for key, value in made_up.SMALL.items() if key != "budget"}
    study = made_up.study_of(table, arms=[{"budget": {"steps": 600}}, {"budget": {"epochs": 20}}])
    made_up.write_study(tmp_path / "runs", study)
    report = write_report(study, tmp_path / "runs", tmp_path / "out")
    by_size = pd.read_csv(tmp_path / "out" / "tables" / "accuracy-by-train-size.csv")
    assert by_size.groupby("arm")["budget_kind"].unique().str[0].to_dict() == {1: "steps", 2: "epochs"}
    text = Page(report.page).text
    assert "digits, size pico, recipe digits, 20 epochs, trained at 8 px" in text
    for answer in report.answers:
        assert not ("600 steps" in answer and "20 epochs" in answer)
