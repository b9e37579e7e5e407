"""Submission: what is left, once, noted before and after; faults 23 and 24 of a sweep, with fake commands."""

import getpass
import json
import os
import re
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from warm import Started

from benchmarks.data.dataset import Places
from benchmarks.errors import ConfigError, InductiveError, OwnedError
from benchmarks.forecast import cost, gpu_speed
from benchmarks.plan.run import Evaluation, make_run
from benchmarks.plan.study import load_study
from benchmarks.records.attempts import GRACE_SECONDS
from benchmarks.records.stages import whole
from benchmarks.records.states import RunState
from benchmarks.speed.synthetic import write_record
from benchmarks.training.kernels import check_precision
from slurm import ledger
from slurm.cluster import Cluster
from slurm.commands import SilentError
from slurm.executor import executor_for
from slurm.ledger import rest_name
from slurm.queue import queue
from slurm.status import cluster_states
from slurm.submit import Matrix, matrix, price, submit_held
from slurm.worker import tasks_of

Submit = Callable[..., tuple[int, str]]
Start = Callable[..., Started]


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
    assert "6 runs in 1 job (1 array) of 2 side by side on gpu" in said
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
    assert "6 runs in 1 job " in said
    assert re.search(r"about 0\.\d core-hours", said)
    each = "0.11 ms for each operation of a step's forward pass"
    assert f"assumed 25 GFLOP/s a CPU core and {each} for 6 runs whose speed nobody has measured here" in said
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
from slurm.submit import read_request, submit_study
study, cluster, runs, data = sys.argv[1], *map(Path, sys.argv[2:])
submit_study(read_request(study, cluster, runs, data), Console(), yes=True)
"""


def test_killed_between_two_arrays(fake: Any, submit: Submit, start: Start, tmp_path: Path) -> None:
    """SIGKILL while sbatch hangs: the ledger says what is uncertain, and the next call settles it."""
    submit(15, dry_run=True, **SHORT, largest_array=5)  # writes the files
    fake.set(hang=[2])
    arguments = [str(tmp_path / name) for name in ("study.toml", "cluster.toml", "runs", "data")]
    process = start("-c", KILLED, *arguments)
    end = time.monotonic() + 60
    while fake.state.get("calls", 0) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    assert process.wait().returncode == -signal.SIGKILL
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
        submit_held(str(folder))
        assert fake.state["environment"] == {"SLURM_CONF": "/etc/elsewhere/slurm.conf"}
        assert len(ledger.read_arrays(tmp_path / "runs")[-1].runs) == count
    assert sum("rest" in one["name"] for one in fake.jobs.values()) == 2  # nothing is over after the last
    assert len(listed(tmp_path)) == 7
    assert all("-s7-" not in run for run in listed(tmp_path))


def test_what_keeps_the_rest_from_being_submitted(
    fake: Any,
    submit: Submit,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where SLURM refuses the job that submits the rest, or what it submits, somebody is told; where there is no room
    at all, no job is promised."""
    from rich.console import Console

    from slurm.jobs import show_jobs

    fake.set(fail=[2])
    code, said = submit(4, **SHORT, max_jobs=2, over="dependent")
    assert code == 3
    assert "the job that submits what is left could not be sent (sbatch: error: " in said
    assert "held back by max_jobs = 2; submit again later" in submit(4, **SHORT, max_jobs=2, over="dependent")[1]
    fake.now("COMPLETED")
    assert submit(4, **SHORT, max_jobs=2, over="dependent")[0] == 0
    folder = ledger.submissions(tmp_path / "runs")[-1]
    fake.now("COMPLETED")
    fake.set(fail=[fake.state["calls"] + 1])
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with pytest.raises(SystemExit) as end:  # so that its script keeps the end of its log
        submit_held(str(folder))
    assert end.value.code == 3
    (folder / "arrays" / "rest.0.error").write_text("exit code 3\nPermission denied\n")
    notes = cluster_states(load_study(str(tmp_path / "study.toml")), tmp_path / "runs")[1]
    assert "the job that submits what was held back ended badly: Permission denied; submit again" in notes
    capsys.readouterr()
    show_jobs("study", tmp_path / "runs", Console(quiet=True), as_json=True)
    reasons = {one["submission"]: one["reasons"] for one in json.loads(capsys.readouterr().out)["submissions"]}
    assert reasons[folder.name] == ["the job that submits what was held back: Permission denied"]


