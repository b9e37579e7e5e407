"""GPUs without one: which are given, who shares them, and what is said where there is none, or another than before.

torch's answers and nvidia-smi's are stand-ins; their words are those of torch's sources and of NVIDIA's documents.
"""

import os
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from benchmarks.cli import run as verb
from benchmarks.errors import ConfigError, InductiveError, RecordError
from benchmarks.files import read_json, write_json
from benchmarks.plan.run import Run
from benchmarks.plan.study import single
from benchmarks.records.record import read_record
from benchmarks.running import execute as executing
from benchmarks.running import gpus, local
from benchmarks.running.attempt_log import Outcome
from benchmarks.running.task import Ending, Settings, Task
from benchmarks.running.together import links
from benchmarks.training import kernels, memory
from benchmarks.training.kernels import choose_device

Make = Callable[..., Run]
Perform = Callable[..., Outcome]
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040).\n Please update your GPU driver"


@pytest.fixture(autouse=True)
def no_gpus_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What this machine has must not reach a test: variables, nvidia-smi, a daemon of MPS."""
    for name in (gpus.VISIBLE, *kernels.JOB_GPUS):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "no-mps"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def nvidia_smi(tmp_path: Path, *modes: str) -> None:
    """An nvidia-smi that knows a GPU for each compute mode."""
    (tmp_path / "bin").mkdir()
    rows = "\n".join(f"{number}, GPU-{number}aaa-bbb, {mode}" for number, mode in enumerate(modes))
    (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\n[ $# = 2 ] || exit 6\necho '{rows}'\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)


# --- which are given ---


@pytest.mark.parametrize(
    ("visible", "seen", "expected"),
    [
        (None, 2, ("0", "1")),
        ("", 0, ()),
        ("3", 1, ("3",)),
        ("5, 7", 2, ("5", "7")),
        ("0,1,9", 2, ("0", "1")),  # there is no tenth, so CUDA takes those before it
        ("GPU-1aaa,GPU-0aaa", 2, ("GPU-1aaa", "GPU-0aaa")),
        ("MIG-1a,MIG-2b,MIG-3c", 1, ("MIG-1a", "MIG-2b", "MIG-3c")),  # torch sees one of them in a process
    ],
)
def test_the_gpus_that_are_given(
    visible: str | None, seen: int, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: by hand, from CUDA's rules for the variable. Slots are as many, and go round them."""
    if visible is not None:
        monkeypatch.setenv(gpus.VISIBLE, visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    assert gpus.given() == expected
    assert local.slots("cuda") == max(1, len(expected))
    if expected:
        found = [one for slot in range(2 * len(expected)) for one in local.gpus_of(slot, expected)]
        assert found == [*expected, *expected]


def test_a_child_sees_the_gpu_of_its_slot(monkeypatch: pytest.MonkeyPatch, tiny: Make) -> None:
    """What breaks otherwise: a neighbour's GPU is used. A task without GPUs leaves the variable as it is."""
    seen = []

    def work(task: Task, stop: Any, *watching: Any) -> tuple[str, str]:
        seen.append(os.environ.get(gpus.VISIBLE))
        return "finished", ""

    monkeypatch.setattr(local, "work", work)
    monkeypatch.setattr(local, "keep_memory", lambda: None)
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    monkeypatch.setenv(gpus.VISIBLE, "5,7")
    task = Task(tiny(), [], Path("runs"), Settings(Path("data"), "cuda"))
    for one, slot in ((task, 1), (replace(task, gpus=("5", "7")), 3), (replace(task, gpus=("MIG-1a",)), 0)):
        with pytest.raises(SystemExit):
            local._child(Pipe(), one, slot)  # type: ignore[arg-type]
    assert seen == ["5,7", "7", "MIG-1a"]


def test_each_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch, tiny: Make, tmp_path: Path) -> None:
    """Four GPUs, two a run: the second slot has the last two, its leader the first of them. A run that was begun by
    more ranks than its slot has GPUs gets none, and `execute` refuses it."""
    made: list[tuple[Any, ...]] = []

    class Members:
        def __init__(self, *how: Any):
            made.append(how)

        def end(self) -> None:
            pass

    def work(task: Task, stop: Any, *watching: Any) -> tuple[str, str]:
        made.append((os.environ[gpus.VISIBLE], type(watching[-1]).__name__))
        return "finished", ""

    monkeypatch.setattr(local, "Members", Members)
    monkeypatch.setattr(local, "work", work)
    monkeypatch.setattr(local, "keep_memory", lambda: None)
    monkeypatch.setattr(local.signal, "signal", lambda *_: None)
    monkeypatch.setenv(gpus.VISIBLE, "0,1,2,3")
    task = Task(tiny(), [], tmp_path, Settings(Path("data"), "cuda", gpus_per_run=2), gpus=("0", "1", "2", "3"))
    pipe: Any = Pipe()
    with pytest.raises(SystemExit):
        local._child(pipe, task, 1)
    assert made == [(2, ("2", "3"), (pipe,), None), ("2", "Members")]
    (tmp_path / task.run.id).mkdir()
    (tmp_path / task.run.id / "execution.json").write_text('{"ranks": 3}')
    with pytest.raises(SystemExit):
        local._child(pipe, task, 1)
    assert made[2:] == [("2", "NoneType")]


