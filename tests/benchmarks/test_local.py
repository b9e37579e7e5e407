"""Runs side by side on this machine, under real signals: nothing is lost, nobody trains on."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from warm import Started, Warm

from benchmarks.cli.run import summary, work_through
from benchmarks.console import terminal
from benchmarks.plan.study import Study, load_study
from benchmarks.records.record import read_record
from benchmarks.running import local
from benchmarks.running.task import Ending, Settings, Task

ROOT = Path(__file__).resolve().parents[2]
Inductive = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., Started]
LONG = 120  # steps, a second or more

STUDY = """
question = "Do signals cost anything?"
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = 100
budget = {{ steps = {steps} }}
seed = [0, 1, 2]
test_resolutions = [8]
[[models]]
name = "{model}"
"""


def _study(folder: Path, steps: int, model: str = "resnet") -> Path:
    path = folder / "signals.toml"
    path.write_text(STUDY.format(steps=steps, model=model))
    return path


def _until(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def _end(process: Started) -> tuple[int, str]:
    """Its exit code, and all that it said."""
    done = process.wait(120)
    return done.returncode, done.stdout


def _trainers(runs: Path) -> list[int]:
    """Live processes that own an attempt under this runs folder and have not ended it."""
    found = []
    for path in runs.glob("*/attempts/*/owner.json"):
        if not (path.parent / "ended.json").exists():
            pid = json.loads(path.read_text())["pid"]
            state = Path(f"/proc/{pid}/stat")
            if state.exists() and state.read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(pid)
    return found


def _states(study: Study, runs: Path, inductive: Inductive, path: Path) -> list[str]:
    done = inductive("status", str(path), "--runs", str(runs), "--json")
    return [one["state"] for one in json.loads(done.stdout)["runs"]]


def _weights(runs: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in runs.glob("*/weights.safetensors")}


def _beating(runs: Path, count: int = 1) -> bool:
    steps = [json.loads(path.read_text())["step"] for path in runs.glob("*/attempts/*/heartbeat")]
    return sum(step >= 1 for step in steps) >= count


@pytest.fixture(scope="module")
def whole(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The weights of the study of Ctrl-C, run in one go."""
    folder = tmp_path_factory.mktemp("whole")
    command = ["inductive", "run", str(_study(folder, LONG)), "--jobs", "2"]
    assert warm.start(command, folder, os.environ).wait().returncode == 0
    return _weights(folder / "runs")


@pytest.mark.parametrize("to_group", [True, False], ids=["process group", "parent alone"])
def test_ctrl_c_saves_and_the_same_command_goes_on(
    to_group: bool, tmp_path: Path, start: Start, inductive: Inductive, whole: dict[str, bytes]
) -> None:
    """SIGINT as a terminal sends it, and a second one: exit 130, states interrupted; then on to the same bits as in
    one go (the reference), repeating nothing."""
    path, runs = _study(tmp_path, LONG), tmp_path / "runs"
    process = start("inductive", "run", str(path), "--jobs", "2", together=True, anew=to_group)
    _until(lambda: _beating(runs, 2), "a first step of both")
    interrupt = os.killpg if to_group else os.kill
    interrupt(process.pid, signal.SIGINT)
    interrupt(process.pid, signal.SIGTERM)  # at the same moment; two SIGINT might count as one
    code, output = _end(process)
    assert code == 130, output
    assert "stopping: every run finishes its step and saves" in output
    assert "nothing is lost" in output
    assert "The same command resumes" in output
    assert _trainers(runs) == []
    states = _states(load_study(str(path)), runs, inductive, path)
    assert states.count("interrupted") == 2
    again = inductive("run", str(path), "--jobs", "2")
    assert again.returncode == 0, again.stdout + again.stderr
    starts = [json.loads(p.read_text())["start_step"] for p in sorted(runs.glob("*/attempts/0002/owner.json"))]
    assert len(starts) == 2
    assert all(start > 0 for start in starts)
    assert len(whole) == 3
    assert _weights(runs) == whole