def test_a_controller_that_sends_nothing_is_silent(fake: Any, tmp_path: Path) -> None:
    """Its message when a connection breaks off, which is no refusal."""
    (tmp_path / "bin" / "squeue").write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Zero Bytes were transmitted or received' >&2\nexit 1\n"
    )
    with pytest.raises(SilentError, match="Zero Bytes were transmitted"):
        queue(["7"])


def test_the_price_names_what_is_computed_on() -> None:
    """By hand: two runs of an hour each, side by side. On a GPU that is an hour of it, on a CPU two of its cores."""
    planned = Matrix(((("a", "b"),),), (), {"a": 3600.0, "b": 3600.0}, 0)
    on_gpus = Cluster(partitions=("gpu",), runs_per_gpu=2)
    on_cpus = Cluster(partitions=("cpu",), runs_per_gpu=2, gpus_per_job=0)
    assert price(planned, on_gpus) == (1.0, "GPU-hours")
    assert price(planned, on_cpus) == (2.0, "core-hours")
    together = Cluster(partitions=("gpu",), gpus_per_job=4, gpus_per_run=4)
    assert price(planned, together) == (8.0, "GPU-hours")
    by_processes = Cluster(partitions=("cpu",), runs_per_gpu=4, gpus_per_job=0, gpus_per_run=2)
    assert price(planned, by_processes) == (4.0, "core-hours")
    assert (together.slots, by_processes.slots) == (1, 2)


