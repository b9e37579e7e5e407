"""Files are whole or not there."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.errors import RecordError
from benchmarks.files import read_json, write_atomic, write_atomic_by, write_json


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    """Reference: what was written."""
    write_json(tmp_path / "a.json", {"x": [1, 2.5, "three", None]})
    assert read_json(tmp_path / "a.json") == {"x": [1, 2.5, "three", None]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_an_error_while_writing_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    """Reference: the old content."""
    path = tmp_path / "a"
    write_atomic(path, b"old")

    def fails(file: object) -> None:
        raise RuntimeError("as torch reports a full disk")

    with pytest.raises(RuntimeError):
        write_atomic_by(path, fails)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from benchmarks.files import write_atomic
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(Path(sys.argv[1]), b"x" * 5000)
except OSError as error:
    print(type(error).__name__)
"""


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """A real limit of the kernel (RLIMIT_FSIZE) in another process; reference: the old content."""
    path = tmp_path / "a"
    write_atomic(path, b"old")
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "OSError"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    """SIGKILL between write and rename; reference: the old content."""
    path = tmp_path / "a.json"
    write_json(path, {"old": True})
    code = (
        "import os, signal, sys; from pathlib import Path; from benchmarks.files import write_atomic_by\n"
        "write_atomic_by(Path(sys.argv[1]), lambda f: (f.write(b'{'), f.flush(), os.kill(os.getpid(), signal.SIGKILL)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert read_json(path) == {"old": True}


@pytest.mark.parametrize("content", [b"", b'{"half": ', b"\xff\xfe"])
def test_a_torn_file_is_named(tmp_path: Path, content: bytes) -> None:
    """The message must name the file, or nobody finds it."""
    (tmp_path / "torn.json").write_bytes(content)
    with pytest.raises(RecordError, match=r"torn\.json"):
        read_json(tmp_path / "torn.json")


@pytest.mark.parametrize(
    "value", [[0.1, 5e-324, 1e23, 2**63, 10**400, -0.0], {"a": "\udce9", "b": "é"}, [[[]], None, True]]
)
def test_documents_say_what_json_says(value: object, tmp_path: Path) -> None:
    """Reference: json.loads, bit by bit; half a surrogate pair is how a file's name of other bytes is written."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value))
    assert repr(read_json(path)) == repr(json.loads(path.read_text()))
