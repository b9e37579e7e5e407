"""The last error of a job reaches `status` and `logs`, whether Python came as far as our code or not, and whether the
disk has room or not."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from warm import Started

from benchmarks.plan.study import load_study
from slurm import ledger
from slurm.logs import show_logs
from slurm.status import cluster_states
from slurm.worker import Order

Submit = Callable[..., tuple[int, str]]
Start = Callable[..., Started]


def remarks(tmp_path: Path) -> dict[str, str]:
    found, _ = cluster_states(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")
    return {one.run.run.id: one.remark or one.run.reason for one in found}


def logs(run: str, root: Path) -> str:
    console = Console(width=250)
    with console.capture() as captured:
        show_logs(run, root, console)
    return captured.get()


def script_of(array: ledger.Array, job: str, log: str, code: int, folder: Path) -> int:
    """Runs an array's script as SLURM would start its second job; srun writes `log` and ends with `code`."""
    (folder / "bin" / "srun").write_text(f"#!/bin/sh\ncat {folder}/said >> $3\nexit {code}\n")
    (folder / "said").write_text(log)
    (script,) = (array.submission / "submitit").glob("*submission_file*")
    number = {"SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_ID": "999"}
    text = script.read_text().replace("%A_%a_%t", f"{job}_1_0")  # srun's own patterns
    return subprocess.run(["bash", "-c", text], env={**os.environ, **number}, cwd=folder, check=False).returncode


def test_what_ends_before_our_code_begins(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """No such interpreter, a module that is missing: the script keeps the end of its log, and its exit code."""
    submit(4, minutes=1, signal_seconds=10, tflops=1e-9, runs_per_gpu=1)
    [array] = ledger.read_arrays(tmp_path / "runs")
    fake.now("FAILED")
    unknown = {
        run: f"job {array.element(number)} ended before its first run: failed (Priority)"
        for number, job in enumerate(array.jobs)
        for run in job
    }
    assert remarks(tmp_path) == unknown
    trace = "Traceback (most recent call last):\nModuleNotFoundError: No module named 'torch'\n"
    trace += "srun: error: node1: task 0: Exited with exit code 1\n"
    assert script_of(array, array.job, trace, 7, tmp_path) == 7
    [run] = array.jobs[1]
    expected = f"job {array.job}_1 ended before its first run: ModuleNotFoundError: No module named 'torch'"
    assert remarks(tmp_path) == {**unknown, run: expected}
    said = logs(run, tmp_path / "runs")
    assert f"{run} has not begun" in said
    assert trace.splitlines()[0] in said and f"{array.job}_1_0_log.out" in said
    assert script_of(array, array.job, "", 0, tmp_path) == 0  # started again, it ends well
    assert ledger.errors(array) == {}


JOB = """
import sys
from slurm import worker
if __name__ == "__main__":
    print(worker.work(sys.argv[1]), flush=True)
"""


def worked(start: Start, array: ledger.Array) -> "subprocess.CompletedProcess[str]":
    """What came of the array's first job."""
    order = Order(str(array.path), 0).text()
    return start("-c", JOB, order, environment={"SLURM_JOB_ID": array.element(0)}).wait()


def test_what_stops_the_worker(fake: Any, submit: Submit, start: Start, tmp_path: Path) -> None:
    """Its traceback is kept, and shown for each run on its list."""
    submit(2)
    [array] = ledger.read_arrays(tmp_path / "runs")
    fake.now("FAILED")
    study = array.submission / "study.toml"
    kept = study.read_text()
    study.write_text(kept.replace('question = "', 'question = 1  # "'))
    assert worked(start, array).returncode == 1
    assert {text.partition(":")[0] for text in remarks(tmp_path).values()} == {
        f"job {array.job} ended before its first run"
    }
    assert "question" in next(iter(remarks(tmp_path).values()))
    assert "Traceback (most recent call last)" in ledger.errors(array)[0]
    study.write_text(kept)
    (array.submission / "submission.json").write_text("{}")
    assert worked(start, array).returncode == 1
    assert "KeyError" in ledger.errors(array)[0]


def test_a_run_that_fails_without_a_record(fake: Any, submit: Submit, start: Start, tmp_path: Path) -> None:
    """Where its folder cannot be made the run has no record; its job says why, of this run alone, and fails."""
    submit(2)
    [array] = ledger.read_arrays(tmp_path / "runs")
    fake.now("FAILED")
    bad, good = array.jobs[0]
    (tmp_path / "runs" / bad).write_text("in the way")
    done = worked(start, array)
    assert done.returncode == 3, done.stdout + done.stderr
    found = remarks(tmp_path)
    assert found[bad].startswith(f"job {array.job}: FileExistsError")
    assert found[good] == ""
    assert (tmp_path / "runs" / good / "result.json").exists()


def test_room_on_a_full_disk(fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No new file can be written: what was reserved at submission takes the end of the error, and is cleared again."""
    submit(4, minutes=1, signal_seconds=10, tflops=1e-9, runs_per_gpu=1)
    [array] = ledger.read_arrays(tmp_path / "runs")

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "write_atomic", full)
        ledger.note_error(array, 2, "x" * 1000 + "\nOSError: [Errno 28] No space left on device\n")
        ledger.note_error(array, 3, "another\n")
    found = ledger.errors(array)
    assert found.keys() == {2, 3}
    assert ledger.error_line(found[2]) == "OSError: [Errno 28] No space left on device"
    assert found[3] == "another"
    size = array.reserve.stat().st_size
    ledger.note_error(array, 2, "")
    assert ledger.errors(array) == {3: "another"}
    assert array.reserve.stat().st_size == size


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("exit code 1\nImportError: x\nsrun: error: n: task 0: Exited with exit code 1", "ImportError: x"),
        ("exit code 137\nslurmstepd: error: Detected 1 oom_kill", "slurmstepd: error: Detected 1 oom_kill"),
        ("srun: error: n: task 0: Exited with exit code 1", "srun: error: n: task 0: Exited with exit code 1"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_telling_line(text: str, line: str) -> None:
    """By hand."""
    assert ledger.error_line(text) == line
