"""Code that only moves leaves records as they are: `before_rooms.zip` was packed before the packages had rooms.

Two runs of digits (a ResNet; a ViT with rotary positions), each with evaluations at two resolutions.
"""

import json
import zipfile
from pathlib import Path

import pytest

from benchmarks.cli.main import main
from benchmarks.plan.study import Study, load_study
from benchmarks.records import roots, sources
from benchmarks.records.record import read_record
from benchmarks.records.states import study_states
from benchmarks.slices import changes

ARCHIVE = Path(__file__).parent / "before_rooms.zip"
BEFORE = ("benchmarks.training:Training", "models.registry:create_model", "benchmarks.dataset_files:read_digits")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    text = zipfile.ZipFile(ARCHIVE).read("study.toml")
    (tmp_path / "before.toml").write_bytes(text)
    return load_study(str(tmp_path / "before.toml"))


def unpacked(tmp_path: Path) -> Path:
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path / "runs")
    return tmp_path / "runs"


def test_the_records_name_the_modules_of_their_time() -> None:
    """Otherwise the tests below say nothing."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        names = [name for name in archive.namelist() if name.endswith("execution.json")]
        assert len(names) == 2
        for name in names:
            assert set(BEFORE) <= json.loads(archive.read(name))["sources"].keys()


@pytest.mark.parametrize("packed", [True, False], ids=["an archive", "a folder"])
def test_records_made_before_a_move_are_finished(
    packed: bool, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither stale, nor with an evaluation to be measured again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = roots.opened(ARCHIVE) if packed else unpacked(tmp_path)
    assert [(one.state, one.waiting) for one in study_states(study, root)] == [("finished", ())] * 2


def test_evaluations_by_code_that_measured_the_same_are_kept() -> None:
    """What the digests of before lead to is the code of today: a change of it must come with its new digest."""
    assert set(sources.SAME_CODE.values()) == {sources.evaluation_code()}


def test_running_the_study_again_does_nothing(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Reference: the files' times of change."""
    root = unpacked(tmp_path)
    before = {path: path.stat().st_mtime_ns for run in study.runs for path in (root / run.id).rglob("*")}
    with pytest.raises(SystemExit) as end:
        main(["run", str(tmp_path / "before.toml"), "--runs", str(root)])
    assert end.value.code == 0, capsys.readouterr()
    assert {path: path.stat().st_mtime_ns for run in study.runs for path in (root / run.id).rglob("*")} == before


def test_what_moves_has_not_changed_and_what_changes_is_named(study: Study, tmp_path: Path) -> None:
    """A definition under another module's name is the same one; with another digest, or away, it is not."""
    root = unpacked(tmp_path)
    then = dict((read_record(root / study.runs[0].id).execution or {})["sources"])
    now = sources.run_sources(study.runs[0])
    assert changes(then, now) == ()
    home = next(name for name in now if name.endswith(":Training"))
    assert changes({**then, "benchmarks.training:Training": "00000000"}, now) == (f"{home} (changed)",)
    assert changes({**then, "old.place:Gone": "00000000"}, now) == ("old.place:Gone (gone)",)
    assert changes(then, {**now, "new.place:Added": "00000000"}) == ("new.place:Added (new)",)
