"""The digest of records that a page holds: what changes it, what does not, and what is said of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from analysis.provenance.digests import of_all, traces
from analysis.report import write_report
from analysis.verify import verify
from benchmarks.errors import RecordError
from benchmarks.plan.study import Study
from benchmarks.records.record import write_evaluations


@pytest.fixture(scope="module")
def written(made_up: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the records of `small`, which are the same each time and wherever they lie."""
    study, folder = made_up.study_of(made_up.SMALL), tmp_path_factory.mktemp("written")
    made_up.write_study(folder / "runs", study)
    return write_report(study, folder / "runs", folder / "out", ["html"]).page


@pytest.fixture
def page(written: Path, tmp_path: Path) -> Path:
    """A copy of it, which can be changed."""
    (tmp_path / "out").mkdir()
    return Path(shutil.copy(written, tmp_path / "out"))


def test_untouched_records_agree_wherever_they_lie(page: Path, small: tuple[Study, Path], tmp_path: Path) -> None:
    study, root = small
    moved = root.rename(tmp_path / "elsewhere")
    for path in moved.glob("*/*.json"):  # another layout of the same values, another account's files
        path.write_text(json.dumps(json.loads(path.read_text()), indent=3))
    (moved / study.runs[0].id / "attempts" / "0001" / "heartbeat").write_text("{}")
    found = verify(page, moved)
    assert (found.runs, found.differences) == (len(study.runs), ())


def test_every_change_is_named(page: Path, small: tuple[Study, Path]) -> None:
    """Reference: the changes made here."""
    study, root = small
    ids = [run.id for run in study.runs]
    result = json.loads((root / ids[0] / "result.json").read_text())
    (root / ids[0] / "result.json").write_text(json.dumps({**result, "train_accuracy": 0.5}))
    shutil.rmtree(root / ids[1])
    write_evaluations(root / ids[2], 2, [], {"x.logits": np.ones(3, np.float16)})
    (root / ids[3] / "accepted.json").write_text('{"sources": {}}')
    (root / ids[4] / "attempts" / "0001" / "environment.json").write_text('{"cpu": "another processor"}')
    assert verify(page, root).differences == (
        f"{ids[0]}: result has changed",
        f"{ids[1]}: there is no such record here",
        f"{ids[2]}: evaluations/0002 is new",
        f"{ids[3]}: accepted is new",
        f"{ids[4]}: attempts/0001 has changed",
    )


def test_a_changed_course_of_training_is_seen(small: tuple[Study, Path], page: Path, tmp_path: Path) -> None:
    """Reference: the change made here. Pages of before did not hold it, and are none the worse."""
    study, root = small
    for run in study.runs:
        (root / run.id / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    assert verify(page, root).differences == ()
    now = write_report(study, root, tmp_path / "now", ["html"]).page
    assert verify(now, root).differences == ()
    (root / study.runs[0].id / "metrics.jsonl").write_text('{"step": 1, "loss": 0.001}\n')
    assert verify(now, root).differences == (f"{study.runs[0].id}: metrics has changed",)


def test_one_prediction_more_or_less_is_seen(small: tuple[Study, Path]) -> None:
    """An array that no table shows counts as well."""
    study, root = small
    one = study.runs[0].id
    digests = []
    for value in (0.0, 1.0, 0.0):
        write_evaluations(root / one, 1, [{"id": "a"}], {"a.logits": np.full(4, value, np.float16)})
        digests.append(of_all(traces(root, [one])))
    assert digests[0] == digests[2] != digests[1]


def test_a_page_changed_by_hand_is_seen(page: Path, small: tuple[Study, Path]) -> None:
    page.write_text(page.read_text(encoding="utf-8").replace("<h2>In words</h2>", "<h2>In word</h2>"), encoding="utf-8")
    assert verify(page, small[1]).differences == ("the page is not as it was written: somebody has changed it",)


def test_what_is_no_page_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text("<html></html>")
    with pytest.raises(RecordError, match=r"x\.html: no page of"):
        verify(tmp_path / "x.html", tmp_path)


def test_the_command_says_it_and_exits_so(
    page: Path, small: tuple[Study, Path], inductive: Callable[..., CompletedProcess[str]]
) -> None:
    study, root = small
    same = inductive("report", "--verify", str(page), "--runs", str(root))
    assert (same.returncode, same.stdout) == (0, "18 records compared: as the page has them\n")
    shutil.rmtree(root / study.runs[0].id)
    other = inductive("report", "--verify", str(page), "--runs", str(root))
    assert other.returncode == 3
    assert f"{study.runs[0].id}: there is no such record here" in other.stdout
    assert inductive("report", "x", "--verify", str(page)).returncode == 2
