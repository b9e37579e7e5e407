"""An attempt that stalls, loses its run to another, and wakes up: what the other has finished stays as it is."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warm import Started

from benchmarks.errors import OwnedError
from benchmarks.plan.run import Evaluation, Run
from benchmarks.records import evaluation_files
from benchmarks.records.attempts import Attempt, claim
from benchmarks.records.metrics import Metrics, read_metrics
from benchmarks.records.record import read_record
from benchmarks.running.attempt_log import Outcome

Make = Callable[..., Run]
Perform = Callable[..., Outcome]

STALLED = """
import json, os, signal, sys
from pathlib import Path
from benchmarks.records.attempts import Claim
from benchmarks.errors import OwnedError
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings
from benchmarks.plan.run import make_run
from benchmarks.plan.study import single

settings, root, at = json.loads(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
check, checks = Claim.check, 0

def stalls(self):
    global checks
    check(self)
    checks += 1
    if checks == at:
        os.kill(os.getpid(), signal.SIGSTOP)  # whoever has just been told that it owns the run

Claim.check = stalls
run = make_run(settings)
try:
    execute(run, root, single(run).evaluations[run.id], Settings(Path("data"), checkpoint_seconds=1e-9), lambda: False)
except OwnedError as error:
    print(error)
"""
BEFORE_EXECUTION, BEFORE_ROWS, BEFORE_CHECKPOINT = 1, 2, 4  # which check it stalls after


def left(folder: Path) -> dict[str, bytes]:
    """The record but for what attempts say of themselves."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.parent.name != "attempts"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("at", [BEFORE_EXECUTION, BEFORE_ROWS, BEFORE_CHECKPOINT])
def test_a_stalled_attempt_adds_nothing_to_a_finished_record(
    at: int,
    tiny: Make,
    perform: Perform,
    start: Callable[..., Started],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A process stopped by SIGSTOP between its check and its write, while another attempt finishes the run. Reference:
    the record as that one has left it."""
    run = tiny()
    stalled = start("-c", STALLED, json.dumps(run.settings()), str(tmp_path), str(at))
    while (state := Path(f"/proc/{stalled.pid}/stat").read_text().rpartition(")")[2].split()[0]) != "T":
        assert state not in "ZX", stalled.wait().stderr
        time.sleep(0.02)
    with monkeypatch.context() as patched:
        patched.setattr(Attempt, "alive", lambda self: False)  # as another host sees it after the grace time
        assert perform(run).state == "finished"
    finished = left(tmp_path / run.id)
    os.kill(stalled.pid, signal.SIGCONT)
    said = stalled.wait(120).stdout
    assert "attempt 2 took over from attempt 1" in said
    assert left(tmp_path / run.id) == finished
    assert [row["step"] for row in read_metrics(tmp_path / run.id / "metrics.jsonl")] == list(range(1, 13))
    assert not list((tmp_path / run.id).glob("checkpoint-*"))


def test_a_pass_that_is_taken_back_is_never_the_owners(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt stalls just after it has renamed a pass with all that was wanted; another finishes the run from there.
    Reference: the record as that one has left it, which has both evaluations."""
    monkeypatch.setattr("benchmarks.running.execute.SAVE_SECONDS", 0.0)
    run, both = tiny(), [Evaluation(resolution=side) for side in (8, 12)]
    write, finished = evaluation_files.write_atomic, dict[str, bytes]()

    def stalls(path: Path, data: bytes, check: Callable[[], None]) -> None:
        write(path, data, check)
        if path.name == "0001.npz" and len(evaluation_files.read_entries(path)) == 2:
            with monkeypatch.context() as patched:
                patched.setattr(Attempt, "alive", lambda self: False)  # as another host sees it after the grace time
                assert perform(run, evaluations=both) == Outcome("finished", "0 evaluations")
            finished.update(left(tmp_path / run.id))

    with monkeypatch.context() as patched:
        patched.setattr(evaluation_files, "write_atomic", stalls)
        with pytest.raises(OwnedError):
            perform(run, evaluations=both)
    assert left(tmp_path / run.id) == finished
    assert [one["id"] for one in read_record(tmp_path / run.id).evaluations] == [one.id for one in both]


def rows(path: Path) -> list[int]:
    return [int(row["step"]) for row in read_metrics(path)]


def filled(path: Path, check: Callable[[], None], *steps: int, start: int = 0) -> Metrics:
    metrics = Metrics(path, 600, check=check)
    metrics.start(start)
    for step in steps:
        metrics.add(step, {"loss": 1.0})
    return metrics


def test_the_owner_puts_right_what_another_has_added(tmp_path: Path) -> None:
    """Rows of another between two writes, after the last one, or cut off: with its next write the file is the owner's.
    Reference: the steps it has added."""
    path = tmp_path / "metrics.jsonl"
    metrics = filled(path, lambda: None, 1, 2)
    metrics.write()
    for number, spoil in enumerate((
        lambda data: data + b'{"step": 9, "loss": 1.0}\n{"st',
        lambda data: data[:-5],
        lambda data: b"",
    )):  # fmt: skip
        path.write_bytes(spoil(path.read_bytes()))
        metrics.add(3 + number, {"loss": 1.0})
        metrics.write()
        assert rows(path) == [1, 2, 3, 4, 5][: 3 + number]
    path.write_bytes(path.read_bytes() + path.read_bytes())
    metrics.finish()
    assert rows(path) == [1, 2, 3, 4, 5]


def test_what_was_added_is_taken_back_from_its_own_file_alone(tmp_path: Path) -> None:
    """While the stalled attempt adds its rows, the owner has put another file in place, or has added rows after them:
    neither is touched. Reference: the file as the owner left it."""
    mine, path = claim(tmp_path), tmp_path / "metrics.jsonl"
    owner = filled(path, lambda: None, 1, 2)

    def fenced(then: Callable[[], Any]) -> Callable[[], None]:
        def check() -> None:
            (tmp_path / "attempts" / "0002").mkdir(exist_ok=True)
            then()
            mine.check()

        return check

    def replaced() -> None:
        owner.finish()  # it finds rows that are not its own

    def added() -> None:
        path.write_bytes(path.read_bytes() + b'{"step": 7}\n')

    for then, expected in ((replaced, [1, 2]), (added, [1, 2, 1, 2, 7])):
        with pytest.raises(OwnedError):
            filled(path, fenced(then), 1, 2, start=2).write()
        assert rows(path) == expected
