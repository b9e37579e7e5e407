"""`inductive cluster check`: what a node's answer is held against."""

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from benchmarks.doctor.examination import Request
from benchmarks.doctor.findings import Answer, Finding
from benchmarks.errors import InductiveError
from slurm import check
from slurm.check import judge, memory_limit
from slurm.cluster import Cluster
from slurm.commands import SilentError, SlurmError

CLUSTER = Cluster(partitions=("gpu",), gpus_per_job=2, runs_per_gpu=2, cpus_per_job=4, memory_gb=16.0)


USR2 = (
    "USR2 does not reach Python: at a time limit runs would lose their work since the last checkpoint, and the job "
    "would not go back into the queue; a wrapper in `launch` must exec Python, or pass signals on"
)

ALONE = "GPU 0, 1 takes one process at a time (Exclusive_Process) and no MPS runs: runs_per_gpu has to be 1"
NO_GPU = (
    "device is auto, and torch sees no GPU on the node: every run would fail, saying so (the driver is too old); for "
    'nodes without GPUs: device = "cpu" and gpus_per_job = 0'
)


def answer(**changes: Any) -> dict[str, Any]:
    """What a node that is as it should be says."""
    node = {"cuda": 2, "gpus": "0,1", "cpus": 4, "memory_gb": 16.0, "free_gb": 100.0, "signals": True}
    node |= {"why_no_cuda": "", "one_process_each": [], "mps": False}
    here = {"python": sys.version.split()[0], "time": time.time()}
    return {"root": True, "data": True, "data_here": True, **node, **here, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"cpus": 64, "memory_gb": None}, []),  # a whole node, without limits
        ({"memory_gb": 15.99}, []),  # control groups count in pages
        ({"cpus": 1}, ["the job's process may use 1 of the 4 CPUs of cpus_per_job"]),
        ({"one_process_each": ["0"], "mps": True}, []),
        ({"one_process_each": ["0", "1"]}, [ALONE]),
        ({"cuda": 0, "why_no_cuda": "the driver is too old"}, [NO_GPU]),
        ({"cuda": 1}, ["torch sees 1 of the 2 GPUs of gpus_per_job"]),
        ({"gpus": "3"}, ["SLURM gives the job 1 of the 2 GPUs of gpus_per_job"]),
        ({"gpus": "NoDevFiles"}, ["SLURM gives the job 0 of the 2 GPUs of gpus_per_job"]),
        ({"signals": False}, [USR2]),
        ({"memory_gb": 4.0}, ["the job may use 4.0 of the 16 GB of memory_gb"]),
    ],
)
def test_less_than_asked_for_is_wrong(changes: dict[str, Any], expected: list[str]) -> None:
    """More is not, nor what nobody limits."""
    assert judge(answer(**changes), CLUSTER) == expected


def test_the_memory_of_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's M are 2**20 bytes, and so are a thousandth of memory_gb."""
    if not Path("/proc/self/cgroup").exists():
        pytest.skip("control groups are Linux's")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "300")
    assert memory_limit() == 0.3
    monkeypatch.delenv("SLURM_MEM_PER_NODE")
    free = memory_limit()
    assert free is None or free > 0.3
    assert os.environ.get("SLURM_MEM_PER_NODE") is None


