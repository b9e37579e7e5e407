"""The state of every run on a cluster: records first, squeue second, and silence is not absence."""

import io
import json
import os
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from benchmarks.errors import InductiveError
from benchmarks.plan.study import load_study
from benchmarks.records.attempts import GRACE_SECONDS, claim, read_attempts
from benchmarks.records.states import run_state
from slurm import ledger, status
from slurm.status import cluster_states, settle_lost, with_slurm

Submit = Callable[..., tuple[int, str]]


def states(tmp_path: Path) -> dict[str, tuple[str, str]]:
    found, _ = cluster_states(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")
    return {one.run.run.id: (one.run.state, one.run.reason or one.remark) for one in found}


def test_queued_with_slurms_reason(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Waiting for resources; then on the list of a running job; then open again when that is over."""
    submit(4)
    fake.now("PENDING", reason="Resources")
    assert set(states(tmp_path).values()) == {("queued", "Resources")}
    fake.now("RUNNING")
    [job] = fake.jobs
    assert set(states(tmp_path).values()) == {("queued", f"on the list of job {job}, which is running")}
    fake.now("COMPLETED")
    assert set(states(tmp_path).values()) == {("missing", "")}
    fake.set(jobs={})  # forgotten after MinJobAge
    assert set(states(tmp_path).values()) == {("missing", "")}


def test_running_and_lost(fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of another host whose job SLURM calls over is lost once its heartbeat is old, not before."""
    submit(2)
    [job] = fake.jobs
    study = load_study(str(tmp_path / "study.toml"))
    run = study.runs[0]
    folder = tmp_path / "runs" / run.id
    folder.mkdir()
    settings = {"format": 1, "id": run.id, "run": run.settings(), "delta": run.delta, "subset": "-"}
    (folder / "config.json").write_text(json.dumps(settings))
    monkeypatch.setenv("SLURM_JOB_ID", job)
    mine = claim(folder)
    monkeypatch.delenv("SLURM_JOB_ID")
    owner = json.loads((mine.path / "owner.json").read_text())
    (mine.path / "owner.json").write_text(json.dumps({**owner, "host": "elsewhere"}))
    mine.beat(3, 9, 100.0)
    fake.now("RUNNING")
    found, extras, notes = with_slurm(study, tmp_path / "runs")
    assert (found[0].state, found[1].state, notes) == ("running", "queued", [])
    assert extras[run.id] == {"job": job, "left": "10:00", "remark": ""}
    fake.now("FAILED")
    assert states(tmp_path)[run.id][0] == "running"  # its last heartbeat is young
    for sign in (mine.path / "heartbeat", mine.path / "owner.json", mine.path):
        os.utime(sign, (1.0, 1.0))
    monkeypatch.setattr("benchmarks.records.attempts.GRACE_SECONDS", 1e12)  # what a record alone would wait for
    assert states(tmp_path)[run.id] == ("lost", f"its job {job} is over (failed)")
    assert status.OLD < 300


def test_a_silent_controller(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """From the records alone, and it says so."""
    submit(3)
    fake.set(silent=True)
    study = load_study(str(tmp_path / "study.toml"))
    found, extras, notes = with_slurm(study, tmp_path / "runs")
    assert {one.state for one in found} == {"missing"}
    assert {one["remark"] for one in extras.values()} == {"perhaps queued"}
    [note] = notes
    assert "Unable to contact slurm controller" in note


def test_an_uncertain_submission(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Said beside the state of its runs."""
    submit(3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    known = json.loads(array.path.read_text())
    array.path.write_text(json.dumps({**known, "state": "intended", "job": "", "writer": None}))
    assert set(states(tmp_path).values()) == {("missing", "its submission is uncertain: `inductive submit` finds out")}


def begun(tmp_path: Path, run: Any, job: str, monkeypatch: pytest.MonkeyPatch, age: float = 0.0) -> Any:
    """An attempt of a job on another host, whose last sign of life is so many seconds old."""
    folder = tmp_path / "runs" / run.id
    folder.mkdir(exist_ok=True)
    settings = {"format": 1, "id": run.id, "run": run.settings(), "delta": run.delta, "subset": "-"}
    (folder / "config.json").write_text(json.dumps(settings))
    monkeypatch.setenv("SLURM_JOB_ID", job)
    mine = claim(folder)
    monkeypatch.delenv("SLURM_JOB_ID")
    owner = json.loads((mine.path / "owner.json").read_text())
    (mine.path / "owner.json").write_text(json.dumps({**owner, "host": "elsewhere"}))
    mine.beat(3, 9, 100.0)
    for sign in (mine.path / "heartbeat", mine.path / "owner.json", mine.path):
        os.utime(sign, (time.time() - age,) * 2)
    return mine


def test_the_record_is_asked_before_the_queue(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three runs in a job that works on: one failed, one gives no sign of life, one waits for its turn."""
    submit(3)
    [job] = fake.jobs
    fake.now("RUNNING")
    failed, stalled, _ = load_study(str(tmp_path / "study.toml")).runs
    begun(tmp_path, failed, job, monkeypatch).end(state="failed", step=0, error="ValueError: boom")
    for age in (120.0, 2 * GRACE_SECONDS):
        mine = begun(tmp_path, stalled, job, monkeypatch, age)
        found, extras, _ = with_slurm(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")
        assert [one.state for one in found] == ["failed", "running", "queued"]
        assert found[0].reason == "ValueError: boom"
        since = datetime.fromtimestamp(mine.path.stat().st_mtime, UTC)
        assert extras[stalled.id]["remark"] == f"stalled since {since:%Y-%m-%d %H:%M:%S} UTC"
        shutil.rmtree(mine.path)
    mine = begun(tmp_path, stalled, job, monkeypatch, 30.0)
    assert states(tmp_path)[stalled.id][0] == "running"
    assert with_slurm(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")[1][stalled.id]["remark"] == ""
    fake.now("RUNNING")
    _, said = submit(3)
    assert "nothing to submit" in said  # a failed one waits for `retry`
    from rich.console import Console

    from slurm.submit import read_request, retry_study

    files = (str(tmp_path / "study.toml"), tmp_path / "cluster.toml")
    request = read_request(*files, tmp_path / "runs", tmp_path / "data", states=("failed",))
    assert retry_study(request, Console(quiet=True), yes=True) == 0
    assert ledger.read_arrays(tmp_path / "runs")[-1].runs == {failed.id}  # though the job still works on others


def test_one_judgement_for_all_verbs(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job killed on another host: once it is quiet, `status`, `submit` and then everybody call its run lost, long
    before the time of grace, and no time is left of it."""
    submit(1)
    [job] = fake.jobs
    study = load_study(str(tmp_path / "study.toml"))
    [run] = study.runs
    mine = begun(tmp_path, run, job, monkeypatch, 5.0)
    fake.now("FAILED", reason="NonZeroExitCode")
    found, extras, _ = with_slurm(study, tmp_path / "runs")
    assert found[0].state == "running"  # its last sign of life is too young
    assert extras[run.id] == {"job": job, "left": "", "remark": f"its job {job} is over (failed)"}
    for sign in (mine.path / "heartbeat", mine.path / "owner.json", mine.path):
        os.utime(sign, (time.time() - 20,) * 2)
    assert states(tmp_path)[run.id] == ("lost", f"its job {job} is over (failed)")
    assert run_state(run, tmp_path / "runs", []).state == "running"  # for the record alone
    settle_lost(study, tmp_path / "runs")  # what `inductive run` asks first
    assert run_state(run, tmp_path / "runs", []).state == "lost"
    assert claim(mine.path.parent.parent).number == 2


def test_submit_takes_up_what_a_dead_job_had(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves SLURM's word in the record, so that the new job does not wait for the dead one."""
    submit(1)
    [job] = fake.jobs
    [run] = load_study(str(tmp_path / "study.toml")).runs
    mine = begun(tmp_path, run, job, monkeypatch, 20.0)
    fake.now("NODE_FAIL")
    _, said = submit(1)
    assert "1 run in 1 job " in said
    assert "1 lost" in said
    assert read_attempts(mine.path.parent.parent)[-1].over() == "NODE_FAIL"
    assert not read_attempts(mine.path.parent.parent)[-1].alive()


def test_jobs_of_earlier_texts(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Jobs of runs that an edit has removed are shown, and cancelled with the others."""
    from rich.console import Console

    from slurm.cancel import cancel_study

    submit(3)
    [job] = fake.jobs
    text = (tmp_path / "study.toml").read_text()
    (tmp_path / "study.toml").write_text(text.replace("steps = 3", "steps = 4"))
    _, _, notes = with_slurm(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")
    cancel = f"`inductive cancel {tmp_path / 'study.toml'}` cancels all"
    assert notes == [f"1 job of earlier texts of this study: {job} (pending); {cancel}"]
    (tmp_path / "study.toml").write_text("no longer TOML")
    console = Console(width=250, record=True, file=io.StringIO())
    assert cancel_study(str(tmp_path / "study.toml"), None, tmp_path / "runs", console) == 0
    assert "1 job cancelled" in console.export_text()
    assert fake.jobs[job]["state"] == "CANCELLED"
    with pytest.raises(InductiveError, match=r"no jobs of 'studi' under .*; there are study; did you mean `study`"):
        cancel_study("studi", None, tmp_path / "runs", console)
    with pytest.raises(InductiveError, match="'resnet' matches no run"):
        cancel_study("study", "resnet", tmp_path / "runs", console)


def test_a_controller_that_hangs(fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`status` does not wait for it."""
    submit(2)
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(status, "STATUS_SECONDS", 0.2)
    found, _, [note] = with_slurm(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")
    assert [one.state for one in found] == ["missing", "missing"]
    assert "SLURM could not be asked" in note
    assert "did not end within" in note


def test_a_job_that_never_began_has_a_reason(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Shown with each of its runs, and once in a sentence."""
    submit(2)
    [job] = fake.jobs
    fake.now("FAILED", reason="NonZeroExitCode")
    [folder] = ledger.submissions(tmp_path / "runs")
    log = "Traceback (most recent call last):\n  File x\nModuleNotFoundError: No module named 'submitit'\n"
    (folder / "submitit" / f"{job}_0_log.out").write_text(log + "srun: error: n1: task 0: Exited with exit code 1\n")
    found, _, notes = with_slurm(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")
    reason = f"job {job} ended before its first run: ModuleNotFoundError: No module named 'submitit'"
    assert {(one.state, one.reason) for one in found} == {("missing", reason)}
    assert notes == [reason]
    fake.set(jobs={})  # forgotten: the log is still there
    assert with_slurm(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")[2] == notes
    failed = "job 101: 2 of 2 runs to do\n[1/2] a: failed after 0 s (digits is not there), about 3 s left\n"
    (folder / "submitit" / f"{job}_0_log.out").write_text(failed)
    [note] = with_slurm(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")[2]
    assert note == f"job {job} ended before its first run: digits is not there"


def test_a_job_of_another_study(fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that two studies have in common, in a job of the one: SLURM's word about it counts for the other."""
    submit(1)
    [job] = fake.jobs
    shutil.copyfile(tmp_path / "study.toml", tmp_path / "other.toml")
    other = load_study(str(tmp_path / "other.toml"))
    begun(tmp_path, other.runs[0], job, monkeypatch, 2 * GRACE_SECONDS)
    for state, expected in (("RUNNING", "running"), ("FAILED", "lost")):
        fake.now(state)
        [one], _, _ = with_slurm(other, tmp_path / "runs")
        assert one.state == expected
    assert one.reason == f"its job {job} is over (failed)"
