"""Exports after the fact: CSV, and what trackers are told. They stand in here for those that are not installed."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from analysis.export import export
from analysis.frame.frame import load
from benchmarks.errors import InductiveError
from benchmarks.plan.study import Study, expand
from benchmarks.records.metrics import read_metrics
from benchmarks.speed.synthetic import write_records

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Study, Path]:
    """Six runs: the second interrupted, the fourth failed, the sixth diverged."""
    study = expand({"seed": list(range(6)), "models": [{"name": "resnet"}], "test_resolutions": [8, 16]}, "made-up")
    write_records(tmp_path / "runs", study, every=2)
    return study, tmp_path / "runs"


def test_csv_has_the_frame_and_the_metrics(made: tuple[Study, Path], tmp_path: Path) -> None:
    """Read back by pandas: the frame's rows, and every row of every metrics file."""
    study, root = made
    export(study, root, "csv", tmp_path / "out")
    frame = load(root, study)
    evaluations, runs, metrics = (
        pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("evaluations", "runs", "metrics")
    )
    assert list(evaluations.columns) == list(frame.rows.columns)
    assert evaluations["accuracy"].tolist() == pytest.approx(frame.rows["accuracy"].tolist())
    assert runs["state"].tolist() == frame.runs["state"].tolist()
    for run in study.runs:
        rows = metrics[metrics["run"] == run.id]
        assert rows["loss"].tolist() == [row["loss"] for row in read_metrics(root / run.id / "metrics.jsonl")]
    assert not (tmp_path / "out" / "problems.csv").exists()


def test_a_damaged_log_is_named_and_all_else_is_exported(made: tuple[Study, Path], tmp_path: Path) -> None:
    """Reference: the rows of the other runs."""
    study, root = made
    damaged = root / study.runs[0].id / "metrics.jsonl"
    damaged.write_text("{torn\n" + damaged.read_text())
    said = export(study, root, "csv", tmp_path / "out")
    assert said.splitlines()[1].startswith(f"{study.runs[0].id}: not all of it: ")
    metrics, problems = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("metrics", "problems"))
    assert set(metrics["run"]) == {run.id for run in study.runs[1:]}
    assert problems["folder"].tolist() == [study.runs[0].id]


@dataclass
class Writer:
    """torch.utils.tensorboard.SummaryWriter, as far as it is used."""

    log_dir: str
    scalars: list[tuple[str, float, int]] = field(default_factory=list)
    closed: bool = False

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def close(self) -> None:
        self.closed = True


def test_tensorboard_gets_a_folder_a_run(
    made: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training by step, evaluations at the last one; nothing is added to an export that is there."""
    study, root = made
    writers: list[Writer] = []
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = lambda log_dir: writers.append(Writer(log_dir)) or writers[-1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setitem(sys.modules, "tensorboard", ModuleType("tensorboard"))
    export(study, root, "tensorboard", tmp_path / "out")
    assert [Path(one.log_dir) for one in writers] == [tmp_path / "out" / run.id for run in study.runs]
    assert all(one.closed for one in writers)
    rows = read_metrics(root / study.runs[0].id / "metrics.jsonl")
    assert [(v, s) for n, v, s in writers[0].scalars if n == "training/loss"] == [(r["loss"], r["step"]) for r in rows]
    frame = load(root, study).rows
    away = frame[(frame["run"] == study.runs[0].id) & (frame["part"] == "test") & (frame["test_resolution"] == 16)]
    [accuracy] = away["accuracy"].tolist()
    assert ("test/16 px, resize/accuracy", accuracy, rows[-1]["step"]) in writers[0].scalars
    assert not any(name.startswith("test/") for name, *_ in writers[1].scalars)  # interrupted
    (tmp_path / "out" / study.runs[2].id).mkdir(parents=True)
    with pytest.raises(InductiveError, match="is there already"):
        export(study, root, "tensorboard", tmp_path / "out")


class Wandb(ModuleType):
    """wandb, as far as it is used; of the runs: what they were begun with, and what was logged."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.begun: list[dict[str, Any]] = []
        self.logged: list[list[tuple[int, dict[str, float]]]] = []
        self.finished = 0

    def init(self, **about: Any) -> "Wandb":
        self.begun.append(about)
        self.logged.append([])
        return self

    def log(self, scalars: dict[str, float], step: int) -> None:
        self.logged[-1].append((step, scalars))

    def finish(self) -> None:
        self.finished += 1


def test_wandb_gets_a_run_under_its_own_id(
    made: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The id and configuration of the record; steps never go back, which wandb would drop."""
    study, root = made
    wandb = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    export(study, root, "wandb", tmp_path / "out")
    assert [one["id"] for one in wandb.begun] == [run.id for run in study.runs]
    assert wandb.finished == len(study.runs)
    assert wandb.begun[0]["config"] == json.loads((root / study.runs[0].id / "config.json").read_text())["run"]
    assert {(one["project"], one["resume"]) for one in wandb.begun} == {("made-up", "allow")}
    for logged in wandb.logged:
        steps = [step for step, _ in logged]
        assert steps == sorted(steps)
    assert set(wandb.logged[0][-1][1]) == {
        f"{part}/{size} px, resize/{what}"
        for part in ("test", "validation")
        for size in (8, 16)
        for what in ("accuracy", "nll")
    }


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_tracker_that_is_not_installed_is_named(
    name: str, made: tuple[Study, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the extra that installs it, before anything is written."""
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InductiveError, match=rf"pip install -e '\.\[{name}\]'"):
        export(*made, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_but_the_export_knows_of_trackers() -> None:
    """Reference: the text of all rooms."""
    knowing = [
        path.relative_to(ROOT).as_posix()
        for room in ("models", "benchmarks", "slurm", "analysis")
        for path in (ROOT / room).rglob("*.py")
        if "wandb" in path.read_text(encoding="utf-8") or "tensorboard" in path.read_text(encoding="utf-8")
    ]
    assert sorted(knowing) == ["analysis/export.py", "benchmarks/cli/export.py"]


def test_the_command(made: tuple[Study, Path], tmp_path: Path, inductive: Callable[..., Any]) -> None:
    (tmp_path / "made-up.toml").write_text(
        'seed = [0, 1, 2, 3, 4, 5]\ntest_resolutions = [8, 16]\n[[models]]\nname = "resnet"\n'
    )
    done = inductive("export", "made-up.toml", "--to", "csv")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "exports" / "made-up-csv").iterdir()) == [
        "evaluations.csv",
        "metrics.csv",
        "runs.csv",
    ]
    assert inductive("export", "made-up.toml", "--to", "mlflow").returncode == 2
