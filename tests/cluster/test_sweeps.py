"""A study of eight runs on a real cluster, with everything that happens there: at the end every run is finished, and
its weights and metrics are, to the bit, those of an uninterrupted run on this machine (the fixture `reference`).
"""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cluster_user import CLUSTER, ROOT, STEPS, User, user
from photographs import write_photographs
from testbed import LARGEST_ARRAY, WITHOUT_GPUS, Testbed

from benchmarks.files import read_json
from benchmarks.records.attempts import BEAT_SECONDS
from slurm.cluster import Cluster
from slurm.executor import executor_for
from slurm.site import look, unfit

Kept = dict[str, Mapping[str, bytes]]
HIGH = ("--partition=high", "--exclusive", "--mem=0", "--output=/dev/null", "--wrap=sleep 3")


def same(there: User, reference: Kept) -> None:
    kept = there.kept()
    assert kept.keys() == reference.keys()
    assert [run for run, files in kept.items() if files != reference[run]] == []


def jobs(bed: Testbed) -> list[str]:
    return bed.call("squeue", "-h", "-r", "-o", "%i").split()


def test_a_study_arrives_whole(bed: Testbed, tmp_path: Path, reference: Kept) -> None:
    """Two runs a GPU over two nodes; asked twice, nothing is submitted twice; the checkout may be edited meanwhile, for
    the jobs run a copy."""
    there = user(tmp_path / "u", bed, STEPS)
    said = there.inductive("submit", "study.toml")
    assert "8 runs in" in said
    before = jobs(bed)
    assert "nothing to submit" in there.inductive("submit", "study.toml")
    assert set(jobs(bed)) <= set(before)
    submission = next((there.folder / "runs" / ".submissions").glob("study-*"))
    assert submission.stat().st_mode & 0o777 == 0o700
    there.finish()
    same(there, reference)
    nodes = {
        json.loads(path.read_text()).get("variables", {}).get("SLURMD_NODENAME")
        for path in (there.folder / "runs").glob("[!.]*/attempts/0001/environment.json")
    }
    assert nodes == {"node1", "node2"}


@pytest.mark.parametrize(
    ("bed", "times"), [({}, 2), ({"user_signal": True}, 1)], ids=["twice by term", "by usr2"], indirect=["bed"]
)
def test_preempted(bed: Testbed, times: int, tmp_path: Path, reference: Kept) -> None:
    """A partition of higher priority takes the nodes; by TERM, as is usual, and by USR2 where a site says so."""
    there = user(tmp_path / "u", bed, STEPS)
    there.inductive("submit", "study.toml")
    for _ in range(times):
        there.training(count=2)
        high = [bed.call("sbatch", "--parsable", f"--nodelist={node}", *HIGH).strip() for node in ("node1", "node2")]
        there.until("the preemptors to end", lambda ids=high: not set(ids) & set(jobs(bed)))
    there.finish()
    same(there, reference)
    assert any(attempts(there, run) > 1 for run in reference)


SEARCH = """
recipe = "digits"
size = "pico"
train_size = 100
budget = { steps = STEPS }
[[models]]
name = "resnet"
[[models]]
name = "vit"
position = "none"
[search]
trials = 2
draw = { learning_rate = "log 1e-4 .. 1e-2" }
[confirm]
seeds = 2
"""


def test_a_search_and_its_confirmation(bed: Testbed, tmp_path: Path) -> None:
    """Submitted once: the search is preempted, goes on, and a job after it submits what confirms it. Choice and bits
    are those of one machine that was never interrupted."""
    there, here = user(tmp_path / "u", bed, STEPS), user(tmp_path / "here", None, STEPS)
    for one in (there, here):
        (one.folder / "study.toml").write_text(SEARCH.replace("STEPS", str(STEPS)))
    said = there.inductive("submit", "study.toml")
    assert "submits what is left and confirms the search" in said
    there.training(count=2)
    high = [bed.call("sbatch", "--parsable", f"--nodelist={node}", *HIGH).strip() for node in ("node1", "node2")]
    here.inductive("run", "study.toml", "--device", "cpu")
    there.until("the preemptors to end", lambda: not set(high) & set(jobs(bed)))
    there.until("what confirms the search", lambda: len(there.results()) == 6 + 4)
    there.until("the last job to end", lambda: not jobs(bed))
    same(there, here.kept())
    assert set(there.states().values()) == {"finished"}
    assert any(attempts(there, path.parent.name) > 1 for path in there.results())


