"""Retrying what ended badly, and the logs of a run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.attempts import claim
from benchmarks.errors import InductiveError
from benchmarks.run import Run
from benchmarks.start import run_sources
from benchmarks.study import load_study
from slurm import ledger, verbs

Submit = Callable[..., tuple[int, str]]


def begun(root: Path, run: Run) -> Path:
    """A record with its configuration and nothing else."""
    folder = root / run.id
    folder.mkdir(parents=True)
    settings = {"format": 1, "id": run.id, "run": run.settings(), "delta": run.delta, "subset": "-"}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def retry(tmp_path: Path, *states: str) -> None:
    files = (tmp_path / "study.toml", tmp_path / "cluster.toml")
    where = (tmp_path / "runs", tmp_path / "data")
    assert verbs.retry_study(str(files[0]), files[1], states, None, *where, True, Console(quiet=True)) == 0


def test_failed_runs_wait_for_a_retry(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """`submit` leaves them alone, `retry` submits them and no other."""
    submit(3, dry_run=True)
    bad, diverged, _ = load_study(str(tmp_path / "study.toml")).runs
    claim(begun(tmp_path / "runs", bad)).end(state="failed", step=0, error="boom")
    folder = begun(tmp_path / "runs", diverged)
    (folder / "result.json").write_text(json.dumps({"format": 1, "state": "diverged", "diverged_at": 2}))
    execution = {"device": "cpu", "sources": run_sources(diverged, tmp_path / "runs")}
    (folder / "execution.json").write_text(json.dumps(execution))
    _, said = submit(3)
    assert "1 runs in 1 jobs" in said
    assert "1 failed, 1 diverged" in said
    fake.now("COMPLETED")
    retry(tmp_path, "failed")
    assert ledger.read_arrays(tmp_path / "runs")[-1].runs == {bad.id}
    fake.now("COMPLETED")
    retry(tmp_path, "diverged")
    assert diverged.id in ledger.read_arrays(tmp_path / "runs")[-1].runs
    [aside] = (tmp_path / "runs" / ".retried").iterdir()
    assert (aside / "result.json").exists()
    assert not folder.exists()


def test_logs(fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt's own log, how far it is, and where the job's lies."""
    submit(1)
    [run] = load_study(str(tmp_path / "study.toml")).runs
    [folder] = ledger.submissions(tmp_path / "runs")
    (folder / "submitit" / "101_0_log.out").write_text("what srun caught\n")
    monkeypatch.setenv("SLURM_JOB_ID", "101")
    mine = claim(begun(tmp_path / "runs", run))
    (mine.path / "log.txt").write_text("WARNING something\n")
    mine.beat(2, 3, 10.0)
    console = Console(width=250, record=True, quiet=True)
    with console.capture() as captured:
        console.quiet = False
        verbs.show_logs(run.id, tmp_path / "runs", False, console)
    said = captured.get()
    assert "WARNING something" in said
    assert "running, step 2 of 3" in said
    assert "101_0_log.out" in said
    fresh = begun(tmp_path / "other", run)
    with pytest.raises(InductiveError, match="has not begun"):
        verbs.show_logs(run.id, fresh.parent, False, console)
