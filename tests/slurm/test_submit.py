"""Submission: what is left, once, noted before and after; faults 23 and 24 of a sweep, with fake commands."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.errors import InductiveError
from benchmarks.study import load_study
from slurm import ledger
from slurm.cluster import Cluster
from slurm.commands import SilentError
from slurm.executor import executor_for
from slurm.submit import rest_name, submit_rest

Submit = Callable[..., tuple[int, str]]
ROOT = Path(__file__).resolve().parents[2]


def listed(tmp_path: Path) -> list[str]:
    """The runs on the lists of all submitted arrays."""
    arrays = ledger.read_arrays(tmp_path / "runs")
    return sorted(run for one in arrays if one.state == "submitted" for job in one.jobs for run in job)


def runs_of(tmp_path: Path) -> list[str]:
    return sorted(run.id for run in load_study(str(tmp_path / "study.toml")).runs)


def test_asked_twice_submitted_once(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """The second call finds every run on a list of a queued job."""
    code, said = submit(6)
    assert (code, len(fake.jobs)) == (0, 1)
    assert re.search(r"vit none pico, digits r=8, digits +6 of 6", said)
    assert "6 runs in 1 jobs (1 arrays) of 2 side by side on gpu" in said
    assert listed(tmp_path) == runs_of(tmp_path)
    code, said = submit(6)
    assert (code, len(fake.jobs)) == (0, 1)
    assert "nothing to submit" in said
    fake.now("COMPLETED")  # but nothing was done: they are open again
    submit(6)
    assert len(fake.jobs) == 2


def test_a_dry_run_sends_nothing(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Neither a job nor a folder."""
    code, said = submit(6, dry_run=True)
    assert (code, fake.jobs) == (0, {})
    assert "6 runs in 1 jobs" in said
    assert "assumed 0.025 TFLOP/s a slot (cpu) for 6 runs" in said
    assert not (tmp_path / "runs" / ledger.FOLDER).exists()


SHORT = {
    "minutes": 3,
    "signal_seconds": 30,
    "tflops": 1e-9,
    "runs_per_gpu": 1,
}  # so that every run has a job of its own


def test_fifteen_hundred_runs(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Fault 23: arrays below MaxArraySize, no more jobs than max_jobs, the rest later, nothing twice."""
    fake.set(submit_limit=700)
    code, said = submit(1500, **SHORT, largest_array=400, max_jobs=700)
    assert code == 0
    assert "700 runs in 700 jobs (2 arrays)" in said
    assert "800 runs are held back by max_jobs = 700" in said
    assert sorted(len(one.jobs) for one in ledger.read_arrays(tmp_path / "runs")) == [350, 350]
    first = listed(tmp_path)
    code, said = submit(1500, **SHORT, largest_array=400, max_jobs=700)
    assert "0 runs in 0 jobs" in said
    assert listed(tmp_path) == first


def test_the_third_of_five_fails(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Fault 24: two arrays are there, the third was refused, the next call submits it and those after it."""
    fake.set(fail=[3])
    code, said = submit(25, **SHORT, largest_array=5)
    assert code == 3
    assert "refused" in said
    assert "10 of 25 jobs were submitted" in said
    assert [one.state for one in ledger.read_arrays(tmp_path / "runs")] == ["submitted", "submitted", "refused"]
    code, said = submit(25, **SHORT, largest_array=5)
    assert code == 0
    assert listed(tmp_path) == runs_of(tmp_path)
    assert len(fake.jobs) == 25


def test_a_limit_of_the_site(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """What SLURM refuses is said in its words; what was taken before it stays."""
    fake.set(submit_limit=7)
    code, said = submit(10, **SHORT, largest_array=5)
    assert code == 3
    assert "AssocMaxSubmitJobLimit" in said
    assert len(listed(tmp_path)) == 5


def test_sbatch_hangs_after_it_was_taken(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """The jobs are in the queue without their orders: the next call finds them by name, cancels them, submits anew."""
    fake.set(hang=[2])
    code, said = submit(15, **SHORT, largest_array=5, sbatch_seconds=1.0)
    assert code == 3
    assert "sbatch gave no answer" in said
    assert [one.state for one in ledger.read_arrays(tmp_path / "runs")] == ["submitted", "intended"]
    fake.set(hang=[])
    path = ledger.read_arrays(tmp_path / "runs")[1].path
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "writer": {**known["writer"], "pid": 2**22 + 1}}))  # as after that process
    code, said = submit(15, **SHORT, largest_array=5)
    assert code == 0
    assert "lacks its orders and was cancelled" in said
    alive = [key for key, one in fake.jobs.items() if one["state"] == "PENDING"]
    assert len(alive) == 15
    assert listed(tmp_path) == runs_of(tmp_path)