def attempts(there: User, run: str) -> int:
    return len(list((there.folder / "runs" / run / "attempts").glob("[0-9]*")))


SLOW = """
import os, time
from models import Encoding
from models.positions.base import Position

class Slow(Position):
    ways = ("recompute",)

    def add(self, tokens, grid):
        time.sleep(0.25 if "SLURM_JOB_ID" in os.environ else 0.0)  # so that no machine is done before the time limit
        return tokens

DECLARED = Encoding("slow", "no position, and it takes its time", "Slow", ways=("recompute",), additive=True)
"""


def test_a_time_limit_shorter_than_the_work(bed: Testbed, tmp_path: Path) -> None:
    """A job of one minute with more than that to do goes back into the queue half a minute before, and goes on. The
    bits are those of a machine that is not slow."""
    steps = 140  # 35 s, and a job has 30 with its start
    there = user(tmp_path / "u", bed, steps, minutes=1, signal_seconds=30, tflops=1.0)
    here = user(tmp_path / "here", None, steps)
    for one in (there, here):
        (one.folder / "slow.py").write_text(SLOW)
        study = f'plugins = ["slow.py"]\n{(one.folder / "study.toml").read_text()}'
        models = '[[models]]\nname = "vit"\nposition = "slow"\n'
        (one.folder / "study.toml").write_text(study.partition("[[models]]")[0] + models)
    there.inductive("submit", "study.toml")
    here.inductive("run", "study.toml", "--device", "cpu")
    there.finish()
    same(there, here.kept())
    owners = [json.loads(path.read_text()) for path in there.runs().glob("*/attempts/0002/owner.json")]
    assert len(owners) == 2
    assert all(owner["start_step"] > 0 for owner in owners)


def test_a_node_dies(bed: Testbed, tmp_path: Path, reference: Kept) -> None:
    """A power failure while it trains: SLURM starts its jobs again elsewhere, from the checkpoints."""
    there = user(tmp_path / "u", bed, STEPS)
    there.inductive("submit", "study.toml")
    there.training(count=2)
    bed.kill_node("node2")
    time.sleep(2)
    bed.start_node("node2")
    there.finish()
    same(there, reference)


@pytest.mark.parametrize("bed", [{"accounting": True}], indirect=True)
def test_cancelled_and_taken_up(bed: Testbed, tmp_path: Path, reference: Kept) -> None:
    """scancel of a job behind our back, then `cancel` of all: nothing comes back by itself; `submit` takes it up. With
    accounting, which most sweeps here do without."""
    there = user(tmp_path / "u", bed, STEPS)
    there.inductive("submit", "study.toml")
    there.training(count=2)
    running = bed.call("squeue", "-h", "-r", "-t", "running", "-o", "%i").split()
    bed.call("scancel", running[0])
    there.until("the job to go", lambda: running[0] not in jobs(bed))
    assert "job " in there.inductive("retry", "study.toml", "--yes").splitlines()[-1]
    said = there.inductive("cancel", "study.toml")
    assert re.search(r"\d+ jobs cancelled", said)
    there.until("all jobs to go", lambda: not jobs(bed))
    time.sleep(8)
    assert jobs(bed) == []
    assert "running" not in there.states().values()
    assert "interrupted" in there.states().values()
    there.finish()
    same(there, reference)