def test_each_node_has_its_part_of_the_ranks(monkeypatch: pytest.MonkeyPatch, tiny: Make, tmp_path: Path) -> None:
    """Four GPUs of each of two nodes, all for one run: this one starts four ranks of eight. Nine cannot be shared
    equally, and `execute` refuses them."""
    seen: list[Any] = []
    monkeypatch.setattr(local, "Members", lambda ranks, devices, others, door: Seen(seen, ranks, devices, door))
    monkeypatch.setattr(local, "work", lambda task, stop, *watching: seen.append(watching[-1] is None) or ("", ""))
    monkeypatch.setattr(local, "become_child", lambda: None)
    monkeypatch.setenv(gpus.VISIBLE, "0,1,2,3")
    given = ("0", "1", "2", "3")
    task = Task(tiny(), [], tmp_path, Settings(Path("data"), "cuda", gpus_per_run=8), gpus=given)
    pipe: Any = Pipe()
    with links.opened(2).server as server:
        door = links.Door(server, b"key", 2)
        for wanted in (8, 9):
            with pytest.raises(SystemExit):
                local._child(pipe, replace(task, settings=replace(task.settings, gpus_per_run=wanted)), 0, door)
    assert seen == [(8, given, door), False, True]


class Seen:
    """Members that are not started."""

    def __init__(self, seen: list[Any], *how: Any):
        seen.append(how)

    def end(self) -> None:
        pass