KILLED = """
import sys
from pathlib import Path
from rich.console import Console
from slurm import verbs
study, cluster, runs, data = sys.argv[1], *map(Path, sys.argv[2:])
verbs.submit_study(study, cluster, None, runs, data, False, True, False, Console())
"""


def test_killed_between_two_arrays(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """SIGKILL while sbatch hangs: the ledger says what is uncertain, and the next call settles it."""
    submit(15, dry_run=True, **SHORT, largest_array=5)  # writes the files
    fake.set(hang=[2])
    arguments = [str(tmp_path / name) for name in ("study.toml", "cluster.toml", "runs", "data")]
    with subprocess.Popen([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, start_new_session=True) as process:
        end = time.monotonic() + 60
        while fake.state.get("calls", 0) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGKILL)
    fake.set(hang=[])
    assert [one.state for one in ledger.read_arrays(tmp_path / "runs")] == ["submitted", "intended"]
    code, _ = submit(15, **SHORT, largest_array=5)
    assert code == 0
    assert sum(one["state"] == "PENDING" for one in fake.jobs.values()) == 15
    assert listed(tmp_path) == runs_of(tmp_path)


def test_one_that_never_reached_slurm(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Nobody knows its name: it is submitted anew."""
    submit(5, **SHORT)
    [array] = ledger.read_arrays(tmp_path / "runs")
    known = json.loads(array.path.read_text())
    array.path.write_text(json.dumps({**known, "state": "intended", "job": "", "writer": None}))
    fake.set(jobs={})
    code, said = submit(5, **SHORT)
    assert code == 0
    assert "never reached SLURM" in said
    assert len(fake.jobs) == 5


def test_a_silent_controller_is_not_an_empty_queue(fake: Any, submit: Submit) -> None:
    """Nothing is submitted while nobody knows what is queued."""
    submit(5)
    fake.set(silent=True)
    with pytest.raises(SilentError, match="Unable to contact slurm controller"):
        submit(5)
    assert len(fake.jobs) == 1


def test_a_dependent_job_submits_what_is_over(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three jobs and one after them, which submits the next three, and so on; runs that were not asked for stay out."""
    code, said = submit(8, **SHORT, max_jobs=3, over="dependent", only="*-s[0-6]-*")
    assert code == 0
    assert "4 runs are held back by max_jobs = 3; a job after these submits them" in said
    for count in (3, 1):
        [folder] = ledger.submissions(tmp_path / "runs")[-1:]
        [rest] = [one for one in fake.jobs.values() if one["name"] == rest_name(folder)]
        assert "--gpus-per-node" not in rest["script"]
        assert "--cpus-per-task=1\n" in rest["script"]
        assert any("--gpus-per-node=1" in one["script"] for one in fake.jobs.values())
        assert rest["dependency"] == f"afterany:{ledger.read_arrays(tmp_path / 'runs')[-1].job}"
        fake.now("COMPLETED")
        monkeypatch.setenv("SLURM_JOB_ID", "1")  # of the job that submits; its own jobs must not inherit it
        monkeypatch.setenv("SLURM_CONF", "/etc/elsewhere/slurm.conf")  # where sites do not use /etc/slurm
        submit_rest(str(folder))
        assert fake.state["environment"] == {"SLURM_CONF": "/etc/elsewhere/slurm.conf"}
        assert len(ledger.read_arrays(tmp_path / "runs")[-1].runs) == count
    assert sum("rest" in one["name"] for one in fake.jobs.values()) == 2  # nothing is over after the last
    assert len(listed(tmp_path)) == 7
    assert all("-s7-" not in run for run in listed(tmp_path))


def test_another_cluster_counts_from_one(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """A job of the same id and another name is not ours."""
    submit(5)
    fake.set(jobs={key: {**one, "name": "somebody-elses"} for key, one in fake.jobs.items()})
    _, said = submit(5)
    assert "5 runs in 1 jobs" in said


def test_an_unprepared_study_is_refused(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """The command that prepares it is named; nothing is sent."""
    from slurm.verbs import check_prepared

    (tmp_path / "other.toml").write_text(STUDY_OF_CIFAR)
    study = load_study(str(tmp_path / "other.toml"))
    with pytest.raises(InductiveError, match=r"cifar10 is not prepared under .*: `inductive prepare other --data"):
        check_prepared(study, study.runs, tmp_path / "runs", tmp_path / "data")


STUDY_OF_CIFAR = """
question = "?"
dataset = "cifar10"
train_size = 100
budget = { steps = 3 }
seed = 0
test_resolutions = [32]
[[models]]
name = "resnet"
"""
GOLDEN = Path(__file__).with_name("job.sh.golden")


def test_the_jobs_script(fake: Any, tmp_path: Path) -> None:
    """Reference: a golden file, with the folder and the interpreter named by words."""
    cluster = Cluster(
        partitions=("gpu", "spare"),
        account="lab",
        qos="normal",
        minutes=90,
        setup=("module load cuda/12",),
        options={"constraint": "a100"},
    )
    executor = executor_for(tmp_path, cluster, "inductive-study-00")
    executor.parameters["map_count"] = 3
    text = executor._make_submission_file_text(executor._submitit_command_str, "x")
    text = text.replace(str(tmp_path), "FOLDER").replace(sys.executable, "PYTHON")
    assert text == GOLDEN.read_text()


def script(folder: Path, **keys: Any) -> str:
    """The script of a job for a cluster.toml of these keys."""
    executor = executor_for(folder, Cluster(partitions=("gpu",), **keys), "x")
    return executor._make_submission_file_text(executor._submitit_command_str, "x")


def test_what_is_not_asked_for(fake: Any, tmp_path: Path) -> None:
    """Neither sbatch nor srun names it; srun takes all the CPUs that the site gives the job."""
    text = script(tmp_path, cpus_per_job=0, memory_gb=0.0, gpus_per_job=0)
    assert not [word for word in ("--cpus-per-task", "--mem", "--gpus-per-node") if word in text]
    assert "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_ON_NODE" in text


def test_a_type_of_gpu_and_a_container(fake: Any, tmp_path: Path) -> None:
    """Signals are blocked before the container's words, and all of them are quoted."""
    text = script(
        tmp_path,
        gpu_type="a100",
        gpus_per_job=2,
        srun_args=("--container-image=nvcr.io#nvidia/pytorch", "--mpi=none"),
        launch=("apptainer", "exec", "--nv", "my image.sif"),
        python="/opt/python",
    )
    assert "#SBATCH --gpus-per-node=a100:2\n" in text
    [command] = [line for line in text.splitlines() if line.startswith("srun ")]
    words = shlex.split(command)
    assert words[4:7] == ["--cpus-per-task=2", "--container-image=nvcr.io#nvidia/pytorch", "--mpi=none"]
    assert words[7] == "env"
    launch = words.index("apptainer")
    assert all(word.startswith("--block-signal=") for word in words[8:launch])
    assert words[launch : launch + 6] == ["apptainer", "exec", "--nv", "my image.sif", "/opt/python", "-u"]


def test_submissions_are_for_their_owner_alone(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Pickles run code: nobody else may put one there. And in them is a name and a JSON text."""
    submit(5)
    [folder] = ledger.submissions(tmp_path / "runs")
    assert {path.stat().st_mode & 0o777 for path in (folder, folder / "submitit", folder / "arrays")} == {0o700}
    [pickle] = (folder / "submitit").glob("*_submitted.pkl")
    content = pickle.read_bytes()
    assert b"slurm.worker" in content
    assert len(content) < 2000
    assert (folder / "code" / "slurm" / "worker.py").exists()


def test_cancel_marks_before_it_cancels(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Also for one job alone; what is cancelled is open to the next submission."""
    from rich.console import Console

    from slurm import verbs

    submit(5, **SHORT)
    first = runs_of(tmp_path)[0]
    verbs.cancel_study(str(tmp_path / "study.toml"), first, tmp_path / "runs", Console(quiet=True))
    assert sorted(one["state"] for one in fake.jobs.values()) == ["CANCELLED"] + ["PENDING"] * 4
    [array] = ledger.read_arrays(tmp_path / "runs")
    assert [array.is_cancelled(n) for n, job in enumerate(array.jobs)] == [first in job for job in array.jobs]
    _, said = submit(5, **SHORT)
    assert "1 runs in 1 jobs" in said
    verbs.cancel_study(str(tmp_path / "study.toml"), None, tmp_path / "runs", Console(quiet=True))
    assert {one["state"] for one in fake.jobs.values()} == {"CANCELLED"}
