"""The documents say what the code does: keys are all there, and the example of a study is a study."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.plan.probes import PROBES
from benchmarks.plan.recipes import Recipe
from benchmarks.plan.run import Run
from benchmarks.plan.study import OTHER, TEXTS, expand

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

PETS = """
dataset = "folder:pets"
train_size = [20, 30]
validation = 0
seed = [0, 1]
budget = { steps = 2 }
[[models]]
name = "resnet"
size = "nano"
"""


def test_the_notebook_runs(finished: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, on a run that is there; it is kept without outputs."""
    run, root = finished
    book = json.loads((DOCS / "look-at-a-run.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    (tmp_path / "runs").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]).replace("vit-rope_axial-digits-n1000-r8-d0-s0", run.id), names)  # noqa: S102
    assert names["trained"].run == run
    assert names["accuracy"] == names["trained"].record.main["accuracy"]
    assert [len(axes.images) for axes in names["figure"].axes] == [1] * 6


def test_every_key_of_a_study_is_documented() -> None:
    """Reference: the fields of Run and Recipe, and the study's own keys."""
    text = (DOCS / "studies.md").read_text(encoding="utf-8")
    keys = {*Run.model_fields, *Recipe.model_fields, *OTHER, *TEXTS} - {"model", "options", "protocol"}
    assert {key for key in keys if not re.search(rf"\b{key}\b", text)} == set()


def test_every_probe_is_documented_with_its_values() -> None:
    """Reference: the table of all probes."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d., ]+) \|$", (DOCS / "probes.md").read_text(encoding="utf-8"), re.M)
    assert rows == [(name, ", ".join(f"{value:g}" for value in one.values)) for name, one in PROBES.items()]


def test_the_example_is_a_study_of_the_size_it_says() -> None:
    """The example's own words: 24 runs."""
    example = (DOCS / "studies.md").read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    study = expand(tomllib.loads(example), "example")
    assert study.cost.startswith(f"{len(study.runs)} runs")


def test_the_notebook_recipe_reads_records_of_a_folder_of_images(
    tmp_path: Path, inductive: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """In a fresh interpreter, on a machine without the images, with a study and without one. Reference: the plan."""
    generator = np.random.default_rng(0)
    for number in range(60):
        place = tmp_path / "data" / "pets" / ("ape", "cat")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(place / f"{number}.png")
    (tmp_path / "pets.toml").write_text(PETS)
    assert (done := inductive("run", "pets.toml", "--runs", "records")).returncode == 0, done.stdout + done.stderr
    shutil.rmtree(tmp_path / "data")
    recipe = (DOCS / "report.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    recipe = recipe.replace('"quickstart"', '"pets.toml"').replace('Path("runs")', 'Path("records")')
    checks = """
assert list(frame.rows["accuracy"].notna()) == [True] * 4 and not len(frame.problems), frame.problems
everything = load(root)
assert len(everything.rows) == 4 and set(everything.rows["classes"]) == {2} and not len(everything.problems)
"""
    done = subprocess.run(
        [sys.executable, "-c", recipe + checks],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