@pytest.mark.parametrize(
    ("device", "asked", "gpus", "examined"),
    [
        ("cuda", None, 1, "cuda"),
        ("cpu", None, 1, ""),
        ("cpu", True, 1, "cpu"),
        ("cuda", False, 1, ""),
        ("cuda", None, 0, ""),  # without a GPU there is nothing to examine
    ],
)
@pytest.mark.parametrize("verdict", ["ok", "differs"])
def test_the_doctor_goes_along(
    device: str,
    asked: bool | None,
    gpus: int,
    examined: str,
    verdict: str,
    fake: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By default where runs go to GPUs; what it finds wrong is wrong with the cluster. The node is this process, with a
    doctor that has looked already."""
    (tmp_path / "cluster.toml").write_text(
        f'partitions = ["gpu"]\ndevice = "{device}"\ncpus_per_job = 1\nmemory_gb = 0.1\n'
    )
    seen: list[str] = []

    def looked(request: Request) -> list[Finding]:
        seen.append(request.device)
        return [Finding("networks", "vit none", Answer(verdict, "logits 1e-07"))]  # type: ignore[arg-type]

    monkeypatch.setattr("benchmarks.doctor.examination.examine", looked)
    monkeypatch.setattr("torch.cuda.is_available", lambda: bool(gpus))
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    monkeypatch.setattr(check.signal, "sigtimedwait", lambda signals, seconds: object())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(check, "call", lambda *command: "")
    monkeypatch.setattr(check, "LEAST_FREE", 0)

    class Node:
        """An executor whose job is done as soon as it is submitted, here."""

        def update_parameters(self, **more: Any) -> None: ...

        def submit(self, work: Any, order: str) -> Any:
            work(order)
            return SimpleNamespace(job_id=1)

    monkeypatch.setattr(check, "executor_for", lambda *arguments: Node())
    monkeypatch.setattr(check, "_tested", lambda *arguments: "yes")
    console = Console(width=250)
    with console.capture() as captured:
        code = check.check_cluster(tmp_path / "cluster.toml", tmp_path, tmp_path, console, asked)
    assert seen == ([examined] if examined else [])
    assert (f"  doctor: networks, vit none: {verdict}: logits 1e-07" in captured.get()) == bool(examined)
    wrong = not gpus or bool(examined and verdict == "differs")
    assert code == (3 if wrong else 0), captured.get()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InductiveError("no answer"), SilentError("silent"), OSError()])
def test_whatever_ends_it_early_cancels_its_job(
    error: BaseException, fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C or an error while it waits: nothing is left in the queue, nor in the folder of submissions."""
    (tmp_path / "cluster.toml").write_text('partitions = ["gpu"]\n')
    interrupted = isinstance(error, KeyboardInterrupt)

    def ended(*_: Any) -> None:
        assert [one["state"] for one in fake.jobs.values()] == ["PENDING"]
        raise error

    monkeypatch.setattr(check, "_wait", ended)
    console = Console(width=250, record=True, quiet=True)
    with console.capture() as captured, nullcontext() if interrupted else pytest.raises(type(error)):
        console.quiet = False
        assert check.check_cluster(tmp_path / "cluster.toml", tmp_path / "runs", tmp_path / "data", console) == 130
    assert [one["state"] for one in fake.jobs.values()] == ["CANCELLED"]
    said = f"{'interrupted' if interrupted else 'given up'}: no job of it is left in the queue"
    assert said in captured.get()
    assert list((tmp_path / "runs" / ".submissions").iterdir()) == []


def test_a_silent_controller_says_nothing_of_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is waited for; a job that SLURM has forgotten has ended. Reference: what squeue says here, in its order."""
    answer, words = tmp_path / "answer.json", [SilentError("silent"), SilentError("silent"), "RUNNING"]

    def squeue(*command: str) -> str:
        word = words.pop(0) if len(words) > 1 else words[0]
        if isinstance(word, SlurmError):
            raise word
        answer.write_text('{"host": "node"}')
        return word

    monkeypatch.setattr(check, "call", squeue)
    assert check._wait(answer, "17", 60.0) == {"host": "node"} and words == ["RUNNING"]
    answer.unlink()
    words = [SilentError("silent")]
    with pytest.raises(InductiveError, match=r"^job 17 gave no answer within 1 s$"):
        check._wait(answer, "17", 1.0)
    words = [SlurmError("Invalid job id specified")]
    with pytest.raises(InductiveError, match="job 17 ended without an answer"):
        check._wait(answer, "17", 60.0)
