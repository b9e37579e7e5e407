"""Probed evaluations in a report: in the frame and in evaluations.csv, and in no other number."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.elements.reported import reported_arms
from analysis.export import _way
from analysis.frame.arms import split
from analysis.frame.frame import Frame, load
from analysis.frame.waiting import waiting
from analysis.report import write_report
from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study
from benchmarks.records.evaluation_files import pass_paths, read_entries, write_evaluations

PROBES = [{"probe": ["shift", "blur"], "strength": [1, 2]}, {"probe": "noise", "resolution": 16, "strength": 3},
          {"probe": "permuted_labels"}]  # fmt: skip


def accuracy(run: Run, one: Evaluation) -> float:
    """Of a probe far above all others, so that one that is counted is noticed."""
    return 0.99 if one.probe != "-" else round(597 * (0.4 + 0.01 * run.seed + 0.0005 * run.train_size)) / 597


@pytest.fixture
def both(made_up: Any, tmp_path: Path) -> tuple[Study, Study, Path, Path]:
    """A study, the same with probes, and the records of each."""
    models = [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d"]}]
    plain = made_up.study_of(made_up.SMALL, models=models)
    full = made_up.study_of(made_up.SMALL, models=models, evaluations=PROBES)
    for name, study in (("plain", plain), ("full", full)):
        for run in study.runs:
            made_up.write_record(tmp_path / name, run, study.evaluations[run.id], accuracy=accuracy)
    return plain, full, tmp_path / "plain", tmp_path / "full"


GROWN = ("answers", "runs")  # by what is said of probes, and by the pairs of runs behind it


def sections_of(page: Path) -> dict[str, str]:
    """The sections of a page by their ids, without digests of records."""
    parts = page.read_text().split('<section id="')[1:]
    return {
        part.partition('"')[0]: re.sub(r"\b[0-9a-f]{8,64}\b", "", part.partition("</section>")[0]) for part in parts
    }


def test_a_report_has_the_same_numbers_as_without(both: tuple[Study, Study, Path, Path], tmp_path: Path) -> None:
    """Reference: the report of the study without probes, on records without: tables byte for byte but for
    evaluations.csv, answers and sections word for word. Whether the study asks for the
    probes, or only its records have them."""
    plain, full, without, there = both
    before = write_report(plain, without, tmp_path / "before")
    tables = {path.name: path.read_bytes() for path in before.tables if path.name != "evaluations.csv"}
    sections = sections_of(before.page)
    assert len(sections) > 5
    for name, study in (("asked", full), ("found", plain)):
        after = write_report(study, there, tmp_path / name)
        assert [one for one in after.answers if one in before.answers] == list(before.answers)
        assert {path.name: path.read_bytes() for path in after.tables if path.name in tables} == tables
        again = sections_of(after.page)
        for part, text in sections.items():
            if part in GROWN:
                assert set(text.splitlines()) <= set(again[part].splitlines())
            else:
                assert again[part] == text
        evaluations = pd.read_csv(next(path for path in after.tables if path.name == "evaluations.csv"))
        assert (evaluations["probe"] != "-").sum() == 6 * len(full.runs)


def test_frame_and_arms(both: tuple[Study, Study, Path, Path]) -> None:
    """Reference: the evaluations of the study."""
    _, full, _, root = both
    frame = load(root, full)
    asked = {(run.id, one.id): one for run in full.runs for one in full.evaluations[run.id]}
    assert len(frame.rows) == len(asked)
    for row in frame.rows.itertuples():
        one = asked[row.run, row.evaluation]
        assert (row.probe, row.strength) == (one.probe, one.strength)
        assert (row.consistency == 0.5) if one.probe != "-" else pd.isna(row.consistency)
    assert len(frame.main) == len(full.runs) and set(frame.main["probe"]) == {"-"}
    [arm] = reported_arms(full, frame, root)
    assert set(arm.rows["probe"]) == {"-"} and len(arm.probed) == 6 * len(full.runs)
    assert set(arm.probed["probe"]) == {"shift", "blur", "noise", "permuted_labels"}
    assert len(arm.rows) + len(arm.probed) == len(frame.rows)
    assert arm.resolutions == [8, 16] and waiting(frame, full) == []
    ways = {(row.part, _way(row)) for row in frame.rows[frame.rows["run"] == full.runs[0].id].itertuples()}
    assert ("test", "resize, probe blur 2") in ways


def test_what_is_missing_is_named(both: tuple[Study, Study, Path, Path]) -> None:
    """All strengths of a probe together."""
    plain, full, root, _ = both
    frame: Frame = load(root, plain)
    assert [what for what, _ in waiting(frame, full)] == [
        "8 px, resize, probe shift",
        "8 px, resize, probe blur",
        "16 px, resize, probe noise",
        "8 px, resize, probe permuted_labels",
    ]
    assert all(len(arm.probed) == 0 for arm in split(frame))


def test_what_other_code_measured_is_left_out_and_named(both: tuple[Study, Study, Path, Path], tmp_path: Path) -> None:
    """All of blur and of a probe that there is no more: in no table, and waiting where a study asks for it. Without any
    of them nothing is said."""
    plain, full, _, root = both
    assert not any("under probes" in text for text in write_report(full, root, tmp_path / "out", ("csv",)).warnings)
    for run in full.runs:
        [path] = pass_paths(root / run.id)
        entries = read_entries(path)
        for one in entries:
            if one["evaluation"]["probe"] == "blur":
                one["code"] = "00000000"
            if one["evaluation"]["probe"] == "noise":
                one["evaluation"]["probe"] = "smoke"
                one["id"] = Evaluation(**one["evaluation"]).id
        write_evaluations(root / run.id, 1, entries, {})
    for study in (full, plain):
        report = write_report(study, root, tmp_path / str(study is full), ("csv",))
        said = [text.split(": ")[0] for text in report.warnings]
        blurs, smokes = 2 * len(full.runs), len(full.runs)
        assert said == [f"{blurs} evaluations under probes (blur)", f"{smokes} evaluations under probes (smoke)"]
        evaluations = pd.read_csv(next(path for path in report.tables if path.name == "evaluations.csv"))
        assert set(evaluations["probe"]) == {"-", "shift", "permuted_labels"}
    frame = load(root, full)
    assert set(split(frame)[0].probed["probe"]) == {"shift", "permuted_labels"}
    assert waiting(frame, full)[0] == ("8 px, resize, probe blur", tuple(run.id for run in full.runs))
