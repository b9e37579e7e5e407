"""The ledger: every array of a submission is found again, in order."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from benchmarks.errors import InductiveError
from benchmarks.files import write_json
from slurm import ledger

ROOT = Path(__file__).resolve().parents[2]


def test_more_than_a_hundred_arrays(tmp_path: Path) -> None:
    """What breaks otherwise: those beyond the hundredth are not seen, and their runs are submitted twice."""
    folder = ledger.new_submission(tmp_path, "study")
    write_json(folder / "submission.json", {"study": "study", "time": ledger.now()})
    written = [ledger.intend(folder, number, [[f"run{number}"]]) for number in range(120)]
    written[3].element_marker(0).touch()
    assert [array.jobs for array in ledger.read_arrays(tmp_path, "study")] == [array.jobs for array in written]
    assert ledger.read_arrays(tmp_path, "another") == []


def sent(root: Path, study: str = "study") -> Path:
    folder = ledger.new_submission(root, study)
    write_json(folder / "submission.json", {"study": study, "time": ledger.now()})
    return folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_runs_folder_of_ones_own(tmp_path: Path) -> None:
    """Nobody else can look into what was submitted."""
    tmp_path.chmod(0o755)
    folder = sent(tmp_path)
    assert {mode(path) for path in (folder.parent, folder, folder / "arrays", folder / "submitit")} == {0o700}


def test_a_runs_folder_of_a_group(tmp_path: Path) -> None:
    """All of it may submit, nobody can exchange what is another's, and all see what was sent, but not the pickles."""
    tmp_path.chmod(0o2775)
    folder = sent(tmp_path)
    assert mode(folder.parent) == 0o1775
    assert (mode(folder), mode(folder / "arrays"), mode(folder / "submitit")) == (0o750, 0o750, 0o700)
    with ledger.claimed(tmp_path, "study") as held:
        assert mode(held.path.parent) == 0o1775


def test_one_that_was_opened_to_a_group_later(tmp_path: Path) -> None:
    """Its owner's next submission opens the ledger, too."""
    tmp_path.chmod(0o700)
    sent(tmp_path)
    tmp_path.chmod(0o770)
    sent(tmp_path)
    assert mode(tmp_path / ledger.FOLDER) == 0o1770


def test_what_others_could_exchange_is_refused(tmp_path: Path) -> None:
    """Jobs run what lies there: modes that let others write, and a link to elsewhere."""
    tmp_path.chmod(0o755)
    folder = sent(tmp_path)
    for path, bad, words in (
        (folder.parent, 0o777, "others could exchange what jobs run"),
        (folder, 0o770, "can be written by others"),
        (folder / "submitit", 0o777, "can be written by others"),
    ):
        before = mode(path)
        path.chmod(bad)
        with pytest.raises(InductiveError, match=words):
            ledger.new_submission(tmp_path, "study")
        path.chmod(before)
    ledger.check_folder(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / ledger.FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InductiveError, match="is no folder"):
        ledger.new_submission(tmp_path / "other", "study")


def test_a_ledger_of_another_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused in a folder of one's own, and what cannot be read is told, never taken for nothing."""
    tmp_path.chmod(0o755)
    folder = sent(tmp_path)
    owned = Path.lstat

    def by_another(self: Path) -> os.stat_result:
        about = owned(self)
        theirs = self in (folder.parent, folder)
        return os.stat_result((*about[:4], 1234, *about[5:10])) if theirs else about

    with monkeypatch.context() as patch:
        patch.setattr(Path, "lstat", by_another)
        patch.setattr(Path, "owner", lambda self: f"user {self.lstat().st_uid}")
        with pytest.raises(InductiveError, match="belongs to user 1234, and jobs would run what lies in it"):
            ledger.check_folder(tmp_path)
        patch.setattr(ledger.os, "access", lambda path, mode: path == folder.parent)
        assert list(ledger.unread(tmp_path)) == ["1 submission of user 1234 cannot be read; their jobs are not seen"]
        patch.setattr(ledger.os, "access", lambda path, mode: False)
        [note] = ledger.unread(tmp_path)
        assert note.startswith("the submissions of user 1234 cannot be read")
        tmp_path.chmod(0o1770)
        with pytest.raises(InductiveError, match="so jobs that others have sent cannot be seen"):
            ledger.check_folder(tmp_path)


AS_ANOTHER = """
import json, os, sys
from pathlib import Path
from benchmarks.errors import InductiveError
from slurm import ledger
root = Path(sys.argv[1])
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
found = {"unread": list(ledger.unread(root)), "seen": [folder.name for folder in ledger.submissions(root)]}
try:
    with ledger.claimed(root, "study"):
        found["made"] = ledger.new_submission(root, "study").name
except InductiveError as error:
    found["refused"] = str(error)
print(json.dumps(found))
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be two accounts")
def test_two_accounts() -> None:
    """A second account meets a ledger of the first: closed to it, it is told so and nothing is sent; opened, it sees
    what was sent, cannot look at pickles, is kept out while the first submits, and submits beside it."""
    root = Path(tempfile.mkdtemp(prefix="inductive-test-", dir="/tmp"))

    def another() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER, str(root)], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    try:
        root.chmod(0o700)
        first = sent(root)
        os.chown(root, -1, 65534)
        root.chmod(0o2770)
        found = another()
        assert found["unread"] == [
            f"the submissions of root cannot be read ({root / ledger.FOLDER}); their jobs are not seen"
        ]
        assert "so jobs that others have sent cannot be seen" in found["refused"]
        with ledger.claimed(root, "study"):
            second = sent(root)
            found = another()
            assert "root is submitting or cancelling its jobs right now" in found["refused"]
        found = another()
        assert found["seen"] == [second.name]
        assert found["unread"] == ["1 submission of root cannot be read; their jobs are not seen"]
        assert first.exists()
        theirs = root / ledger.FOLDER / found["made"]
        assert (theirs.stat().st_uid, mode(theirs / "submitit")) == (65534, 0o700)
        assert not ledger.is_own(theirs)
    finally:
        shutil.rmtree(root)
