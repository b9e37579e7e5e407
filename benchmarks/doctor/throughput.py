"""How fast a training step is: images a second of five networks, small and large, and what of the card's peak that is.

A step is a run's own (images, augmentation, network, optimiser), its settings are the rule's. A step of an image counts
as six operations a multiply-accumulate of the network: forward, and twice as much backward.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks.data.dataset import Places
from benchmarks.doctor.as_runs_do import as_runs_do
from benchmarks.doctor.findings import Answer, Check, Finding, left_out
from benchmarks.forecast.gpu_speed import peak
from benchmarks.plan.run import Precision, Run, make_run
from benchmarks.speed.cases import DATASET, TRAIN, training_of
from benchmarks.speed.steps import CLASSES
from benchmarks.training.kernels import KERNELS
from benchmarks.training.training import Training

PART = "speed"
NETWORKS = ("vit", "resnet", "convnext", "swin", "mixer")
QUICK_NETWORKS = ("vit", "resnet")
PRECISIONS: tuple[str, ...] = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Shape:
    """Images of `pixels`, `batches` of them a step by device, and the size of the networks that take them."""

    pixels: int
    size: str
    batches: tuple[int, int]  # cuda, others

    def batch(self, device: str) -> int:
        return self.batches[0 if device == "cuda" else 1]


SHAPES = (Shape(32, "tiny", (512, 16)), Shape(224, "small", (128, 2)))
SECONDS, QUICK_SECONDS = 1.5, 0.5  # that are timed, after the steps that warm up
WARM, SLOW = 8, 0.1  # steps at most that warm up after the first; seconds of one after which it is the last of them


def planned(data: Path, device: str, *, quick: bool, only: str | None) -> tuple[list[Check], list[Finding]]:
    """The checks to be made, and what is left out of them and why."""
    checks, missing = [], dict[str, list[str]]()
    for shape in SHAPES:
        for model in NETWORKS:
            if only is not None and not fnmatch(model, only):
                continue
            for precision in PRECISIONS:
                name = f"{model} {shape.size}, {shape.pixels} px, {precision}"
                why = _why_not(model, shape, device, precision, quick=quick)
                if why:
                    missing.setdefault(why, []).append(name)
                else:
                    run = run_of(model, shape, precision, device, data)
                    seconds = QUICK_SECONDS if quick else SECONDS
                    checks.append(Check(PART, name, partial(rate, run, data, device, seconds)))
    others = {why: f" and {len(names) - 1} others" if len(names) > 1 else "" for why, names in missing.items()}
    return checks, [left_out(PART, names[0] + others[why], why) for why, names in missing.items()]


def _why_not(model: str, shape: Shape, device: str, precision: str, *, quick: bool) -> str:
    if precision not in get_args(Precision) or (device, precision) not in KERNELS:
        return f"no runs in {precision} on {device}"
    if quick and (model not in QUICK_NETWORKS or shape != SHAPES[0]):
        return "left out by --quick"
    return ""


def run_of(model: str, shape: Shape, precision: str, device: str, data: Path) -> Run:
    """A training of a network on images that are resized to the shape's pixels."""
    return make_run(
        {
            "model": model,
            "size": shape.size,
            "options": {"scale": shape.pixels},
            "dataset": DATASET,
            "resolution": shape.pixels,
            "train_size": TRAIN * CLASSES,
            "validation": 0,
            "recipe": {"name": "plain", "batch_size": shape.batch(device)},
            "budget": {"steps": 10**6},
            "precision": precision,
        },
        Places(data, None),
    )


def rate(run: Run, data: Path, device: str, seconds: float) -> Answer:
    """Images a second over steps of a training that take about `seconds`."""
    count, spent, macs, finite = as_runs_do(run, device, partial(_steps, run, data, seconds), "rule")
    if not finite:
        return Answer("failed", "the loss is not finite")
    images = count * run.recipe.batch_size / spent
    flops = 6 * macs * images
    card = torch.cuda.get_device_name() if device == "cuda" else ""
    most = peak(card, run.precision)
    share = None if most is None else flops / (most * 1e12)
    words = f"{images:,.0f} images/s" if images >= 10 else f"{images:.1f} images/s"
    words += f", {flops / 1e12:.2g} TFLOP/s"
    words += f", {share:.0%} of the peak of {most:g}" if share is not None else ", share of peak -"
    return Answer("ok", words, {"images_per_second": images, "tflops": flops / 1e12, "share": share})


def _steps(run: Run, data: Path, seconds: float, execution: Mapping[str, Any]) -> tuple[int, float, int, bool]:
    """Steps that were timed, how long they took, the network's multiply-accumulates, whether the loss is finite."""
    training, device = training_of(run, data, execution), str(execution["device"])
    training.update(read=False)  # loads kernels, or compiles
    for _ in range(WARM):
        last = _timed(training, 1, device)
        if last > SLOW:
            break
    count = max(1, round(seconds / last))
    spent = _timed(training, count, device)
    macs = int(training.model.describe(run.resolution, run.resolution).macs)
    return count, spent, macs, not training.diverged()


def _timed(training: Training, steps: int, device: str) -> float:
    """Seconds of so many steps, the device's work included."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(steps):
        training.update(read=False)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