def test_more_jobs_than_an_array_may_have(bed: Testbed, tmp_path: Path) -> None:
    """Jobs beyond the site's largest array are several arrays, those beyond max_jobs are held back and said so."""
    there = user(tmp_path / "u", bed, STEPS, runs_per_gpu=1, minutes=1, signal_seconds=20, tflops=1e-7, max_jobs=70)
    text = (there.folder / "study.toml").read_text().replace("seed = [0, 1]", f"seed = {list(range(20))}")
    (there.folder / "study.toml").write_text(text)
    bed.call("scontrol", "update", "partition=low", "state=down")  # nothing need start for this
    said = there.inductive("submit", "study.toml", "--yes")
    assert "70 runs in 70 jobs (2 arrays)" in said
    assert "10 runs are held back by max_jobs = 70" in said
    assert len(jobs(bed)) == 70 > LARGEST_ARRAY
    assert "nothing to submit" not in (again := there.inductive("submit", "study.toml", "--yes"))
    assert "0 runs in 0 jobs" in again
    states = list(there.states().values())
    assert (states.count("queued"), states.count("missing")) == (70, 10)
    there.inductive("cancel", "study.toml")
    there.until("all jobs to go", lambda: not jobs(bed))


def test_what_is_over_comes_by_a_dependent_job(bed: Testbed, tmp_path: Path) -> None:
    """Eight jobs, three of them in the queue at once: submitted once, all arrive."""
    there = user(tmp_path / "u", bed, 5, minutes=2, signal_seconds=20, tflops=1e-7, max_jobs=3, over="dependent")
    said = there.inductive("submit", "study.toml", "--yes")
    assert "5 runs are held back by max_jobs = 3; a job after these submits them" in said
    there.until("eight results", lambda: len(there.results()) == 8, 400)
    there.until("all runs to be finished", lambda: set(there.states().values()) == {"finished"})
    assert len(list((there.folder / "runs" / ".submissions").glob("study-*"))) == 3


def test_a_promised_gpu_that_is_not_there(bed: Testbed, tmp_path: Path) -> None:
    """Every run fails saying so and is left alone by `submit`; `retry`, with the file put right, finishes them."""
    there = user(tmp_path / "u", bed, 5, device="cuda")
    there.inductive("submit", "study.toml", "--only", "*-s0-*")
    there.until("all jobs to end", lambda: not jobs(bed))
    states = there.states()
    failed = [run for run, state in states.items() if state == "failed"]
    assert len(failed) == 4 == sum("-s0-" in run for run in states)
    said = there.inductive("logs", failed[0])
    assert f"{failed[0]}: failed" in said
    assert "--device cuda: there is none here; available are cpu" in said
    assert "nothing to submit" in there.inductive("submit", "study.toml", "--only", "*-s0-*")
    text = (there.folder / "cluster.toml").read_text().replace('device = "cuda"', 'device = "cpu"')
    (there.folder / "cluster.toml").write_text(text)
    there.inductive("retry", "study.toml", "--failed")
    there.until("four results", lambda: len(there.results()) == 4, 180)
    there.until("the failed runs to finish", lambda: {there.states()[run] for run in failed} == {"finished"})
    assert "finished" in there.inductive("logs", failed[0], "-f")


def test_init_and_check(bed: Testbed, tmp_path: Path) -> None:
    """What the site says of itself becomes a file that a tiny job proves."""
    there = User(tmp_path, bed)
    there.inductive("cluster", "init")
    text = (tmp_path / "cluster.toml").read_text()
    assert 'partitions = ["low"]' in text
    assert f"MaxArraySize {LARGEST_ARRAY}" in text
    assert "preempted with 20 s of grace by TERM alone" in text
    (tmp_path / "data").mkdir()
    (tmp_path / "cluster.toml").write_text(text.replace('device = "auto"', 'device = "cpu"'))
    said = there.inductive("cluster", "check")
    assert "all is as it should be" in said
    (tmp_path / "cluster.toml").write_text(text.replace('device = "auto"', 'device = "cuda"'))
    assert "torch sees no GPU on the node" in there.inductive("cluster", "check", code=3)


