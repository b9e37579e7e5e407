"""Reports of archives and of several roots."""

from pathlib import Path
from typing import Any

import pytest

from analysis.frame.frame import load
from analysis.report import write_report
from benchmarks.plan.study import Study
from benchmarks.records import roots
from benchmarks.records.archive import pack
from benchmarks.records.evaluation_files import packed, read_entries


def test_the_report_of_an_archive_is_that_of_the_folder(
    small: tuple[Study, Path], made_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes, page and tables; the page names a finished run that the study leaves out."""
    study, root = small
    more = made_up.study_of(made_up.SMALL, seed=9)
    made_up.write_study(root, more)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = pack(study, b"", root, tmp_path / "given.zip").path
    ours = write_report(study, root, tmp_path / "ours")
    theirs = write_report(study, roots.opened(archive), tmp_path / "theirs")
    for mine, other in zip([ours.page, *ours.tables], [theirs.page, *theirs.tables], strict=True):
        assert mine.read_bytes() == other.read_bytes()
    assert all(run.id in theirs.page.read_text() for run in more.runs)


def test_a_run_of_two_roots_is_one_row_or_a_problem(
    small: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal records: one row. Another accuracy: no row, and what the two say is a problem."""
    study, root = small
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    archive = pack(study, b"", root, tmp_path / "given.zip").path
    path = root / study.runs[0].id / "evaluations" / "0001.npz"
    entries = read_entries(path)
    path.write_bytes(packed([{**entries[0], "accuracy": 0.125}, *entries[1:]], {}))
    (tmp_path / "joined").mkdir()
    frame = load(roots.joined([root, archive], tmp_path / "joined"), study)
    assert len(frame.runs) == len(study.runs)
    assert frame.runs["state"].value_counts().to_dict() == {"finished": len(study.runs) - 1, "failed": 1}
    assert frame.problems["folder"].tolist() == [study.runs[0].id]
    assert "accuracy: 0.125 and" in frame.problems["problem"][0]
    assert str(tmp_path) not in frame.problems["problem"][0]
