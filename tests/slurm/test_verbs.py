"""Retrying what ended badly, and the logs of a run."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.errors import InductiveError, OwnedError
from benchmarks.plan.run import Run
from benchmarks.plan.study import load_study
from benchmarks.records.attempts import claim
from benchmarks.records.init_from import run_sources
from slurm import jobs, ledger
from slurm.cancel import cancel_study
from slurm.commands import SilentError
from slurm.jobs import show_jobs
from slurm.logs import show_logs
from slurm.submit import read_request, retry_study

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
    request = read_request(str(files[0]), files[1], tmp_path / "runs", tmp_path / "data", states=states)
    assert retry_study(request, Console(quiet=True), yes=True) == 0


def test_failed_runs_wait_for_a_retry(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """`submit` leaves them alone, `retry` submits them and no other."""
    submit(3, dry_run=True)
    bad, diverged, _ = load_study(str(tmp_path / "study.toml")).runs
    claim(begun(tmp_path / "runs", bad)).end(state="failed", step=0, error="boom")
    folder = begun(tmp_path / "runs", diverged)
    result = {"format": 1, "state": "diverged", "step": 2, "steps": 3, "images": 128, "diverged_at": 2}
    result["parameters"] = {"backbone": 1, "position": 0, "head": 1}
    (folder / "result.json").write_text(json.dumps(result))
    execution = {"device": "cpu", "sources": run_sources(diverged, tmp_path / "runs")}
    (folder / "execution.json").write_text(json.dumps(execution))
    _, said = submit(3)
    assert "1 run in 1 job " in said
    assert "1 failed, 1 diverged" in said
    fake.now("COMPLETED")
    retry(tmp_path, "failed")
    assert ledger.read_arrays(tmp_path / "runs")[-1].runs == {bad.id}
    fake.now("COMPLETED")
    fake.set(silent=True)
    with pytest.raises(SilentError):
        retry(tmp_path, "diverged")
    assert folder.exists()  # nothing is put aside before it is sent
    fake.set(silent=False)
    retry(tmp_path, "diverged")
    assert ledger.read_arrays(tmp_path / "runs")[-1].runs == {diverged.id}  # not what is missing
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
        show_logs(run.id, tmp_path / "runs", console)
    said = captured.get()
    assert "WARNING something" in said
    assert "running, step 2 of 3" in said
    assert "101_0_log.out" in said
    fresh = begun(tmp_path / "other", run)
    with pytest.raises(InductiveError, match="has not begun"):
        show_logs(run.id, fresh.parent, console)


def test_logs_are_followed_into_a_new_file(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log that was full begins anew, shorter than what has been printed: its lines are printed, too."""
    submit(1, dry_run=True)
    [run] = load_study(str(tmp_path / "study.toml")).runs
    attempt = claim(begun(tmp_path / "runs", run))
    log = attempt.path / "log.txt"
    log.write_text("a long first line\n")
    steps = [lambda: log.write_text("anew\n"), lambda: attempt.end(state="interrupted", step=0)]
    monkeypatch.setattr("slurm.logs.time.sleep", lambda seconds: steps.pop(0)())
    console = Console(width=250, record=True, file=io.StringIO())
    show_logs(run.id, tmp_path / "runs", console, follow=True)
    printed = console.export_text().splitlines()
    assert printed[0] == "a long first line"
    assert "anew" in printed
    assert printed[-1].endswith("interrupted")


def jobs_table(tmp_path: Path, *, prune: bool = False, as_json: bool = False) -> str:
    console = Console(width=250, record=True, file=io.StringIO())
    study = str(tmp_path / "study.toml")
    show_jobs(study, tmp_path / "runs", console, prune=prune, yes=True, as_json=as_json)
    return console.export_text()