@pytest.mark.parametrize("bed", [{"mixed": True}], indirect=True)
def test_a_job_gets_what_it_asks_for(bed: Testbed, tmp_path: Path) -> None:
    """Where tasks are bound to the CPUs that srun is told of: `check` sees both, also where nothing is asked for, and
    fails when it sees fewer; a type of GPU is found; Ctrl-C leaves no job."""
    there = user(tmp_path, bed, STEPS)
    (tmp_path / "data").mkdir()
    said = there.inductive("cluster", "check")
    assert "the job may use 2 CPUs and, of memory, 3.0 GB" in said
    assert "USR2 reaches Python" in said
    assert "all is as it should be" in said
    user(tmp_path, bed, STEPS, srun_args=["--cpu-bind=map_cpu:0"])
    assert "may use 1 of the 2 CPUs of cpus_per_job" in there.inductive("cluster", "check", code=3)
    user(tmp_path, bed, STEPS, gpu_type="large", cpus_per_job=0, memory_gb=0.0)
    with (tmp_path / "cluster.toml").open("a") as file:
        file.write("[options]\ncpus-per-gpu = 2\n")
    assert "the job may use 2 CPUs" in there.inductive("cluster", "check")
    assert node_of(bed) == "node2"
    user(tmp_path, bed, STEPS, gpus_per_job=0, memory_gb=12.0)  # more than the nodes with GPUs have
    there.inductive("cluster", "check")
    assert node_of(bed) == WITHOUT_GPUS
    there.until("the job before to go", lambda: not jobs(bed))
    bed.call("scontrol", "update", "partition=low", "state=down")
    command = ["env", "--default-signal=INT", sys.executable, "-m", "benchmarks.cli.main", "cluster", "check"]
    whole = {**bed.environment, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, env=whole, stdout=subprocess.PIPE, text=True) as process:
        there.until("the job to wait", lambda: jobs(bed))
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[0]
    assert (process.returncode, jobs(bed)) == (130, [])
    assert "interrupted: no job of it is left in the queue" in said


def node_of(bed: Testbed) -> str:
    """Where the last job ran."""
    return bed.call("squeue", "-h", "-t", "all", "-S", "i", "-o", "%N").split()[-1]


