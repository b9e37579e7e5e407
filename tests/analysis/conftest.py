"""Records made up for tests: real studies and runs, folders in the format of docs/records.md, accuracies by formula."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.plan.run import Evaluation, Run, canonical
from benchmarks.plan.study import Study, expand
from benchmarks.records.record import FORMAT, write_evaluations
from benchmarks.records.sources import evaluation_code, run_sources

CEILING = {
    "resnet": 0.985,
    "conv_stem_vit": 0.985,
    "swin": 0.965,
    "none": 0.78,
    "learned_1d": 0.945,
    "learned_2d": 0.95,
}
COUNT = 597  # images of the digits' test part

TABLE: dict[str, Any] = {
    "question": "How many images does each architecture need?",
    "expect": "Convolutions lead",
    "dataset": "digits",
    "size": "pico",
    "recipe": "digits",
    "budget": {"steps": 600},
    "train_size": [100, 300, 1000],
    "seed": [0, 1, 2],
    "test_resolutions": [4, 6, 8, 12, 16],
    "models": [
        {"name": "resnet"},
        {"name": "conv_stem_vit"},
        {"name": "swin"},
        {"name": "vit", "position": ["none", "learned_1d", "learned_2d", "relative_1d", "sincos_2d", "rope_axial"]},
    ],
}
SMALL: dict[str, Any] = {
    **TABLE,
    "train_size": [100, 300],
    "test_resolutions": [8, 16],
    "models": [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d"]}],
}


def study_of(table: dict[str, Any], **changes: Any) -> Study:
    return expand({**table, **changes}, "made-up")


def noise(*names: object) -> float:
    """A standard normal number that is a function of the names."""
    digest = hashlib.sha256(repr(names).encode()).digest()
    return float(np.random.default_rng(list(digest)).standard_normal())


def accuracy_of(run: Run, evaluation: Evaluation) -> float:
    """A learning curve with noise shared by draw and seed, falling off in log resolution; a count of images."""
    ceiling = CEILING.get(run.position, CEILING.get(run.model, 0.93))
    hunger = 0.35 if run.model in ("resnet", "conv_stem_vit") else 1.0
    at_home = ceiling - hunger * 0.42 * (100 / run.train_size) ** 0.75
    at_home += 0.012 * noise("shared", run.draw, run.seed, run.train_size)
    at_home += 0.008 * noise("own", *(item for item in run.settings().items() if item[0] != "protocol"))
    away = abs(math.log2(evaluation.resolution / run.resolution)) * (0.15 if run.model == "vit" else 0.3)
    return round(COUNT * min(1.0, max(0.1, at_home * (1 - away)))) / COUNT


def write_record(
    root: Path,
    run: Run,
    evaluations: Iterable[Evaluation],
    state: str = "finished",
    accuracy: Callable[[Run, Evaluation], float] = accuracy_of,
    train_accuracy: float = 1.0,
    error: str | None = None,
) -> Path:
    """Writes the folder of a run that is finished, stale, diverged, failed or interrupted."""
    folder = root / run.id
    attempt = folder / "attempts" / "0001"
    attempt.mkdir(parents=True)
    write = {
        "config.json": {
            "format": FORMAT,
            "id": run.id,
            "run": json.loads(canonical(run.settings())),
            "delta": run.delta,
            "subset": "0" * 8,
        },
        "execution.json": {"device": "cpu", "capability": "AVX2", "threads": 1, "sources": run_sources(run)},
    }
    if state == "stale":
        write["execution.json"]["sources"] = {**run_sources(run), "benchmarks.training.training:Training": "00000000"}
    if state in ("finished", "stale", "diverged"):
        diverged = state == "diverged"
        train, validation = run.part_sizes
        steps = run.steps
        write["result.json"] = {
            "format": FORMAT,
            "state": "diverged" if diverged else "finished",
            "step": 120 if diverged else steps,
            "steps": steps,
            "diverged_at": 120 if diverged else None,
            "images": (120 if diverged else steps) * run.recipe.batch_size,
            "train_images": train,
            "validation_images": validation,
            "train_loss": None if diverged else 0.01,
            "train_accuracy": None if diverged else train_accuracy,
            "parameters": {
                "backbone": 84_816 if run.model == "vit" else 86_000,
                "position": 0 if run.position in ("-", "none") else 768,
                "head": 490,
            },
            "macs": 1_400_000 if run.model == "vit" else 5_600_000,
            "weights_sha256": None if diverged else "0" * 64,
        }
    write["attempts/0001/owner.json"] = {
        "host": "h", "boot": "b", "pid_namespace": "n", "pid": 1, "process_start": "1", "start_step": 0,
        "started": "2026-01-01 00:00:00 UTC", "slurm_job": None,
    }  # fmt: skip
    write["attempts/0001/ended.json"] = {
        "state": "finished" if state == "stale" else state,
        "step": 600,
        "seconds": {"total": 8.0, "training": 6.5, "evaluation": 1.0},
        "runs_per_gpu": 1,
        "images_per_second": None if state == "failed" else 5000.0 + round(500 * noise(run.id)),
        "error": error,
    }
    for name, content in write.items():
        (folder / name).write_text(json.dumps(content))
    if state in ("finished", "stale"):
        entries = [
            {
                "id": one.id,
                "evaluation": one.model_dump(),
                "count": COUNT if one.part == "test" else 20,
                "accuracy": accuracy(run, one),
                "nll": 0.5,
                "predictions": "none",
                "code": evaluation_code(one.probe),
                **({"consistency": 0.5} if one.probe != "-" else {}),
            }
            for one in evaluations
        ]
        write_evaluations(folder, 1, entries, {})
    return folder


def write_study(root: Path, study: Study, skip: Iterable[str] = ()) -> None:
    """The records of a study, all finished but for the ids in `skip`, which have no folder."""
    skipped = set(skip)
    for run in study.runs:
        if run.id not in skipped:
            write_record(root, run, study.evaluations[run.id])


@pytest.fixture(scope="session")
def made_up() -> SimpleNamespace:
    """The functions and tables of this file (test modules cannot import it under --import-mode=importlib)."""
    return SimpleNamespace(
        TABLE=TABLE,
        SMALL=SMALL,
        study_of=study_of,
        accuracy_of=accuracy_of,
        write_record=write_record,
        write_study=write_study,
    )


@pytest.fixture(scope="session")
def written_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The records of `small`."""
    root = tmp_path_factory.mktemp("small") / "runs"
    write_study(root, study_of(SMALL))
    return root


@pytest.fixture
def small(written_once: Path, tmp_path: Path) -> tuple[Study, Path]:
    """Three models, two train sizes, three seeds, two test resolutions; every run finished. The records are a copy,
    which a test may change."""
    return study_of(SMALL), shutil.copytree(written_once, tmp_path / "runs")
