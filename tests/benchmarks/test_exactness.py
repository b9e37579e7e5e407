"""The same bits, whatever happened on the way: stops, kills, neighbours, the C library's allocator.

Training by itself is stopped at each kind of step in test_training.py; here are whole records and real processes.
"""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from warm import Started

from benchmarks.plan.run import Run
from benchmarks.records.attempts import read_attempts
from benchmarks.records.record import opened_pass, read_record
from benchmarks.running.attempt_log import Outcome

ROOT = Path(__file__).resolve().parents[2]

KINDS: dict[str, dict[str, Any]] = {
    "transformer": {
        "recipe": {"name": "strong", "batch_size": 8, "rrc_scale": 0.3, "trivialaugment": True, "ema": 0.9},
        "options": {"position": "learned_1d", "drop_path": 0.2},
        "precision": "bfloat16",
        "validate_every": 4,
    },
    "batch norm": {
        "model": "resnet",
        "recipe": {"batch_size": 8, "mixup": 0.8, "cutmix": 1.0, "optimizer": "sgd", "learning_rate": 0.05, "ema": 0.9},
        "validate_every": 0.5,
    },
}


def left(folder: Path) -> dict[str, bytes]:
    """What must be equal to the bit: weights, metrics, result, and every array of the predictions."""
    found = {name: (folder / name).read_bytes() for name in ("weights.safetensors", "metrics.jsonl", "result.json")}
    for path in (folder / "evaluations").glob("*.npz"):
        with opened_pass(path) as arrays:
            found |= {name: arrays[name].tobytes() for name in arrays.files}
    return found


def unequal(one: Path, other: Path) -> list[str]:
    """The names of what is not."""
    here, there = left(one), left(other)
    assert here.keys() == there.keys()
    return [name for name in here if here[name] != there[name]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_says_nothing_of_stops(
    kind: str, tiny: Callable[..., Run], perform: Callable[..., Outcome], tmp_path: Path
) -> None:
    """Reference: the uninterrupted run. Epochs of 10 steps: stopped after the first step, at the end of an epoch, after
    the first step of the next, and after the last."""
    run = tiny(**KINDS[kind])
    perform(run, root=tmp_path / "whole")
    for polls in (1, 9, 1, 1):
        assert perform(run, root=tmp_path / "parts", stop_at=polls).state == "interrupted"
    perform(run, root=tmp_path / "parts")
    folder = tmp_path / "parts" / run.id
    assert [attempt["start_step"] for attempt in read_record(folder).attempts] == [0, 1, 10, 11, 12]
    assert unequal(folder, tmp_path / "whole" / run.id) == []


STUDY = """
size = "pico"
train_size = 100
budget = { steps = 20 }
validate_every = 6
recipe = { name = "strong", batch_size = 16, ema = 0.9 }
seed = [0, 1]
[[models]]
name = "resnet"
[[models]]
name = "vit"
precision = "bfloat16"
"""


def test_neighbours_leave_no_trace(
    tmp_path: Path, inductive: Callable[..., "subprocess.CompletedProcess[str]"]
) -> None:
    """One, two and three runs side by side on this machine: the same records, to the bit."""
    (tmp_path / "neighbours.toml").write_text(STUDY)
    for jobs in ("1", "2", "3"):
        done = inductive("run", "neighbours.toml", "--jobs", jobs, "--runs", jobs, "--data", str(ROOT / "data"))
        assert done.returncode == 0, done.stdout + done.stderr
    runs = [folder.name for folder in (tmp_path / "1").glob("[!.]*")]
    assert len(runs) == 4
    for jobs in ("2", "3"):
        assert {run: unequal(tmp_path / "1" / run, tmp_path / jobs / run) for run in runs} == {run: [] for run in runs}


ALLOCATOR = """
import sys
from pathlib import Path
from benchmarks.running.local import keep_memory
if sys.argv[2] == "kept":
    keep_memory()
import json, torch
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings
from benchmarks.plan.run import make_run
from benchmarks.plan.study import single
run = make_run(json.loads(sys.argv[3]))
execute(run, Path(sys.argv[1]), single(run).evaluations[run.id], Settings(Path("data")), lambda: False)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_the_allocator_does_not_decide_bits(
    kind: str, tiny: Callable[..., Run], start: Callable[..., Started], tmp_path: Path
) -> None:
    """With glibc told to keep what is freed, as in every run's process, and as it is by itself: two processes."""
    run = tiny(**KINDS[kind])
    for how in ("kept", "usual"):
        done = start("-c", ALLOCATOR, str(tmp_path / how), how, json.dumps(run.settings())).wait()
        assert done.returncode == 0, done.stderr
    assert unequal(tmp_path / "kept" / run.id, tmp_path / "usual" / run.id) == []


KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
import benchmarks.running.preload
from benchmarks.records import sources
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings
from benchmarks.plan.run import make_run
from benchmarks.plan.study import single

run, roots = make_run(json.loads(sys.argv[1])), [Path(root) for root in sys.argv[2:]]
moments = random.Random(3)
settings = Settings(Path("data"), checkpoint_seconds=1.0)
sources.run_sources(run), sources.evaluation_code()  # once for all lives


def life(root, pause):
    child = os.fork()
    if not child:
        code = 1
        try:
            execute(run, root, single(run).evaluations[run.id], settings, lambda: time.sleep(pause) or False)
            code = 0
        finally:
            os._exit(code)
    return child


whole = life(roots[0], 0.0)
for number in range(1, 21):
    child = life(roots[1], 0.05)  # a pause at each step: no machine is fast enough to end before the last kill
    while not (roots[1] / run.id / "attempts" / f"{number:04d}" / "owner.json").exists():
        time.sleep(0.01)
    time.sleep(moments.uniform(0.0, 2.2))
    os.kill(child, signal.SIGKILL)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "it had ended"
for last in (life(roots[1], 0.0), whole):
    assert os.waitpid(last, 0)[1] == 0
"""


def test_twenty_kills_at_random_moments(
    tiny: Callable[..., Run], start: Callable[..., Started], tmp_path: Path
) -> None:
    """SIGKILL at seeded moments up to 2.2 s after each of twenty lives has begun, checkpoints every second: as the run
    that nobody killed."""
    run = tiny(
        recipe={"batch_size": 8, "ema": 0.9, "mixup": 0.8, "erasing": 0.25},
        options={"drop_path": 0.2},
        budget={"steps": 520},
        validate_every=0.1,
    )
    roots = [tmp_path / "whole", tmp_path / "killed"]
    done = start("-c", KILLED, json.dumps(run.settings()), *map(str, roots)).wait()
    assert done.returncode == 0, done.stderr
    lives = read_attempts(roots[1] / run.id)
    assert len(lives) == 21
    assert len({life.summary()["start_step"] for life in lives}) > 3  # several lives came to a checkpoint
    assert unequal(roots[1] / run.id, roots[0] / run.id) == []
