"""What a stranger has written into a record reaches the terminal as text and does nothing there."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from benchmarks.console import count, duration, printable
from benchmarks.plan.study import load_study
from benchmarks.speed.synthetic import write_record

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m[red]red[/red]\u202egnp.exe"
SHOWN = r"\x1b]0;owned\x07\x1b[2J\x9b31m[red]red[/red]\u202egnp.exe"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain\ttext\nin two lines, é 漢 ✓", "plain\ttext\nin two lines, é 漢 ✓"),
        (HOSTILE, SHOWN),
        ("\r\x08", r"\r\x08"),
    ],
)
def test_printable(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_amounts_and_times_in_words() -> None:
    """By hand."""
    assert [count(n, "jobs") for n in (0, 1, 1200)] == ["0 jobs", "1 job", "1,200 jobs"]
    times = (45.4, 450, 7500, 3600 * 76)
    assert [duration(seconds) for seconds in times] == ["45 s", "7 min 30 s", "2 h 05 min", "3 d 4 h"]


def test_an_error_in_a_record_is_shown_and_not_obeyed(
    tmp_path: Path, inductive: Callable[..., CompletedProcess[str]]
) -> None:
    """The error of an attempt, its log, and what a command refuses. Reference: the text written here."""
    (tmp_path / "one.toml").write_text('[[models]]\nname = "resnet"\n')
    study = load_study(str(tmp_path / "one.toml"))
    folder = write_record(tmp_path / "runs", study.runs[0], [], "failed")
    ended = folder / "attempts" / "0001" / "ended.json"
    ended.write_text(json.dumps({**json.loads(ended.read_text()), "error": f"ValueError: {HOSTILE}"}))
    (folder / "attempts" / "0001" / "log.txt").write_text(HOSTILE)
    for arguments in (("status", "one.toml"), ("show", folder.name), ("logs", folder.name), ("show", HOSTILE)):
        done = inductive(*arguments)
        assert SHOWN in "".join((done.stdout + done.stderr).split("\n")), arguments
        assert not set(done.stdout + done.stderr) & set("\x1b\x07\x9b\u202e")
