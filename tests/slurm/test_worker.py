"""The body of a job: which runs it takes, when it goes back into the queue, what it makes of hopeless runs."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.attempts import claim, slurm_job
from benchmarks.record import read_record
from benchmarks.run import Evaluation
from slurm import ledger, worker
from slurm.worker import HOPELESS, Order, give_up, hopeless, requeue, tasks_of

Submit = Callable[..., tuple[int, str]]
USR1, USR2, TERM = signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM


@pytest.mark.parametrize(
    ("seen", "job", "allowed", "expected"),
    [
        ([USR2], {"state": "RUNNING"}, True, True),
        ([USR1], {"state": "RUNNING"}, True, True),
        ([USR2, USR2, TERM], {"state": "RUNNING"}, True, True),
        ([TERM], {"state": "RUNNING", "preempted": "2026-01-01T00:00:00"}, True, True),  # a preemption, in its grace
        ([TERM], {"state": "COMPLETING"}, True, False),  # scancel: it must not come back
        ([TERM], {"state": "RUNNING"}, True, False),
        ([USR2], {"state": "COMPLETING", "preempted": "2026-01-01T00:00:00"}, True, False),  # SLURM requeues it itself
        ([USR2], {"state": "RUNNING"}, False, False),  # a site without requeue
        ([USR2], None, True, False),  # SLURM knows nothing of it
    ],
)
def test_when_a_job_goes_back(seen: list[int], job: Any, allowed: bool, expected: bool, fake: Any) -> None:
    """Reference: what was measured on a real SLURM 22.05 of TERM, USR2 and the states beside them."""
    fake.set(jobs={"7_3": {"name": "x", **job}} if job else {})
    assert requeue("7_3", seen, allowed) is expected
    assert fake.state.get("requeued", []) == (["7_3"] if expected else [])


def test_a_job_without_scontrol_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its runs are interrupted, and the next submission takes them up."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert requeue("7", [USR2], True) is False


def test_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an array SLURM_JOB_ID may be the array's own."""
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert slurm_job() == "12"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "4")
    assert slurm_job() == "12_4"


def ended(folder: Path, state: str, start: int, step: int, error: str | None = None) -> None:
    mine = claim(folder, start)
    mine.end(state=state, step=step, seconds=None, images_per_second=None, error=error)


def test_no_progress_in_three_attempts(perform: Any, tiny: Any, tmp_path: Path) -> None:
    """By hand: progress resets the count, and so does being marked, after which a retry has three attempts again."""
    run = tiny()
    assert perform(run, stop_at=2).state == "interrupted"  # a checkpoint at step 2
    folder = tmp_path / run.id
    assert not hopeless(read_record(folder))
    for _ in range(HOPELESS - 1):
        ended(folder, "failed", 2, 2, "boom")
        assert not hopeless(read_record(folder))
    ended(folder, "failed", 2, 2, "boom")
    assert hopeless(read_record(folder))
    give_up(read_record(folder))
    record = read_record(folder)
    assert record.state == "failed"
    assert record.reason == "no progress in 3 attempts: each began at step 2; last: boom"
    assert not hopeless(record)
    for _ in range(HOPELESS):
        ended(folder, "interrupted", 2, 2)
    assert hopeless(read_record(folder))
    perform(run, stop_at=4)  # from 2 to 5
    assert not hopeless(read_record(folder))


def test_an_evaluation_is_progress(perform: Any, tiny: Any, tmp_path: Path) -> None:
    """By hand: a trained run whose jobs each have time for one evaluation is not hopeless; three without one are."""
    run = tiny()
    four = [Evaluation(resolution=side, part=part) for side in (8, 12) for part in ("test", "validation")]
    for stop in (12, 2, 2, 2):  # trained; then an evaluation in each
        assert perform(run, stop_at=stop, evaluations=four).state == "interrupted"
        assert not hopeless(read_record(tmp_path / run.id))
    for _ in range(HOPELESS - 1):
        assert perform(run, stop_at=1, evaluations=four).state == "interrupted"
        assert not hopeless(read_record(tmp_path / run.id))
    assert perform(run, stop_at=1, evaluations=four).state == "interrupted"
    assert hopeless(read_record(tmp_path / run.id))


