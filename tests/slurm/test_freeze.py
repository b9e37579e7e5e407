"""What a job imports: the frozen code first, then what its node's modules offer; plugins under their own names."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.files import read_json
from slurm import ledger
from slurm.freeze import environment_lines, freeze_code
from slurm.worker import Order

LOOK = "import json, sys; print(json.dumps(sys.path))"


@pytest.mark.parametrize(
    ("setup", "also"),
    [
        (["unset PYTHONPATH"], []),
        (["export PYTHONPATH="], []),
        (["export PYTHONPATH=/opt/torch"], ["/opt/torch"]),
        (["export PYTHONPATH=/opt/torch", "export PYTHONPATH=/opt/more:$PYTHONPATH"], ["/opt/more", "/opt/torch"]),
    ],
)
def test_what_a_module_exports_is_kept(setup: list[str], also: list[str], tmp_path: Path) -> None:
    """Reference: Python's own search path, started as a job's script starts it. The working directory is not on it."""
    folder = tmp_path / "a b"
    (folder / "code").mkdir(parents=True)
    script = "\n".join([*setup, *environment_lines(folder), f"exec {sys.executable} -c '{LOOK}'"])
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    path = json.loads(done.stdout)
    assert path[: 1 + len(also)] == [str(folder / "code"), *also]
    assert not {"", str(tmp_path)} & set(path)


ASK = "from benchmarks.records import environment; print(environment.__file__); print(environment.code_commit())"


def test_frozen_code_knows_the_commit_it_was(tmp_path: Path) -> None:
    """A copy is in no checkout. Reference: what was asked of git when it was made."""
    commit = freeze_code(tmp_path)
    code = tmp_path / "code"
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(code / "benchmarks" / "records" / "environment.py"), commit]
    (code / "benchmarks" / "COMMIT").write_text("0123abc-dirty\n")
    again = subprocess.run(
        [sys.executable, "-c", ASK],
        cwd=tmp_path,
        env={"PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout.split()[1] == "0123abc-dirty"


ENCODING = """
import models
from models import Encoding
from models.positions.base import Position

class Nothing(Position):
    ways = ("recompute",)

assert [plugin.name for plugin in models.loaded_plugins()] == BEFORE
DECLARED = Encoding("NAME", "no position at all", "Nothing", ways=("recompute",))
"""
STUDY = """
question = "Do two plugins reach a job?"
plugins = ["zigzag.py", "arc.py"]
dataset = "digits"
size = "pico"
recipe = "digits"
train_size = 60
budget = { steps = 3 }
test_resolutions = [8]
[[models]]
name = "vit"
position = ["zigzag", "arc"]
"""
JOB = """
import sys
from slurm.worker import work
if __name__ == "__main__":
    print(work(sys.argv[1]))
"""
CLUSTER = 'partitions = ["gpu"]\ndevice = "cpu"\nminutes = 60\n'


def test_plugins_reach_a_job(fake: Any, inductive: Callable[..., Any], tmp_path: Path) -> None:
    """Submitted by the command, carried out by the job's own code: the second file holds only if the first came before
    it, which is not the order of their names."""
    (tmp_path / "zigzag.py").write_text(ENCODING.replace("NAME", "zigzag").replace("BEFORE", "[]"))
    (tmp_path / "arc.py").write_text(ENCODING.replace("NAME", "arc").replace("BEFORE", "['zigzag.py']"))
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "cluster.toml").write_text(CLUSTER)
    sent = inductive("submit", "study.toml", "--yes")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    for name in ("zigzag.py", "arc.py"):
        (tmp_path / name).unlink()
    [array] = ledger.read_arrays(tmp_path / "runs")
    script = tmp_path / "job.py"
    script.write_text(JOB)
    order = Order(str(array.path), 0).text()
    lines = [*environment_lines(array.submission), f"exec {sys.executable} {script} '{order}'"]
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)], cwd=array.submission, capture_output=True, text=True, timeout=240
    )
    assert done.stdout.splitlines()[-1:] == ["done"], done.stdout + done.stderr
    results = [read_json(path)["state"] for path in (tmp_path / "runs").glob("[!.]*/result.json")]
    assert results == ["finished", "finished"]
