"""[paper] look = true: a page shows one run of each model from inside, or says why not."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from markupsafe import escape

from analysis.elements.reported import reported_arms
from analysis.frame.frame import load
from analysis.inside.attention.view import panels
from analysis.inside.on_page import IMAGES, inside_chapter
from analysis.inside.panel import Choices
from analysis.inside.subject import opened
from analysis.report import write_report
from benchmarks.plan.paper import Paper
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study, single
from models.options import ModelError

DATA = Path("data")


def looked_into(run: Run) -> Study:
    return replace(single(run), paper=Paper(look=True))


def test_a_page_has_the_figures_of_a_look(finished: tuple[Run, Path], tmp_path: Path) -> None:
    """Reference: the words of the views' own panels. Twice the same bytes; without the key nothing of it is there."""
    run, root = finished
    pages = [
        write_report(study, root, tmp_path / name, ("html", "csv"), data=DATA).page.read_text(encoding="utf-8")
        for name, study in (("one", looked_into(run)), ("two", looked_into(run)), ("without", single(run)))
    ]
    assert pages[0] == pages[1]
    assert 'id="inside"' not in pages[2]
    shown = {panel.name: panel for panel in panels([opened(run.id, "validation", IMAGES, root, DATA)], Choices())}
    for name in ("mean-token", "distance"):
        words = str(escape(shown[name].shows))
        assert words in pages[0]
        assert words not in pages[2]
        assert f'id="inside-1-{name}-' in pages[0]
    assert not list((tmp_path / "one" / "figures").glob("inside-*.csv"))


def copied(run: Run, root: Path, to: Path, without: str = "") -> Path:
    """The record of a run in another folder of records, without a file; that folder."""
    shutil.copytree(root / run.id, to / run.id, ignore=shutil.ignore_patterns(without) if without else None)
    return to


def remarks(study: Study, root: Path, data: Path = DATA) -> dict[str, str]:
    """What the sections of the chapter say, by their titles."""
    chapter = inside_chapter(reported_arms(study, load(root, study), root), root, data)
    return {section.title: section.remark for section in chapter.sections}


def test_what_cannot_be_shown_is_said(finished: tuple[Run, Path], tmp_path: Path) -> None:
    """A record whose weights were not kept: the report comes about."""
    run, root = finished
    kept = copied(run, root, tmp_path / "runs", "weights.safetensors")
    report = write_report(looked_into(run), kept, tmp_path / "out", ("markdown",), data=DATA)
    assert "Nothing is shown: no weights of a finished run were kept" in report.page.read_text(encoding="utf-8")


def test_a_reason_names_no_place(finished: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: the folders given here are in no remark, for each kind of error, nor what a library says of a file."""
    run, root = finished
    study = looked_into(run)
    torn = copied(run, root, tmp_path / "torn", "weights.safetensors")
    (torn / run.id / "weights.safetensors").write_bytes(b"torn")
    missing = copied(run, root, tmp_path / "missing", "weights.safetensors")

    def fails(name: str, *_: object) -> None:
        raise ModelError(f"no file {tmp_path}/{name}")

    found = [*remarks(study, torn).values(), *remarks(study, missing).values()]
    monkeypatch.setattr("analysis.inside.on_page.opened", fails)
    found += remarks(study, root).values()
    assert all("Nothing is shown: " in text for text in found)
    assert not [text for text in found if str(tmp_path) in text or str(root) in text or "safetensors" in text]


def test_the_next_run_with_weights_is_taken(finished: tuple[Run, Path], tmp_path: Path) -> None:
    """Reference: ids. Of two runs the one with weights; each arm and label has a section; a stale run is called so."""
    run, root = finished
    runs = copied(run, root, tmp_path / "runs")
    study = looked_into(run)
    frame = load(runs, study)
    table = pd.concat([frame.runs.assign(run="none-kept", draw=-1), frame.runs])  # the lowest draw comes first
    arms = [
        replace(one, data=replace(one.data, runs=table), number=number)
        for number, one in enumerate(reported_arms(study, frame, runs) * 2, 1)
    ]
    arms[1] = replace(
        arms[1],
        data=replace(arms[1].data, arm=replace(arms[1].arm, recipe="other"), runs=frame.runs.assign(state="stale")),
    )
    first, second = inside_chapter(arms, runs, DATA).sections
    assert run.id in first.remark and first.figures and not second.figures
    assert first.title.endswith(": recipe digits") and second.title.endswith(": recipe other")
    assert second.remark == "Nothing is shown: no run has finished (1 stale, as what they are made of has changed)."


def test_drawings_without_a_table_promise_none(finished: tuple[Run, Path]) -> None:
    run, root = finished
    shown = panels([opened(run.id, "validation", 1, root, DATA)], Choices())
    assert not [panel for panel in shown if "tables" in panel.drawing.alt]