def test_a_killed_parent_leaves_no_child_training_on(tmp_path: Path, start: Start) -> None:
    """SIGKILL to the parent alone: the children see the end of the pipe, save and exit."""
    path, runs = _study(tmp_path, steps=100_000), tmp_path / "runs"
    process = start("inductive", "run", str(path), "--jobs", "2")
    _until(lambda: len(_trainers(runs)) == 2 and _beating(runs), "two runs")
    os.kill(process.pid, signal.SIGKILL)
    _until(lambda: not _trainers(runs), "the children to end")
    ended = [json.loads(p.read_text())["state"] for p in runs.glob("*/attempts/*/ended.json")]
    assert ended == ["interrupted", "interrupted"]
    assert len(list(runs.glob("*/checkpoint-*.pt"))) == 2


def test_a_killed_child_stops_no_other(tmp_path: Path, start: Start, inductive: Inductive) -> None:
    """SIGKILL to one child (as the kernel does when memory is short): exit 3 names it, the others finish, and asking
    again does it."""
    path, runs = _study(tmp_path, LONG), tmp_path / "runs"
    process = start("inductive", "run", str(path), "--jobs", "2", together=True)
    _until(lambda: len(_trainers(runs)) == 2 and _beating(runs), "two runs")
    victim = _trainers(runs)[0]
    os.kill(victim, signal.SIGKILL)
    code, output = _end(process)
    assert code == 3, output
    assert "exited without reporting (exit code -9: SIGKILL)" in output
    assert sorted(_states(load_study(str(path)), runs, inductive, path)) == ["finished", "finished", "lost"]
    assert inductive("run", str(path)).returncode == 0
    assert len(_weights(runs)) == 3


def test_another_process_at_work_is_exit_4_and_named(tmp_path: Path, start: Start, inductive: Inductive) -> None:
    """Two `run`s of one study: the second says who owns what."""
    path, runs = _study(tmp_path, steps=100_000), tmp_path / "runs"
    process = start("inductive", "run", str(path), "--jobs", "1", together=True)
    _until(lambda: _beating(runs), "a first step")
    run_id = next(runs.glob("*/attempts/*/heartbeat")).parents[2].name
    second = inductive("run", str(path), "--only", run_id)
    assert second.returncode == 4, second.stdout
    assert f"owned by host {os.uname().nodename}, process {_trainers(runs)[0]}" in second.stdout
    os.kill(process.pid, signal.SIGTERM)  # as good as Ctrl-C
    assert _end(process)[0] == 130


def test_runs_that_others_had_are_looked_at_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two of three are owned when their turn comes: by the end the owner of one has ended, that of the other not."""
    study = load_study(str(_study(tmp_path, LONG)))
    tasks = [Task(run, [], tmp_path, Settings(Path("data"))) for run in study.runs[:3]]
    asked: list[list[Task]] = []

    def run_tasks(given: list[Task], *_: object, **__: object) -> list[Ending]:
        asked.append(given)
        free = tasks[:1] if len(asked) == 1 else tasks[:2]
        return [Ending(task, "finished" if task in free else "owned", "by host a, process 1", 1.0) for task in given]

    monkeypatch.setattr(local, "run_tasks", run_tasks)
    console = terminal()
    endings = work_through(tasks, 1, console)
    assert asked == [tasks, tasks[1:]]
    assert {ending.task.run.id: ending.state for ending in endings} == {
        task.run.id: state for task, state in zip(tasks, ("finished", "finished", "owned"), strict=True)
    }
    assert summary(endings, console) == 4
    assert "the same command takes up what others have left" in capsys.readouterr().out


def test_a_closed_terminal_saves(tmp_path: Path, start: Start) -> None:
    """SIGHUP to the whole group, as when an ssh session breaks off: as good as Ctrl-C."""
    path, runs = _study(tmp_path, steps=100_000), tmp_path / "runs"
    process = start("inductive", "run", str(path), "--jobs", "2", together=True)
    _until(lambda: len(_trainers(runs)) == 2 and _beating(runs), "two runs")
    os.killpg(process.pid, signal.SIGHUP)
    code, output = _end(process)
    assert code == 130, output
    ended = [json.loads(p.read_text())["state"] for p in runs.glob("*/attempts/*/ended.json")]
    assert ended == ["interrupted", "interrupted"]


HANGING = """
import json, os, signal, sys, time
from pathlib import Path
from benchmarks.plan.study import load_study
from benchmarks.running import local
from benchmarks.running.task import Settings
from benchmarks.running.progress import Lines
from benchmarks.running.task import Task
from rich.console import Console