def test_a_job_takes_what_is_left(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Not what is finished, nor what has failed in this job before it was requeued."""
    from benchmarks.execute import execute

    submit(4)
    [array] = ledger.read_arrays(tmp_path / "runs")
    tasks, failed = tasks_of(array, 0, "101")
    assert failed == {}
    assert sorted(task.run.id for task in tasks) == sorted(array.jobs[0])
    assert {task.settings.device for task in tasks} == {"cpu"}
    first, second = tasks[0], tasks[1]
    execute(first.run, first.root, first.evaluations, first.settings, lambda: False)
    (tmp_path / "runs" / second.run.id).mkdir()
    execute(second.run, second.root, second.evaluations, second.settings, lambda: True)
    os.environ["SLURM_JOB_ID"] = "101"
    try:
        ended(tmp_path / "runs" / second.run.id, "failed", 1, 1, "boom")
    finally:
        del os.environ["SLURM_JOB_ID"]
    tasks, failed = tasks_of(array, 0, "101")
    left = {task.run.id for task in tasks}
    assert left == set(array.jobs[0]) - {first.run.id, second.run.id}
    assert failed == {second.run.id: "boom"}
    tasks, failed = tasks_of(array, 0, "102")
    assert ({task.run.id for task in tasks}, failed) == (left | {second.run.id}, {})


JOB = """
import os, signal, sys
from slurm import worker
if __name__ == "__main__":
    print(worker.work(sys.argv[1]), flush=True)
"""


@pytest.mark.parametrize("number", [USR1, USR2, TERM])
def test_signals_from_exec_on(number: int, fake: Any, submit: Submit, tmp_path: Path) -> None:
    """The real worker as a process, its signals blocked as in a job's command, one sent at once and twice more later:
    it saves, goes back once (or not at all after TERM alone), and started again it finishes."""
    submit(3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    job = array.element(0)
    fake.now("RUNNING")
    environment = {**os.environ, "SLURM_JOB_ID": job, "PYTHONPATH": str(array.submission / "code")}
    order = Order(str(array.path), 0).text()
    command = ["env", *worker.BLOCKED.split(), sys.executable, "-c", JOB, order]
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        time.sleep(0.2)  # until `env` has blocked them and become Python
        for _ in range(3):
            process.send_signal(number)
        said = process.communicate(timeout=120)[0]
    assert process.returncode == 0
    expected = "stopped" if number == TERM else "requeued"
    assert said.splitlines()[-1] == expected
    assert fake.state.get("requeued", []) == ([job] if expected == "requeued" else [])
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout.splitlines()[-1] == "done"
    results = [json.loads((tmp_path / "runs" / run / "result.json").read_text())["state"] for run in array.jobs[0]]
    assert results == ["finished"] * 3


def test_a_cancelled_job_ends_at_once(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Whoever starts it: SLURM after a node's failure, a requeue that came too late."""
    submit(3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    array.element_marker(0).touch()
    environment = {**os.environ, "SLURM_JOB_ID": array.element(0), "PYTHONPATH": str(array.submission / "code")}
    command = [sys.executable, "-c", JOB, Order(str(array.path), 0).text()]
    done = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "cancelled"
    assert not list((tmp_path / "runs").glob("[!.]*"))


def test_leftovers_of_submitit_are_removed(tmp_path: Path) -> None:
    """It refuses to save beside one; those of other jobs are theirs."""
    for name in ("12_0_result.pkl.save_tmp", "13_0_result.pkl.save_tmp", "12_0_result.pkl"):
        (tmp_path / name).touch()
    worker.drop_leftovers(tmp_path, "12")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12_0_result.pkl", "13_0_result.pkl.save_tmp"]
