"""The body of a job: which runs it takes, when it goes back into the queue, what it makes of hopeless runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from warm import Started

from benchmarks.errors import ConfigError
from benchmarks.plan.run import Evaluation
from benchmarks.records.attempts import claim, slurm_job
from benchmarks.records.record import read_record
from benchmarks.running import local
from slurm import ledger, worker
from slurm.worker import GIVE_UP_AFTER, Order, give_up, no_progress, requeue, tasks_of, time_left, too_little_time

Submit = Callable[..., tuple[int, str]]
Start = Callable[..., Started]
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
    mark = fake.file.with_name("mark")
    assert requeue("7_3", seen, allowed, mark) is expected
    assert mark.exists() is (job is None)
    assert fake.state.get("requeued", []) == (["7_3"] if expected else [])


def test_a_job_without_scontrol_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its runs are interrupted, and the next submission, which is told why, takes them up."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert requeue("7", [USR2], True, tmp_path / "mark", ends=time.monotonic() + 60) is False
    assert "is there a scontrol on the node?" in (tmp_path / "mark").read_text()


@pytest.mark.parametrize("answers", [True, False], ids=["in the end", "never"])
def test_a_controller_that_is_silent_when_the_signal_comes(
    answers: bool, fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked again with longer and longer pauses until the job's end is near; a mark lies there meanwhile."""
    mark, clock, pauses = tmp_path / "mark", [1000.0], list[float]()

    def sleep(seconds: float) -> None:
        assert "Unable to contact slurm controller" in mark.read_text()
        pauses.append(seconds)
        clock[0] += seconds
        fake.set(silent=not answers or len(pauses) < 4)

    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    fake.set(jobs={"7_3": {"name": "x", "state": "RUNNING"}}, silent=True)
    assert requeue("7_3", [USR2], True, mark, ends=1000.0 + 65) is answers
    assert pauses == ([1, 2, 4, 8] if answers else [1, 2, 4, 8, 15, 15, 15])
    assert mark.exists() is not answers
    assert fake.state.get("requeued", []) == (["7_3"] if answers else [])


def test_the_next_submit_reads_the_mark(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """It names job and reason, once; a dry run leaves the mark."""
    submit(3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    array.requeue_mark(0).write_text("the controller was away\n")
    expected = f"job {array.element(0)} was stopped and could not go back into the queue (the controller was away)"
    fake.now("RUNNING")
    assert expected not in submit(3)[1]  # it may still succeed
    fake.now("TIMEOUT")
    assert expected in submit(3, dry_run=True)[1]
    assert expected in submit(3)[1]
    assert expected not in submit(3)[1]


@pytest.mark.parametrize(
    ("end", "more", "expected"),
    [
        (50.0, {}, (50.0, True)),
        (15.0, {"preempted": "2026-01-01T00:00:00"}, (15.0, False)),
        (-10.0, {}, (120.0, False)),  # a clock that differs
        (500.0, {}, (120.0, False)),
        (None, {}, (120.0, False)),
    ],
)
def test_how_long_a_job_has_left(end: float | None, more: Any, expected: Any, fake: Any) -> None:
    """By hand: EndTime as SLURM prints it, in local time, to a second."""
    text = "Unknown" if end is None else time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + end))
    fake.set(jobs={"7": {"name": "x", "state": "RUNNING", "end": text, **more}})
    left, by_limit = time_left("7", 120.0)
    assert (pytest.approx(left, abs=5.0), by_limit) == expected


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
    assert not no_progress(read_record(folder))
    for _ in range(GIVE_UP_AFTER - 1):
        ended(folder, "failed", 2, 2, "boom")
        assert not no_progress(read_record(folder))
    ended(folder, "failed", 2, 2, "boom")
    give_up(read_record(folder), no_progress(read_record(folder)))
    record = read_record(folder)
    assert record.state == "failed"
    assert record.reason == "no progress in 3 attempts: each began at step 2; last: boom"
    assert not no_progress(record)
    for _ in range(GIVE_UP_AFTER):
        ended(folder, "interrupted", 2, 2)
    assert no_progress(read_record(folder))
    perform(run, stop_at=4)  # from 2 to 5
    assert not no_progress(read_record(folder))


def stopped(folder: Path, start: float, work: float, number: int) -> None:
    """An attempt that was stopped after so many seconds of start and of training, one step on."""
    mine = claim(folder, number)
    seconds = {"total": start + work, "start": start, "training": work, "evaluation": 0.0}
    mine.end(state="interrupted", step=number + 1, seconds=seconds, images_per_second=None, error=None)
    (folder / f"checkpoint-{number + 1}-0.pt").touch()