class Watching(Lines):
    # once both runs train, one is stopped for good, and all are asked to save
    def step(self, task, step, steps, rate):
        beats.add(task.run.id)
        if len(beats) == 2 and not stopping:
            path = min(Path("runs").glob(f"{min(beats)}/attempts/*/owner.json"))
            os.kill(json.loads(path.read_text())["pid"], signal.SIGSTOP)
            stopping.append(signal.SIGUSR2)
    def ended(self, ending):
        endings[ending.task.run.id] = ending.state, ending.line

beats, stopping, endings = set(), [], {}
if __name__ == "__main__":
    study = load_study(sys.argv[1])
    tasks = [Task(run, [], Path("runs"), Settings(Path("data"))) for run in study.runs[:2]]
    try:
        local.run_tasks(tasks, 2, Watching(Console(file=sys.stderr), tasks, 2), stopping, lambda: 20.0)
    except KeyboardInterrupt:
        print(json.dumps([endings.pop(min(beats)), *endings.values()]))
"""


def test_a_child_that_hangs_is_left_behind(tmp_path: Path, start: Start) -> None:
    """Stopped by SIGSTOP, it cannot save: after the deadline it is killed and named, its sibling is saved, and its run
    resumes."""
    path, runs, script = _study(tmp_path, steps=100_000), tmp_path / "runs", tmp_path / "hanging.py"
    script.write_text(HANGING)
    done = start(str(script), str(path)).wait(240)
    hung, healthy = json.loads(done.stdout or "[0, 0]")
    assert hung == ["lost", "did not save within 20 s: killed and left behind"], done.stderr
    assert healthy[0] == "interrupted"
    assert _trainers(runs) == []
    assert sorted(read_record(path.parents[0]).state for path in runs.glob("*/config.json")) == ["interrupted", "lost"]


PROBE = """
import json, os, sys
import torch
from benchmarks.running import local
def probe(queue):
    server = f"/proc/{os.getppid()}/task"
    names = [open(f"{server}/{thread}/comm").read().strip() for thread in os.listdir(server)]
    warm = all(name in sys.modules for name in ("benchmarks.running.preload", "models.swin", "torch._dynamo"))
    queue.put({"warm": warm, "bad fork": torch.cuda._is_in_bad_fork(), "threads": len(names), "names": names})
if __name__ == "__main__":
    context = local.warm_context()
    queue = context.Queue()
    process = context.Process(target=probe, args=(queue,))
    process.start(); print(json.dumps(queue.get(timeout=60))); process.join()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_children_start_warm_and_can_use_a_gpu(tmp_path: Path) -> None:
    """Asked of a child of the real server. A misspelt preload fails silently: torch, the models and what the first
    optimiser loads must be imported. A server that has asked for CUDA leaves its children none (torch's own flag, which
    is set on machines without a GPU, too), and a thread of autograd in it does not live on in them."""
    script = tmp_path / "probe.py"
    script.write_text(PROBE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    assert (found["warm"], found["bad fork"], found["threads"]) == (True, False, 1), (found, done.stderr)
