"""The state of every run on a cluster: records first, squeue second, and silence is not absence."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.attempts import claim
from benchmarks.study import load_study
from slurm import ledger, status
from slurm.status import cluster_states, with_slurm

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
    found, extras, silent = with_slurm(study, tmp_path / "runs")
    assert (found[0].state, found[1].state, silent) == ("running", "queued", "")
    assert extras[run.id] == {"job": job, "left": "10:00", "remark": ""}
    fake.now("FAILED")
    assert states(tmp_path)[run.id][0] == "running"  # its last heartbeat is young
    for sign in (mine.path / "heartbeat", mine.path / "owner.json", mine.path):
        os.utime(sign, (1.0, 1.0))
    monkeypatch.setattr("benchmarks.attempts.GRACE_SECONDS", 1e12)  # what a record alone would wait for
    assert states(tmp_path)[run.id] == ("lost", f"job {job} is over and its heartbeat is old")
    assert status.OLD < 300


def test_a_silent_controller(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """From the records alone, and it says so."""
    submit(3)
    fake.set(silent=True)
    study = load_study(str(tmp_path / "study.toml"))
    found, extras, silent = with_slurm(study, tmp_path / "runs")
    assert {one.state for one in found} == {"missing"}
    assert {one["remark"] for one in extras.values()} == {"perhaps queued"}
    assert "Unable to contact slurm controller" in silent


def test_an_uncertain_submission(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Said beside the state of its runs."""
    submit(3)
    [array] = ledger.read_arrays(tmp_path / "runs")
    known = json.loads(array.path.read_text())
    array.path.write_text(json.dumps({**known, "state": "intended", "job": "", "writer": None}))
    assert set(states(tmp_path).values()) == {("missing", "its submission is uncertain: `inductive submit` finds out")}