def test_another_cluster_counts_from_one(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """A job of the same id and another name is not ours."""
    submit(5)
    fake.set(jobs={key: {**one, "name": "somebody-elses"} for key, one in fake.jobs.items()})
    _, said = submit(5)
    assert "5 runs in 1 job " in said


def test_an_unprepared_study_is_refused(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """The command that prepares it is named; nothing is sent."""
    from benchmarks.running.preflight import check_prepared

    (tmp_path / "other.toml").write_text(STUDY_OF_CIFAR)
    study = load_study(str(tmp_path / "other.toml"))
    command = rf"`inductive prepare {tmp_path / 'other.toml'} --data"
    with pytest.raises(InductiveError, match=rf"cifar10 is not prepared under .*: {command}"):
        check_prepared(study, study.runs, tmp_path / "runs", tmp_path / "data")


def test_what_starts_from_a_run_that_diverged_is_set_aside(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Of two starts one has finished, one has diverged: what starts from the first is sent, and with the other alone
    nothing is, as where there are none yet. Reference: the records written here."""
    arms = 'arms = [{}, { init_from = "arms[0]", budget = { steps = 2 } }]\n'
    with pytest.raises(ConfigError, match=r"init_from: .* is neither a run under"):
        submit(2, more=arms)
    study = load_study(str(tmp_path / "study.toml"))
    [good, bad], begun = ([run for run in study.runs if bool(run.init_from) == later] for later in (False, True))
    for run, state in ((good, "finished"), (bad, "diverged")):
        write_record(tmp_path / "runs", run, study.evaluations[run.id], state)
    code, said = submit(2, more=arms)
    assert code == 0 and f"set aside: {begun[1].id}: it starts from {bad.id} (diverged)" in said
    assert listed(tmp_path) == [begun[0].id]
    with pytest.raises(ConfigError, match=rf"init_from: run {bad.id} has no weights"):
        submit(2, more=arms, only=begun[1].id)


def test_accepted_code_measures_what_is_stale(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """A finished run of other sources that lacks an evaluation is sent only with `--accept-code`, one that lacks none
    never is. Reference: what the job finds to do."""
    submit(2, dry_run=True)
    study = load_study(str(tmp_path / "study.toml"))
    lacking, whole = study.runs
    write_record(tmp_path / "runs", lacking, study.evaluations[lacking.id][:1], "stale")
    write_record(tmp_path / "runs", whole, study.evaluations[whole.id], "stale")
    code, said = submit(2)
    assert code == 0 and "nothing to submit" in said
    code, said = submit(2, accept_code=True)
    assert (code, listed(tmp_path)) == (0, [lacking.id])
    [array] = ledger.read_arrays(tmp_path / "runs")
    [task], failed = tasks_of(array, 0, "101")
    assert (task.run, task.missing, failed) == (lacking, tuple(study.evaluations[lacking.id][1:]), {})


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

    from slurm.cancel import cancel_study

    submit(5, **SHORT)
    first = runs_of(tmp_path)[0]
    cancel_study(str(tmp_path / "study.toml"), first, tmp_path / "runs", Console(quiet=True))
    assert sorted(one["state"] for one in fake.jobs.values()) == ["CANCELLED"] + ["PENDING"] * 4
    [array] = ledger.read_arrays(tmp_path / "runs")
    assert [array.is_cancelled(n) for n, job in enumerate(array.jobs)] == [first in job for job in array.jobs]
    _, said = submit(5, **SHORT)
    assert "1 run in 1 job " in said
    cancel_study(str(tmp_path / "study.toml"), None, tmp_path / "runs", Console(quiet=True))
    assert {one["state"] for one in fake.jobs.values()} == {"CANCELLED"}


SUBMIT = ("inductive", "submit", "study.toml", "--cluster", "cluster.toml", "--runs", "runs", "--data", "data", "--yes")


def test_the_second_of_two_submissions_stops(fake: Any, submit: Submit, start: Start, tmp_path: Path) -> None:
    """While one waits for sbatch another shell is told who submits, and sends nothing; once that one is killed, the
    next takes over at once."""
    submit(5, dry_run=True, **SHORT)
    fake.set(hang=[1])
    first = start(*SUBMIT)
    end = time.monotonic() + 120
    while fake.state.get("calls", 0) < 1 and time.monotonic() < end:
        time.sleep(0.05)
    with pytest.raises(OwnedError) as error:
        submit(5, **SHORT)
    said = f"{getpass.getuser()} is submitting or cancelling its jobs right now: host {socket.gethostname()}"
    assert re.search(rf"study: {re.escape(said)}, process \d+, since 20", str(error.value))
    assert fake.state["calls"] == 1
    first.kill()
    assert first.wait().returncode == -signal.SIGKILL
    fake.set(hang=[])
    code, said = submit(5, **SHORT)
    assert code == 0
    assert "cut off" in said
    assert sum(one["state"] == "PENDING" for one in fake.jobs.values()) == 5
    assert listed(tmp_path) == runs_of(tmp_path)


def test_two_submissions_at_once(fake: Any, submit: Submit, start: Start, tmp_path: Path) -> None:
    """Two processes started together: every run is on one list, whoever came first; the other stopped (exit code 4)
    or found nothing left to submit."""
    submit(5, dry_run=True, **SHORT)
    both = [process.wait() for process in [start(*SUBMIT, together=True) for _ in range(2)]]
    said, codes = [one.stdout for one in both], sorted(one.returncode for one in both)
    assert codes in ([0, 4], [0, 0]), said
    assert sum("nothing to submit" in one for one in said) == codes.count(0) - 1, said
    assert len(fake.jobs) == 5
    assert listed(tmp_path) == runs_of(tmp_path)


def test_an_owner_on_another_host_has_a_time_of_grace(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Nobody can ask for its process; without a sign of life it counts as dead, and when it wakes it sends nothing."""
    submit(2, dry_run=True)
    (tmp_path / "runs").mkdir(exist_ok=True)
    with pytest.raises(OwnedError, match="took over"), ledger.claimed(tmp_path / "runs", "study") as sleeper:
        owner = json.loads((sleeper.path / "owner.json").read_text())
        (sleeper.path / "owner.json").write_text(json.dumps({**owner, "host": "another"}))
        with pytest.raises(OwnedError, match="host another"):
            submit(2)
        for sign in (sleeper.path / "owner.json", sleeper.path):
            os.utime(sign, (time.time() - GRACE_SECONDS - 60,) * 2)
        assert submit(2)[0] == 0
        sleeper.check()


def test_the_job_that_submits_the_rest_waits(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody submits when it starts: it does not fail, it comes after them."""
    submit(4, **SHORT, max_jobs=2, over="dependent")
    fake.now("COMPLETED")
    [folder] = ledger.submissions(tmp_path / "runs")
    waits: list[float] = []
    claim = ledger.claimed(tmp_path / "runs", "study")
    claim.__enter__()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            claim.__exit__(None, None, None)

    monkeypatch.setattr(ledger, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    submit_held(str(folder))
    assert len(waits) == 3
    assert len(listed(tmp_path)) == 4


SEARCH = 'search = { trials = 2, draw = { learning_rate = "log 1e-4 .. 1e-2" } }\nconfirm = { seeds = 2 }\n'


def test_a_dependent_job_submits_what_confirms_a_search(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever `over` says, once the search is done. Where that job never came to it, the next `submit` does it."""
    code, said = submit(1, more=SEARCH, over="wait")
    assert code == 0 and "3 runs in 1 job" in said
    [folder] = ledger.submissions(tmp_path / "runs")
    [array] = ledger.read_arrays(tmp_path / "runs")
    [(number, rest)] = [(key, one) for key, one in fake.jobs.items() if one["name"] == rest_name(folder)]
    assert rest["dependency"] == f"afterany:{array.job}"
    assert f"job {number} submits what is left and confirms the search once job {array.job} is over" in said
    assert "nothing to submit; the search is not done yet" in submit(1, more=SEARCH)[1]

    study = load_study(str(tmp_path / "study.toml"))
    for run in study.runs:
        write_record(tmp_path / "runs", run, study.evaluations[run.id])
    fake.now("COMPLETED")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    shutil.copytree(tmp_path, before := tmp_path.with_name("before"))
    submit_held(str(folder))
    second = ledger.read_arrays(tmp_path / "runs")[-1].runs
    places = Places(tmp_path / "data", tmp_path / "runs")
    assert sorted(second) == sorted(run.id for run in whole(study, places).runs if run.id not in study.trial_ids)
    assert len(second) == 2 and sum("rest" in one["name"] for one in fake.jobs.values()) == 1

    shutil.rmtree(tmp_path / "runs")
    shutil.move(before / "runs", tmp_path / "runs")
    assert "2 runs in 1 job" in submit(1, more=SEARCH)[1]
    assert sorted(ledger.read_arrays(tmp_path / "runs")[-1].runs) == sorted(second)


def test_paths_that_sbatch_would_read_otherwise(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """%j in the path of the records would become a number in the path of the logs."""
    from slurm.executor import check_path

    check_path(Path("/data/müller 1/runs"))
    for bad in ("/data/%j", "/data/a\nb", "/data/it's", "/data/a\\b"):
        with pytest.raises(ConfigError, match="which sbatch would replace"):
            check_path(Path(bad))


def die(tmp_path: Path, job: str, words: str) -> None:
    """The log of a job that came to nothing."""
    [folder] = ledger.submissions(tmp_path / "runs")[-1:]
    (folder / "submitit" / f"{job}_0_log.out").write_text(
        f"{words}\nsrun: error: n1: task 0: Exited with exit code 127\n"
    )


def test_a_second_job_that_ends_before_its_first_run(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """A wrong python: the first is shown with its reason and sent again, the second stops submission, with or without
    --yes; another python, or `retry`, submits."""
    words = "env: '/no/python': No such file or directory"
    wrong = {"python": "/no/python"}
    for number in (101, 102):
        assert submit(2, **wrong)[0] == 0
        die(tmp_path, str(number), words)
        fake.now("FAILED", reason="NonZeroExitCode")
    with pytest.raises(InductiveError) as error:
        submit(2, **wrong)
    assert f"jobs 101, 102 ended before their first run: {words}" in str(error.value)
    assert "`python`" in str(error.value)
    assert f"`inductive retry {tmp_path / 'study.toml'}`" in str(error.value)
    assert len(fake.jobs) == 2
    code, said = submit(2, python=sys.executable)
    assert code == 0
    assert f"job 102 ended before its first run: {words}" in said
    assert len(fake.jobs) == 3


def test_a_retry_counts_anew(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """What SLURM says is the reason where there is no log; runs that never began are retried, too."""
    from rich.console import Console

    from slurm.submit import read_request, retry_study

    for _ in range(2):
        submit(2)
        fake.now("FAILED", reason="JobLaunchFailure")
    with pytest.raises(
        InductiveError, match=r"jobs 101, 102 ended before their first run: failed \(JobLaunchFailure\)"
    ):
        submit(2)
    files = (str(tmp_path / "study.toml"), tmp_path / "cluster.toml")
    states = ("failed", "lost", "interrupted")
    request = read_request(*files, tmp_path / "runs", tmp_path / "data", states=states)
    assert retry_study(request, Console(quiet=True), yes=True) == 0
    assert len(fake.jobs) == 3
    fake.now("FAILED", reason="JobLaunchFailure")
    assert submit(2)[0] == 0  # one since the retry
    fake.now("FAILED", reason="JobLaunchFailure")
    with pytest.raises(InductiveError, match="jobs 103, 104"):
        submit(2)


@pytest.mark.parametrize("end", ["CANCELLED", "NODE_FAIL", "PREEMPTED", "COMPLETED"])
def test_ends_that_say_nothing_of_the_settings(fake: Any, submit: Submit, end: str) -> None:
    """A job that was cancelled or lost its node is no reason to stop."""
    for _ in range(4):
        assert submit(2)[0] == 0
        fake.now(end)
    assert len(fake.jobs) == 4


def test_what_a_job_tells_of_its_death(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Its own words before its log; a mark that it could not go back into the queue is told, too."""
    submit(2)
    fake.now("FAILED", reason="NonZeroExitCode")
    [array] = ledger.read_arrays(tmp_path / "runs")
    (array.path.parent / "00.0.error").write_text("OSError: No space left on device\x1b[31m\n")
    (array.path.parent / "00.0.not-requeued").write_text("the controller did not answer\n")
    _, said = submit(2)
    assert "job 101 ended before its first run: OSError: No space left on device [31m" in said
    assert "job 101 was stopped and could not go back into the queue (the controller did not answer)" in said


def test_hundreds_of_arrays_in_few_questions(fake: Any, submit: Submit, tmp_path: Path) -> None:
    """Jobs are asked for by their ids, five hundred at a time, whatever LOGNAME says."""
    submit(12, **SHORT, largest_array=1)
    before = fake.state.get("squeues", 0)
    assert "nothing to submit" in submit(12, **SHORT, largest_array=1)[1]
    assert fake.state["squeues"] == before + 1
    asked = queue(map(str, range(1, 1201)))
    assert fake.state["squeues"] == before + 4
    assert sorted(asked) == sorted(fake.jobs)
    assert queue(["7"]) == {}  # which squeue calls an invalid id


def test_names_with_the_sign_between_fields(fake: Any) -> None:
    """A job of an earlier version, whose name has a `|` in it, is seen."""
    fake.set(jobs={"7": {"name": "inductive-a|b-00", "state": "RUNNING", "reason": "None"}})
    assert queue(["7"])["7"].name == "inductive-a|b-00"


def test_jobs_go_by_the_speed_of_their_gpus(tmp_path: Path) -> None:
    """Reference: the forecast of a run, two of them on each GPU. The same runs are more jobs on slower GPUs."""
    options = {"width": 192, "depth": 6, "heads": 3, "patch_size": 4}
    settings = {"model": "vit", "dataset": "cifar10", "options": options, "budget": {"steps": 20_000}}
    runs = [make_run({**settings, "seed": seed}) for seed in range(40)]
    study = SimpleNamespace(runs=runs, evaluations={run.id: [] for run in runs})
    jobs = {}
    for kind in ("h100", "t4"):
        cluster = Cluster(partitions=("gpu",), gpu_type=kind, runs_per_gpu=2)
        request = SimpleNamespace(study=study, root=tmp_path, cluster=cluster)
        left = [RunState(run, "missing", "", (), None) for run in runs]
        planned = matrix(request, left, 100)  # type: ignore[arg-type]
        seconds = cost.run_seconds(runs[0], [], cost.Slot("cuda", kind, 2, form=lambda run: "graphs"))
        assert set(planned.seconds.values()) == {seconds}
        assert price(planned, cluster) == (pytest.approx(40 * seconds / 2 / 3600), "GPU-hours")
        jobs[kind] = planned.jobs
    assert jobs["t4"] > jobs["h100"]


def test_gpus_that_compute_a_run_together_take_less_time_and_cost_more() -> None:
    """Reference: the formula of docs/cluster.md, by hand. Four GPUs take a quarter of the arithmetic of one, as long to
    launch it, and have to add up gradients; runs that one GPU has been measured at say nothing of four."""
    settings = {"model": "resnet", "size": "tiny", "dataset": "cifar10", "budget": {"steps": 10_000}}
    run = make_run(settings)
    one, four = (cost.Slot("cuda", "a100", ranks=ranks) for ranks in (1, 4))
    flops = 6 * cost.facts(run).macs * run.recipe.batch_size / gpu_speed.flops("a100", "float32")
    exchange = 8 * sum(cost.facts(run).parameters.values()) * 3 / 4 / 10e9
    assert cost.step_seconds(run, one) - cost.step_seconds(run, four) == pytest.approx(0.75 * flops - exchange)
    assert cost.run_seconds(run, [], one) / 4 < cost.run_seconds(run, [], four) < cost.run_seconds(run, [], one)
    record: Any = SimpleNamespace(execution={"device": "cpu", "ranks": 2})
    assert [cost._is_of(record, {}, run, cost.Slot(ranks=ranks)) for ranks in (1, 2)] == [False, True]
    early: Any = SimpleNamespace(execution={"device": "cpu"})
    assert cost._is_of(early, {}, run, cost.Slot())


def test_a_trained_run_is_priced_by_the_evaluations_it_lacks(tmp_path: Path) -> None:
    """Reference: the forecast that `plan` prints for the same evaluations, and a whole run's."""
    run = make_run({"model": "vit", "dataset": "cifar10", "budget": {"steps": 20_000}})
    there, later = (Evaluation(resolution=side) for side in (32, 64))
    study = SimpleNamespace(runs=[run], evaluations={run.id: [there, later]})
    request = SimpleNamespace(study=study, root=tmp_path, cluster=Cluster(partitions=("gpu",), gpu_type="a100"))
    slot = cost.Slot("cuda", "a100", form=lambda run: "graphs")
    for state, waiting, seconds in (
        ("finished", (later,), cost.evaluation_seconds(run, [later], slot)),
        ("interrupted", (there, later), cost.run_seconds(run, [there, later], slot)),
    ):
        planned = matrix(request, [RunState(run, state, "", waiting, None)], 100)  # type: ignore[arg-type]
        assert planned.seconds == {run.id: seconds}


def test_what_a_job_cannot_do_is_refused(
    fake: Any, submit: Submit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is sent: TF32 on CPUs, in the words of `run`; more memory than a job has. On GPUs it is sent."""
    run = make_run({"model": "vit", "precision": "tf32"})
    with pytest.raises(InductiveError) as here:
        check_precision(run, "cpu")
    words = str(here.value).removeprefix(run.id)
    with pytest.raises(InductiveError, match=re.escape(words)):
        submit(2, more='precision = "tf32"')
    helps = r"what helps: a larger memory_gb \(0\.5\), a smaller runs_per_gpu \(2\), checkpoint_activations = true, a"
    with pytest.raises(InductiveError, match=rf"a job of memory_gb = 0\.5 has 0\.5 GB; {helps}"):
        submit(2, memory_gb=0.5)
    assert fake.jobs == {}
    monkeypatch.setattr("slurm.submit.check_site", lambda *_: [])
    assert submit(2, more='precision = "tf32"', device="auto", gpus_per_job=1)[0] == 0
    assert len(fake.jobs) == 1


def test_what_is_assumed_of_a_gpu_is_said(fake: Any, submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its type, or that it is not known."""
    monkeypatch.setattr("slurm.submit.check_site", lambda *_: [])
    asked = {"device": "auto", "gpus_per_job": 1, "dry_run": True}
    assert "assumed H100 (TFLOP/s in training: " in submit(3, gpu_type="h100", **asked)[1]
    assert "assumed an unnamed GPU, taken for a V100" in submit(3, **asked)[1]