def test_jobs_by_the_ledger(fake: Any, submit: Submit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two submissions, of two texts: the states of their jobs, why one died, and which of them can go."""
    submit(2)
    fake.now("FAILED", reason="JobLaunchFailure")
    submit(3)  # the text has another list of seeds now
    jobs_table(tmp_path, as_json=True)
    first, second = json.loads(capsys.readouterr().out)["submissions"]
    assert (first["jobs"], first["runs"], first["ids"]) == ({"failed": 1}, 2, ["101"])
    assert first["text"].endswith("earlier: seed")
    assert first["reasons"] == ["failed (JobLaunchFailure)"]
    assert (second["jobs"], second["runs"], second["reasons"]) == ({"pending": 1}, 3, [])
    assert second["text"].endswith("current")
    assert Path(second["logs"]).is_dir()
    said = jobs_table(tmp_path, prune=True)
    assert "removed: 1 submission of which all jobs are over; 1 kept" in said
    assert [folder.name for folder in ledger.submissions(tmp_path / "runs")] == [second["submission"]]
    assert "nothing removed: 0 submissions" in jobs_table(tmp_path, prune=True)


def test_an_uncertain_submission_is_not_removed(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Nor one of which SLURM has forgotten a job whose run still gives signs of life."""
    submit(1)
    [array] = ledger.read_arrays(tmp_path / "runs")
    fake.set(jobs={})
    known = json.loads(array.path.read_text())
    array.path.write_text(json.dumps({**known, "state": "intended"}))
    assert "nothing removed" in jobs_table(tmp_path, prune=True)
    array.path.write_text(json.dumps(known))
    [run] = load_study(str(tmp_path / "study.toml")).runs
    mine = claim(begun(tmp_path / "runs", run))
    owner = json.loads((mine.path / "owner.json").read_text())
    (mine.path / "owner.json").write_text(json.dumps({**owner, "host": "elsewhere", "slurm_job": array.job}))
    assert "nothing removed" in jobs_table(tmp_path, prune=True)
    mine.end(state="interrupted", step=0)
    assert "removed: 1 submission" in jobs_table(tmp_path, prune=True)


def test_nothing_is_removed_while_somebody_submits(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who began after the table was made, while it waits for an answer, must not lose what they send."""
    submit(1)
    fake.now("COMPLETED")
    [folder] = ledger.submissions(tmp_path / "runs")
    other = ledger.claimed(tmp_path / "runs", "study")
    monkeypatch.setattr(jobs.click, "confirm", lambda text: bool(other.__enter__()))
    with pytest.raises(OwnedError, match="is submitting or cancelling its jobs right now"):
        show_jobs(None, tmp_path / "runs", Console(quiet=True), prune=True)
    assert folder.is_dir()
    other.__exit__(None, None, None)


def test_what_slurm_does_not_cancel(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Every job is tried, the one that submits what was held back as well; the exit code says that some are left."""
    submit(4, minutes=3, signal_seconds=30, tflops=1e-9, runs_per_gpu=1, max_jobs=2, over="dependent")
    (tmp_path / "bin" / "scancel").write_text("#!/bin/sh\necho 'scancel: error: Access denied' >&2\nexit 1\n")
    console = Console(width=250, record=True, file=io.StringIO())
    assert cancel_study(str(tmp_path / "study.toml"), None, tmp_path / "runs", console) == 3
    printed = console.export_text()
    assert "job 101: 2 jobs could not be cancelled: " in printed
    assert "job 102: 1 job could not be cancelled: " in printed
    assert "0 jobs cancelled" in printed


def test_an_array_is_cancelled_at_once(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """One call of scancel, however many jobs it has; of some of its jobs one call, too."""
    short = {"minutes": 3, "signal_seconds": 30, "tflops": 1e-9, "runs_per_gpu": 1}
    submit(4, **short)
    study = str(tmp_path / "study.toml")
    cancel_study(study, "*-d[01]-*", tmp_path / "runs", Console(quiet=True))
    assert fake.state["scancelled"] == [["101_0", "101_1"]]
    cancel_study(study, None, tmp_path / "runs", Console(quiet=True))
    assert fake.state["scancelled"] == [["101_0", "101_1"], ["101"]]