def test_a_run_of_more_ranks_than_there_are_is_refused(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Before anything is claimed: its bits depend on how many they are."""
    with pytest.raises(RecordError, match="computed by 2 ranks, and here is 1; --gpus-per-run 2 on as many GPUs"):
        perform(tiny(), gpus_per_run=2)
    assert not list(tmp_path.glob("*/attempts"))


class Pipe:
    def send(self, values: object) -> None:
        pass


# --- sharing ---


def test_sharing_without_mps_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is to be known of one run on a GPU, nor where MPS runs; nothing is started."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert gpus.check_sharing(1, "--jobs") == ""
    assert gpus.check_sharing(3, "--jobs").startswith("3 runs share a GPU by turns: no MPS is seen")
    nvidia_smi(tmp_path, "Default", "Default")
    assert gpus.check_sharing(3, "--jobs").startswith("3 runs share a GPU by turns: no MPS is seen")
    (tmp_path / "mps").mkdir()
    (tmp_path / "mps" / "control").touch()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "mps"))
    assert gpus.check_sharing(3, "--jobs") == ""


@pytest.mark.parametrize("kind", ["pipe", "SOCK_STREAM", "SOCK_SEQPACKET"])
def test_a_daemon_of_mps_that_has_ended_is_none(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it listened at stays behind. Reference: a reader of a pipe, and a listening socket, that come and go."""
    with tempfile.TemporaryDirectory() as folder:  # a short path: a socket's may have 107 letters
        control = Path(folder) / "control"
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", folder)
        assert not gpus.mps_runs()
        if kind == "pipe":
            os.mkfifo(control)
            reader = os.open(control, os.O_RDONLY | os.O_NONBLOCK)
            assert gpus.mps_runs()
            os.close(reader)
        else:
            with socket.socket(socket.AF_UNIX, getattr(socket, kind)) as server:
                server.bind(str(control))
                server.listen()
                assert gpus.mps_runs()
        assert control.exists() and not gpus.mps_runs()


def test_a_gpu_for_one_process_is_not_shared_without_mps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything starts, in one line; a GPU that is not given does not count, and with MPS all is well."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    nvidia_smi(tmp_path, "Default", "Exclusive_Process")
    assert gpus.one_process_each() == ("1",)
    with pytest.raises(ConfigError, match=r"^--jobs: 2 runs on a GPU, and GPU 1 takes one process at a time"):
        gpus.check_sharing(2, "--jobs")
    assert gpus.check_sharing(1, "--jobs") == ""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for names, alone in (("0", ()), ("1", ("1",)), ("GPU-0aaa", ()), ("GPU-1aaa", ("1",)), ("MIG-1a", ("1",))):
        monkeypatch.setenv(gpus.VISIBLE, names)
        assert gpus.one_process_each() == alone
    monkeypatch.setattr(gpus, "mps_runs", lambda: True)
    assert gpus.check_sharing(2, "--jobs") == ""


@pytest.mark.parametrize(("jobs", "slots", "share"), [(None, 2, 1), (1, 2, 1), (3, 6, 3)])
def test_jobs_are_on_each_gpu(
    jobs: int | None, slots: int, share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two GPUs and seven runs: so many slots, and each run told with how many it shares its GPU and its memory."""
    path = tmp_path / "study.toml"
    path.write_text('dataset = "digits"\nsize = "pico"\nrecipe = "digits"\ntrain_size = 60\nbudget = { steps = 3 }\n'
                    'seed = [0, 1, 2, 3, 4, 5, 6]\ntest_resolutions = [8]\n[[models]]\nname = "resnet"\n')  # fmt: skip
    called: list[tuple[list[Task], int]] = []

    def run_tasks(tasks: list[Task], jobs: int, reporter: object, door: object) -> list[Ending]:
        called.append((tasks, jobs))
        return []

    monkeypatch.setattr(local, "run_tasks", run_tasks)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    from benchmarks.plan.study import load_study

    console = Console(width=250, record=True, file=StringIO())
    settings = Settings(tmp_path / "data", "cuda")
    verb.run_study(load_study(str(path)), None, jobs, tmp_path / "runs", settings, console)
    [(tasks, side_by_side)] = called
    assert (side_by_side, len(tasks)) == (slots, 7)
    assert {(task.gpus, task.settings.runs_per_gpu) for task in tasks} == {(("0", "1"), share)}
    said = console.export_text()
    assert f"7 to do on 2 GPUs, {slots} side by side" in said
    assert ("no MPS is seen" in said) == (share > 1)


# --- memory ---


def test_shares_of_memory() -> None:
    """By hand: of 16 GiB a half without the 600 MiB of a process; alone all of it; more than fit are refused."""
    assert memory.share(1, 16 * 2**30) == 1.0
    assert memory.share(2, 16 * 2**30) == pytest.approx((8 * 1024 - 600) / (16 * 1024))
    assert memory.share(27, 16 * 2**30) > 0
    with pytest.raises(InductiveError, match=r"28 runs on a GPU of 16.0 GiB, .* about 0.6 GiB .*; allowed: at most 27"):
        memory.share(28, 16 * 2**30)


def test_a_full_gpu_and_one_that_is_anothers_are_one_line() -> None:
    """Reference: torch's texts. Other errors stay what they are."""
    full = (
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which 1.00 GiB is "
        "free. 7.39 GiB allowed; Of the allocated memory 7.00 GiB is allocated by PyTorch.\nSee documentation"
    )
    with (
        pytest.raises(InductiveError, match=r"^r1: too little memory on the GPU; .*7.39 GiB allowed;\)$"),
        memory.explained("r1"),
    ):
        raise torch.OutOfMemoryError(full)
    busy = "CUDA error: CUDA-capable device(s) is/are busy or unavailable\nCUDA kernel errors might be asynchronously"
    with (
        pytest.raises(InductiveError, match=r"^r1: the GPU is another process's alone .*: nothing is lost"),
        memory.explained("r1"),
    ):
        raise RuntimeError(busy)
    with pytest.raises(RuntimeError, match="shape"), memory.explained("r1"):
        raise RuntimeError("shape")


# --- a GPU that is not there, or another ---


def without(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """torch sees no GPU, for this reason."""

    def init() -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)


def test_no_gpu_is_said_in_torchs_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that is too old, in one line."""
    without(monkeypatch, OLD_DRIVER)
    with pytest.raises(InductiveError) as failure:
        choose_device("cuda")
    assert str(failure.value) == (
        "--device cuda: there is none here; available are cpu; torch says: The NVIDIA driver on your system is too old "
        "(found version 11040). Please update your GPU driver"
    )


def test_auto_takes_the_cpu_unless_a_job_has_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks otherwise: days on a CPU beside the GPUs that are paid for."""
    without(monkeypatch, OLD_DRIVER)
    assert choose_device("auto") == "cpu"
    monkeypatch.setenv("SLURM_JOB_GPUS", "2,3")
    with pytest.raises(
        InductiveError, match=r"--device auto: this job has GPUs \(2,3\) and torch sees none: The NVIDIA"
    ):
        choose_device("auto")
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"


def test_a_record_of_a_gpu_is_not_continued_on_a_cpu(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """One line that says what to do; the record stays as it was, with no attempt more."""
    run = tiny()
    perform(run, stop_at=5)
    path = tmp_path / run.id / "execution.json"
    write_json(path, {**read_json(path), "device": "cuda"})
    before = {file: file.read_bytes() for file in (tmp_path / run.id).rglob("*") if file.is_file()}
    with pytest.raises(
        RecordError, match="begun on cuda and continued there alone, so nothing was done: --device cuda"
    ):
        perform(run)
    assert {file: file.read_bytes() for file in (tmp_path / run.id).rglob("*") if file.is_file()} == before
    task = Task(run, single(run).evaluations[run.id], tmp_path, Settings(Path("data")))
    state, line = local.work(task, lambda: False, lambda *_: None)
    assert (state, "\n" in line) == ("failed", False)
    assert read_record(tmp_path / run.id).state == "interrupted"


def test_a_record_of_a_cpu_stays_there(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Also where there is a GPU now: its device is part of what decides its bits. The log says so."""
    run = tiny()
    perform(run, stop_at=5)
    assert perform(run, device="cuda", runs_per_gpu=4).state == "finished"
    assert "on cpu, where the run was begun, not on cuda" in (tmp_path / run.id / "attempts/0002/log.txt").read_text()
    assert read_json(tmp_path / run.id / "attempts" / "0002" / "ended.json")["runs_per_gpu"] == 4  # in its job


def test_another_gpu_is_warned_of_and_the_share_is_taken(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of a V100, resumed on an A100 that three runs share: bits may differ, which the log says. It goes as far
    as the share of the memory, a third of the GPU without what a process takes."""
    run, taken = tiny(), list[float]()
    perform(run, stop_at=5)
    path = tmp_path / run.id / "execution.json"
    write_json(path, {**read_json(path), "device": "cuda"})

    def take(fraction: float) -> None:
        taken.append(fraction)
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=40 * 2**30))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", take)
    differs = "capability: Tesla V100-SXM2-16GB then, NVIDIA A100-SXM4-40GB now"
    monkeypatch.setattr(executing, "apply_execution", lambda execution: [differs])
    with pytest.raises(KeyboardInterrupt):
        perform(run, device="cuda", runs_per_gpu=3)
    assert taken == [pytest.approx(1 / 3 - 600 / (40 * 1024))]
    log = (tmp_path / run.id / "attempts" / "0002" / "log.txt").read_text()
    assert f"bits may differ from the first attempt's: {differs}" in log
