"""Records made up to be many: folders in the format of docs/records.md, with the files that a finished run has.

Their numbers follow a formula, so that a report of them looks like one. What a run would have written is made by the
functions that runs use; only the waiting for the disk is left out.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.plan.run import Evaluation, Run
from benchmarks.plan.study import Study
from benchmarks.records.evaluation_files import packed
from benchmarks.records.metrics import logged
from benchmarks.records.record import FORMAT, config_values
from benchmarks.records.sources import evaluation_code, run_sources

ENDINGS = ("interrupted", "failed", "diverged", "lost", "stale", "missing")  # of those that are not finished
EXECUTION = {"device": "cpu", "capability": "AVX2", "threads": 1, "layout": "contiguous", "precision": "float32"}
EMPTY_WEIGHTS = (8).to_bytes(8, "little") + b"{}".ljust(8)  # a safetensors file with nothing in it
OWNER = {
    "host": "made-up", "boot": "-", "pid_namespace": "-", "pid": 1, "process_start": "1", "platform": "Linux",
    "slurm_job": None, "started": "2026-01-01 00:00:00 UTC", "start_step": 0,
}  # fmt: skip


def write_records(root: Path, study: Study, every: int = 0) -> None:
    """Writes the records of a study; with `every`, that many-th run has not finished, in each of ENDINGS by turns."""
    root.mkdir(parents=True, exist_ok=True)
    for number, run in enumerate(study.runs):
        odd = every and number % every == every - 1
        state = ENDINGS[number // every % len(ENDINGS)] if odd else "finished"
        if state != "missing":
            write_record(root, run, study.evaluations[run.id], state)


def write_record(root: Path, run: Run, evaluations: Iterable[Evaluation], state: str = "finished") -> Path:
    """Writes the folder of a run that is finished, interrupted, failed, diverged, lost or stale."""
    files: dict[str, bytes] = {}
    sources = run_sources(run)
    if state == "stale":
        sources = sources | {"benchmarks.training.training:Training": "00000000"}
    ended, steps = state in ("finished", "stale", "diverged"), run.steps
    step = steps if state in ("finished", "stale") else steps // 2
    files["config.json"] = _json(config_values(run, "0" * 16))
    files["execution.json"] = _json({**EXECUTION, "data": {}, "sources": sources})
    files["metrics.jsonl"] = _metrics(steps, step)
    files["attempts/0001/owner.json"] = _json(OWNER)
    files["attempts/0001/environment.json"] = _json({"python": "3.11", "command": "inductive run made-up"})
    files["attempts/0001/log.txt"] = b""
    if state != "lost":
        files["attempts/0001/ended.json"] = _json(
            {
                "state": "finished" if ended and state != "diverged" else state,
                "step": step,
                "seconds": {"total": 8.0, "start": 0.5, "training": 6.5, "evaluation": 1.0},
                "images_per_second": 5000.0 + round(500 * noise(run.id)),
                "error": "RuntimeError: made up" if state == "failed" else None,
            }
        )
    if ended:
        files["result.json"] = _json(_result(run, steps, None if state != "diverged" else step))
    if state in ("finished", "stale"):
        files["weights.safetensors"] = EMPTY_WEIGHTS
        files["evaluations/0001.npz"] = packed([_entry(run, one) for one in evaluations], {})
    folder = root / run.id
    for part in ("", "attempts/0001", *(["evaluations"] if state in ("finished", "stale") else [])):
        (folder / part).mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def _json(values: Any) -> bytes:
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


@lru_cache(maxsize=64)
def _metrics(steps: int, upto: int) -> bytes:
    rows = (
        {"step": step, "loss": 2.3 * math.exp(-5 * step / steps), "learning_rate": 1e-3, "accuracy": step / steps}
        for step in range(1, upto + 1)
        if logged(step, steps)
    )
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _result(run: Run, steps: int, diverged_at: int | None) -> dict[str, Any]:
    step = steps if diverged_at is None else diverged_at
    train, validation = run.part_sizes
    fine = diverged_at is None
    return {
        "format": FORMAT,
        "id": run.id,
        "state": "finished" if fine else "diverged",
        "step": step,
        "steps": steps,
        "diverged_at": diverged_at,
        "images": step * run.recipe.batch_size,
        "train_images": train,
        "validation_images": validation,
        "train_loss": 0.01 if fine else None,
        "train_accuracy": 1.0 if fine else None,
        "parameters": {"backbone": 250_000, "position": 0 if run.position in ("-", "none") else 768, "head": 490},
        "macs": 5_600_000,
        "weights_sha256": "0" * 64 if fine else None,
    }


def _entry(run: Run, one: Evaluation) -> dict[str, Any]:
    count = run.data.test_count if one.part == "test" else max(1, run.part_sizes[1])
    return {
        "run": run.id,
        "id": one.id,
        "evaluation": one.model_dump(),
        "count": count,
        "accuracy": round(count * accuracy(run, one.resolution)) / count,
        "nll": 0.5,
        "calibration": 0.02,
        "predictions": "none",
        "code": evaluation_code(),
    }


def accuracy(run: Run, resolution: int) -> float:
    """A learning curve with noise that runs of a draw and seed share, falling off in log resolution."""
    ceiling = 0.9 + 0.08 * (noise(run.model, run.position) % 1)
    at_home = ceiling - 0.42 * (100 / run.train_size) ** 0.5 + 0.012 * noise("shared", run.draw, run.seed)
    away = 0.2 * abs(math.log2(resolution / run.resolution))
    return min(1.0, max(0.1, (at_home + 0.008 * noise(run.id)) * (1 - away)))


@lru_cache(maxsize=65536)
def noise(*names: object) -> float:
    """A number between -1 and 1 that is a function of the names."""
    return int.from_bytes(hashlib.sha256(repr(names).encode()).digest()[:4]) / 2**31 - 1