@pytest.mark.parametrize(
    ("work", "given_up"),
    [([0.2, 0.2, 0.2], True), ([0.2, 0.2], False), ([0.2, 0.2, 79.7], False), ([26.0, 26.0, 29.0], False)],
)
def test_too_little_time(
    work: list[float], given_up: bool, perform: Any, tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: a start of 8 s, so that a fair share is 80 s of work in three attempts; each makes a step."""
    run = tiny()
    perform(run, stop_at=1)
    folder = tmp_path / run.id
    shutil.rmtree(folder / "attempts")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for number, seconds in enumerate(work):
        stopped(folder, 8.0, seconds, number + 1)
    reason = too_little_time(read_record(folder), "7", 300.0)
    assert bool(reason) is given_up
    assert not no_progress(read_record(folder))
    assert too_little_time(read_record(folder), "8", 300.0) == ""  # submitted anew: somebody cancelled it
    assert too_little_time(read_record(folder), "7", 0.5) == ""  # a checkpoint interval was reached
    if given_up:
        assert reason.startswith("too little time per job: 24 s of 25 s were start")
        give_up(read_record(folder), reason)
        assert read_record(folder).reason == reason
        assert too_little_time(read_record(folder), "7", 300.0) == ""  # after `retry` it has three attempts again


def test_a_job_gives_up_what_is_only_start(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three attempts in one job, little more than start: given up once its time limit has stopped it three times."""
    from benchmarks.running.execute import execute

    submit(1)
    [array] = ledger.read_arrays(tmp_path / "runs")
    monkeypatch.setenv("SLURM_JOB_ID", "101")
    [task], _ = tasks_of(array, 0, "101")
    execute(task.run, task.root, task.evaluations, task.settings, lambda: True)
    for number in (1, 2):
        stopped(tmp_path / "runs" / task.run.id, 8.0, 0.2, number)
    for _ in range(GIVE_UP_AFTER):
        [_], failed = tasks_of(array, 0, "101")
        assert failed == {}
        array.count_time_limit(0, True)
    tasks, failed = tasks_of(array, 0, "101")
    assert (tasks, list(failed)) == ([], [task.run.id])
    record = read_record(tmp_path / "runs" / task.run.id)
    assert (record.state, record.reason) == ("failed", failed[task.run.id])
    assert "too little time per job" in record.reason


def test_a_job_whose_time_is_over_before_a_run_begins(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes back twice; the third time it is given up, with the reason, though no run has an attempt."""
    submit(1)
    [array] = ledger.read_arrays(tmp_path / "runs")
    monkeypatch.setenv("SLURM_JOB_ID", "101")
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 100))
    fake.now("RUNNING", end=end)
    outcomes = []
    for _ in range(GIVE_UP_AFTER):
        errors = worker.Errors(array, 0)
        outcomes.append(worker._work(array, 0, [USR2], errors))
    assert outcomes == ["requeued", "requeued", "stopped"]
    assert fake.state["requeued"] == ["101", "101"]
    assert errors.lines[0].startswith("too little time per job: 3 times in a row")
    assert not list((tmp_path / "runs").glob("[!.]*/attempts"))


def test_runs_share_the_gpus_of_a_job(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two parts of a GPU and three runs on each: every run is told so. Where a GPU takes one process and no MPS runs,
    the job ends before any of them, with the reason, and nothing has an attempt."""
    monkeypatch.setattr("slurm.submit.check_site", lambda *_: [])
    submit(1, device="cuda", gpus_per_job=2, runs_per_gpu=3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1a,MIG-2b")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "no-mps"))
    [task], _ = tasks_of(array, 0, "101")
    assert task.gpus == ("MIG-1a", "MIG-2b")
    assert (task.settings.device, task.settings.runs_per_gpu) == ("cuda", 3)
    monkeypatch.setattr("benchmarks.running.gpus.one_process_each", lambda: ("0",))
    with pytest.raises(ConfigError, match="runs_per_gpu: 3 runs on a GPU, and GPU 0 takes one process at a time"):
        worker._work(array, 0, [], worker.Errors(array, 0))
    assert not list((tmp_path / "runs").glob("[!.]*/attempts"))


def test_gpus_of_a_job_compute_runs_together(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four GPUs, two a run: two runs side by side, each told so; a submission of before has one GPU a run."""
    monkeypatch.setattr("slurm.submit.check_site", lambda *_: [])
    submit(1, device="cuda", gpus_per_job=4, runs_per_gpu=1, gpus_per_run=2)
    [array] = ledger.read_arrays(tmp_path / "runs")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1a,MIG-1b,MIG-2a,MIG-2b")
    [task], _ = tasks_of(array, 0, "101")
    assert task.settings.gpus_per_run == 2
    path = array.submission / "submission.json"
    about = json.loads(path.read_text())
    assert about["cluster"]["slots"] == 2
    assert [list(local.gpus_of(slot, task.gpus, 2)) for slot in (0, 1, 2)] == [
        ["MIG-1a", "MIG-1b"],
        ["MIG-2a", "MIG-2b"],
        ["MIG-1a", "MIG-1b"],
    ]
    del about["cluster"]["gpus_per_run"]
    path.write_text(json.dumps(about))
    [task], _ = tasks_of(array, 0, "101")
    assert task.settings.gpus_per_run == 1


def test_only_time_limits_count(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """A job that was preempted in between has not been too short three times in a row."""
    submit(3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    for by_limit, count in ((True, 1), (True, 2), (False, 0), (True, 1)):
        array.count_time_limit(0, by_limit)
        assert (array.time_limits(0), array.time_limits(1)) == (count, 0)


def test_submit_warns_of_short_jobs(fake: Any, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's start is assumed to take 10 s; with 2 s measured of its runs, 30 s until the signal are less than three
    starts."""
    assert "warning" not in submit(3, dry_run=True, minutes=1, signal_seconds=30)[1]
    monkeypatch.setattr("slurm.submit.cost.measured_start", lambda root, study: 2.0)
    expected = "warning: a job is told to save after 30 s, and its start is estimated at 12 s"
    assert expected in submit(3, dry_run=True, minutes=1, signal_seconds=30)[1]
    assert "warning" not in submit(3, dry_run=True, minutes=1, signal_seconds=24)[1]


@pytest.mark.usefixtures("one_batch")
def test_an_evaluation_is_progress(perform: Any, tiny: Any, tmp_path: Path) -> None:
    """By hand: a trained run whose jobs each have time for one evaluation is not hopeless; three without one are."""
    run = tiny()
    four = [Evaluation(resolution=side, part=part) for side in (8, 12) for part in ("test", "validation")]
    for stop in (12, 2, 2, 2):  # trained; then an evaluation in each
        assert perform(run, stop_at=stop, evaluations=four).state == "interrupted"
        assert not no_progress(read_record(tmp_path / run.id))
    for _ in range(GIVE_UP_AFTER - 1):
        assert perform(run, stop_at=1, evaluations=four).state == "interrupted"
        assert not no_progress(read_record(tmp_path / run.id))
    assert perform(run, stop_at=1, evaluations=four).state == "interrupted"
    assert no_progress(read_record(tmp_path / run.id))


def test_a_job_takes_what_is_left(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Not what is finished, nor what has failed in this job before it was requeued."""
    from benchmarks.running.execute import execute

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
def test_signals_from_exec_on(number: int, fake: Any, submit: Submit, start: Start, tmp_path: Path) -> None:
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
    done = start("-c", JOB, order, environment={"SLURM_JOB_ID": job}).wait()
    assert done.stdout.splitlines()[-1:] == ["done"], done.stderr
    results = [json.loads((tmp_path / "runs" / run / "result.json").read_text())["state"] for run in array.jobs[0]]
    assert results == ["finished"] * 3


def test_a_signal_that_comes_after_the_work(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """While Python ends, and has taken its own handlers away: the job ends well all the same."""
    submit(3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    array.element_marker(0).touch()  # so that there is nothing to do
    environment = {**os.environ, "SLURM_JOB_ID": array.element(0), "PYTHONPATH": str(array.submission / "code")}
    late = "class Late:\n    def __del__(self):\n        os.kill(os.getpid(), signal.SIGUSR2)\n"
    late += "sys.modules['late'] = Late()  # goes when the interpreter does\n"
    command = [sys.executable, "-c", JOB + late, Order(str(array.path), 0).text()]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, ["cancelled"])


def test_a_cancelled_job_ends_at_once(fake: Any, submit: Submit, start: Start, tmp_path: Path) -> None:
    """Whoever starts it: SLURM after a node's failure, a requeue that came too late."""
    submit(3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    array.element_marker(0).touch()
    order = Order(str(array.path), 0).text()
    done = start("-c", JOB, order, environment={"SLURM_JOB_ID": array.element(0)}).wait()
    assert done.stdout.splitlines()[-1:] == ["cancelled"], done.stderr
    assert not list((tmp_path / "runs").glob("[!.]*"))


def test_leftovers_of_submitit_are_removed(tmp_path: Path) -> None:
    """It refuses to save beside one; those of other jobs are theirs."""
    for name in ("12_0_result.pkl.save_tmp", "13_0_result.pkl.save_tmp", "12_0_result.pkl"):
        (tmp_path / name).touch()
    worker.drop_leftovers(tmp_path, "12")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["12_0_result.pkl", "13_0_result.pkl.save_tmp"]


def test_a_job_loads_what_takes_seconds_in_its_runs_alone() -> None:
    """Its own process has none of it: only the fork server that runs begin from waits for it."""
    heavy = "('torch', 'timm', 'pandas', 'scipy')"
    code = f"import slurm.worker, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(worker.__file__).parents[1], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