@pytest.mark.parametrize("bed", [{"mixed": True}], indirect=True)
def test_limits_are_those_of_slurm(bed: Testbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: `sbatch --test-only` of each request, in a partition that mixes nodes with GPUs and without."""
    for name in ("SLURM_CONF", "PATH"):
        monkeypatch.setenv(name, bed.environment[name])
    site, differing = look(), []
    for gpus, kind, memory in itertools.product((0, 1, 2, 3), ("", "small", "large", "huge"), (3.0, 8.0, 12.0, 20.0)):
        if kind and not gpus:
            continue
        keys = {"gpus_per_job": gpus, "gpu_type": kind, "memory_gb": memory}
        cluster = Cluster(partitions=("low",), minutes=10, **keys)
        executor = executor_for(tmp_path, cluster, "x")
        path = tmp_path / "job.sh"
        path.write_text(executor._make_submission_file_text("true", "x"))
        taken = subprocess.run(["sbatch", "--test-only", path], capture_output=True, check=False).returncode == 0
        if taken != (unfit(cluster, site.partitions[0]) is None):
            differing.append((keys, taken))
    assert differing == []
    monkeypatch.chdir(tmp_path)
    there = User(tmp_path, bed)
    there.inductive("cluster", "init")
    text = (tmp_path / "cluster.toml").read_text()
    assert "gpus_per_job = 1\n" in text
    assert "low: 1 x 0 GPUs, 2 CPUs, 16 GB and 1 x 2 GPUs (small), 2 CPUs, 8 GB and 1 x 2 GPUs (large), 2 CPUs" in text


WRAPPER = """#!/bin/bash
# as a container's runtime: Python is its child, and signals are not handed on
"$@"
exit $?
"""


def test_a_wrapper_around_python(bed: Testbed, tmp_path: Path, reference: Kept) -> None:
    """It neither dies of a signal nor keeps it from the run, which is saved, and goes back into the queue."""
    (wrapper := tmp_path / "wrapper").write_text(WRAPPER)
    wrapper.chmod(0o755)
    there = user(tmp_path / "u", bed, STEPS, launch=[str(wrapper)])
    (tmp_path / "u" / "data").mkdir()
    assert "all is as it should be" in there.inductive("cluster", "check")
    there.inductive("submit", "study.toml", "--only", "*-s0-*")
    there.training()
    running = bed.call("squeue", "-h", "-r", "-t", "running", "-o", "%i").split()
    for job in running:
        bed.call("scancel", "--signal=USR2", job)  # as before a time limit
    there.until("all jobs to end", lambda: not jobs(bed), 240)
    kept = there.kept()
    assert sorted(kept) == sorted(run for run in reference if "-s0-" in run)
    assert [run for run, files in kept.items() if files != reference[run]] == []
    assert any(attempts(there, run) == 2 for run in kept)
    logs = [path.read_text() for path in (there.folder / "runs" / ".submissions").glob("study-*/submitit/*log.out")]
    assert any("stopped by SIGUSR2: all is saved; back into the queue" in log for log in logs)


def test_a_submission_cut_off(bed: Testbed, tmp_path: Path) -> None:
    """sbatch takes the jobs and then hangs: what became of it is found out by the next call, and nothing is twice."""
    there = user(tmp_path / "u", bed, 5, sbatch_seconds=4.0)
    slow = tmp_path / "bin"
    slow.mkdir()
    real = bed.call("which", "sbatch").strip()
    (slow / "sbatch").write_text(f'#!/bin/sh\n{real} "$@"\nsleep 60\n')
    (slow / "sbatch").chmod(0o755)
    bed.call("scontrol", "update", "partition=low", "state=down")
    path = bed.environment["PATH"]
    there.environment["PATH"] = f"{slow}:{path}"
    assert "sbatch gave no answer" in there.inductive("submit", "study.toml", "--yes", code=3, seconds=60)
    there.environment["PATH"] = path
    sent = jobs(bed)
    assert sent
    said = there.inductive("submit", "study.toml", "--yes")
    assert "lacks its orders and was cancelled" in said
    assert not set(sent) & set(jobs(bed))
    bed.call("scontrol", "update", "partition=low", "state=up")
    there.finish()


def test_a_run_that_hangs_is_left_behind(bed: Testbed, tmp_path: Path) -> None:
    """In a system call that does not return (its heartbeat goes into a pipe nobody reads; SLURM would wake up a process
    that is merely stopped) when its job is preempted: its sibling is saved within the grace, the job says who was not,
    goes back into the queue, and takes up both."""
    there = user(tmp_path / "u", bed, 50_000, tflops=1000.0)  # so that both are in one job
    there.inductive("submit", "study.toml", "--only", "resnet-*-s[01]-*")
    there.training(count=2)
    runs = there.folder / "runs"
    owners = {path.parents[2].name: path for path in runs.glob("[!.]*/attempts/0001/owner.json")}
    hung, healthy = sorted(owners)
    os.mkfifo(owners[hung].with_name(".heartbeat.tmp"))
    beat = owners[hung].with_name("heartbeat")
    there.until("the run to hang", lambda: time.time() - beat.stat().st_mtime > 2 * BEAT_SECONDS)
    for node in ("node1", "node2"):
        bed.call("sbatch", f"--nodelist={node}", *HIGH)
    (log,) = (runs / ".submissions").glob("*/submitit/*_0_log.out")
    there.until("the job to stop", lambda: "stopped by" in log.read_text())
    assert f"all is saved but {hung}; back into the queue" in log.read_text()
    assert json.loads((owners[healthy].parent / "ended.json").read_text())["state"] == "interrupted"
    assert not (owners[hung].parent / "ended.json").exists()
    there.until("both runs to go on", lambda: attempts(there, hung) == attempts(there, healthy) == 2)
    there.inductive("cancel", "study.toml")


def test_a_study_with_a_plugin(bed: Testbed, tmp_path: Path) -> None:
    """The documented encoding and study: six runs, two of them with a plugin that is edited while they are queued."""
    there = User(tmp_path, bed)
    text = (ROOT / "docs" / "own-models.md").read_text()
    ring = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    (tmp_path / "ring.py").write_text(ring)
    (tmp_path / "study.toml").write_text(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0])
    (tmp_path / "cluster.toml").write_text(CLUSTER)
    bed.call("scontrol", "update", "partition=low", "state=down")
    there.inductive("submit", "study.toml", "--yes")
    (tmp_path / "ring.py").write_text(f"{ring}\n# edited while queued\n")
    bed.call("scontrol", "update", "partition=low", "state=up")
    there.until("six results", lambda: len(there.results()) == 6)
    there.until("all runs to be finished", lambda: list(there.states().values()) == ["finished"] * 6)
    copies = list((tmp_path / "runs").glob("*/plugins/ring.py"))
    assert [path.read_text() for path in copies] == [ring, ring]


def test_edited_while_queued(bed: Testbed, tmp_path: Path) -> None:
    """A checkout that breaks after submission, with the jobs submitted from within it, harms nothing that is queued."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for room in ("models", "benchmarks", "analysis", "slurm"):
        subprocess.run(["cp", "-r", str(ROOT / room), str(checkout)], check=True)
    there = user(checkout, bed, 20)
    there.environment["PYTHONPATH"] = str(checkout)
    bed.call("scontrol", "update", "partition=low", "state=down")
    there.inductive("submit", "study.toml", "--yes")
    (checkout / "benchmarks" / "execute.py").write_text("raise RuntimeError('edited while queued')\n")
    (checkout / "slurm" / "worker.py").write_text("raise RuntimeError('edited while queued')\n")
    bed.call("scontrol", "update", "partition=low", "state=up")
    there.until("all jobs to end", lambda: not jobs(bed), 240)
    assert len(there.results()) == 8


def test_jobs_that_die_before_their_first_run(bed: Testbed, tmp_path: Path) -> None:
    """A wrong python: the reason is shown, submission stops soon, and goes on once the file is put right."""
    there = user(tmp_path / "u", bed, 5, python="/no/such/python")
    only = ("--only", "*-s0-*")
    words = "ended before (its|their) first run: .*env: .*/no/such/python.*: No such file or directory"
    for _ in range(2):
        said = there.inductive("submit", "study.toml", *only, code=None)
        there.until("all jobs to end", lambda: not jobs(bed))
        assert re.search(words, there.inductive("status", "study.toml"))
    assert re.search(words, there.inductive("submit", "study.toml", "--yes", *only, code=2))
    assert "No such file" in there.inductive("cluster", "jobs", "study.toml")
    text = (there.folder / "cluster.toml").read_text().replace("/no/such/python", "")
    (there.folder / "cluster.toml").write_text(text)
    said = there.inductive("submit", "study.toml", *only)
    assert re.search(words, said)
    there.until("four results", lambda: len(there.results()) == 4, 180)
    there.until("the runs to finish", lambda: list(there.states().values()).count("finished") == 4)


@pytest.mark.parametrize("bed", [{"accounting": True}], indirect=True)
def test_two_shells_and_an_edit(bed: Testbed, tmp_path: Path) -> None:
    """Two `submit`s at once send every run once; whoever asks sees the jobs; after an edit they are jobs of an earlier
    text, which `cancel` ends."""
    there = user(tmp_path / "u", bed, 5, minutes=1, signal_seconds=20, tflops=1e-7)
    bed.call("scontrol", "update", "partition=low", "state=down")  # nothing need start for this
    command, whole = there.call("submit", "study.toml", "--yes")
    both = [
        subprocess.Popen(
            command, cwd=there.folder, env=whole, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 4], [0, 0]), said
    sent = jobs(bed)
    lists = [
        run
        for path in (there.folder / "runs" / ".submissions").glob("study-*/arrays/*.json")
        for job in json.loads(path.read_text())["jobs"]
        for run in job
    ]
    assert len(lists) == len(set(lists)) == 8
    there.environment["LOGNAME"] = "nobody"
    assert set(there.states().values()) == {"queued"}
    assert "nothing to submit" in there.inductive("submit", "study.toml", "--yes")
    there.environment.clear()
    text = (there.folder / "study.toml").read_text().replace("steps = 5", "steps = 6")
    (there.folder / "study.toml").write_text(text)
    assert f"{len(sent)} jobs of earlier texts of this study: " in there.inductive("status", "study.toml")
    assert re.search(r"earlier: budget.steps +\d+ pending", there.inductive("cluster", "jobs", "study.toml"))
    assert f"{len(sent)} jobs cancelled" in there.inductive("cancel", "study.toml")
    there.until("all jobs to go", lambda: not jobs(bed))
    assert "removed: 1 submission" in there.inductive("cluster", "jobs", "study.toml", "--prune", "--yes")


PHOTOGRAPHS = """
plugins = ["slow.py"]
dataset = "folder:photos"
size = "pico"
resolution = 32
train_size = 100
recipe = { name = "strong", batch_size = 16, rrc_scale = 0.2 }
budget = { steps = 60 }
test_resolutions = [32, 48]
[[models]]
name = "vit"
scale = 32
position = "slow"
[[evaluations]]
crop = 0.875
"""


def test_photographs_on_two_nodes(bed: Testbed, tmp_path: Path) -> None:
    """One run by two ranks on each node, which decode from a copy on the nodes' disk; a preemption of the job, then a
    power failure of the second node. The bits are those of four ranks on this machine that decode by themselves, and no
    process stays."""
    mark = f"WHOSE={tmp_path}"
    shared: dict[str, Any] = {"nodes": 2, "gpus_per_job": 2, "gpus_per_run": 4, "cpus_per_job": 4, "memory_gb": 6.0}
    shared |= {"scratch": str(tmp_path / "scratch"), "setup": [f"export {mark}"]}
    there, here = user(tmp_path / "u", bed, STEPS, **shared), user(tmp_path / "here", None, STEPS)
    for one in (there, here):
        (one.folder / "slow.py").write_text(SLOW)
        (one.folder / "study.toml").write_text(PHOTOGRAPHS)
        write_photographs(one.folder / "data" / "photos", each=60)
        one.inductive("prepare", "study.toml")
    here.inductive("run", "study.toml", "--device", "cpu", "--gpus-per-run", "4", "--workers", "0")
    [run] = here.kept()
    there.inductive("submit", "study.toml")
    there.training()
    high = [bed.call("sbatch", "--parsable", f"--nodelist={node}", *HIGH).strip() for node in ("node1", "node2")]
    there.until("the preemptors to end", lambda: not set(high) & set(jobs(bed)))
    there.until("a second attempt", lambda: attempts(there, run) == 2)
    before = newest(there.runs() / run)
    there.until("a checkpoint of it", lambda: newest(there.runs() / run) > before, every=0.1)
    bed.kill_node("node2")
    time.sleep(2)
    bed.start_node("node2")
    there.finish()
    same(there, here.kept())
    owners = [read_json(path) for path in sorted((there.runs() / run).glob("attempts/*/owner.json"))]
    steps = [owner["start_step"] for owner in owners]
    assert len(steps) >= 3
    assert steps == sorted(steps)
    assert steps[2] > before
    noted = [read_json(path)["nodes"] for path in (there.runs() / run).glob("attempts/*/environment.json")]
    assert noted == [2] * len(steps)
    assert read_json(there.runs() / run / "execution.json")["ranks"] == 4
    [copy] = [path for path in (tmp_path / "scratch" / "inductive").iterdir() if path.is_dir()]
    assert (copy / "manifest.json").exists()
    there.until("every process to be gone", lambda: not with_variable(mark), 60)


def with_variable(text: str) -> list[str]:
    """Processes that were started with a variable, or forked from one that was."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if text.encode() in path.read_bytes().split(b"\0"):
                found.append(path.parent.name)
    return found


def newest(folder: Path) -> int:
    """The step of the newest checkpoint."""
    return max((int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*.pt")), default=0)
