"""Every model and encoding on the device against the CPU: logits, also of larger images, gradients, and the loss of
three training steps.

The reference is a CPU's plainest arithmetic (explicit attention, torch's linear maps and layout); on the other side is
a run's own, in float32. Weights are random everywhere, so that nothing is hidden by what starts at zero.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import models
from benchmarks.data.dataset import Places
from benchmarks.doctor.as_runs_do import as_runs_do
from benchmarks.doctor.findings import Answer, Check
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Run, make_run
from benchmarks.running.rerun import RELATIVE_LOSS
from benchmarks.speed.cases import DATASET, RESOLUTION, TRAIN, training_of
from benchmarks.speed.steps import CLASSES
from benchmarks.training.kernels import execution_for
from benchmarks.training.training import build_model
from models.checks.contract import random_images, randomise
from models.hints import did_you_mean

LOGITS, GRADIENTS = 1e-4, 5e-4
"""Bounds of the relative error of logits, and of each parameter's gradient, by norm. On a CPU two forms of arithmetic,
which add in another order, differed by at most 3e-7 and 4e-5, whatever the network; with the inputs of every matrix
product and convolution rounded as TF32 rounds them, by at least 1.6e-4 and 6e-4. Between the two lie the bounds."""
FLOOR = 0.01  # of the whole gradient's norm: a parameter's own counts as at least so large, since some are all rounding
BATCHES, QUICK_BATCHES, IMAGES = 5, 3, 2
"""A ReLU whose input is within rounding of zero may go either way, which moves a gradient by a percent: it happens in a
few small batches of a hundred, so the median over batches counts."""
LARGER = 48  # pixels of images that are evaluated but not trained on, as the suite does
STEPS, BATCH = 3, 16
LOGITS_AT = ("logits", "logits of larger images")  # keys, beside the names of parameters
PLAINEST = {"attention": "explicit", "linear": "torch", "layout": "contiguous", "compile": "off"}


@dataclass(frozen=True)
class Subject:
    """A network by a run's settings, under a name such as `resnet` or `vit rope_axial`."""

    name: str
    settings: Mapping[str, Any]


def subjects(only: str | None = None) -> list[Subject]:
    """Every model, and the ViT with every encoding, those of plugins too; or those whose names match a glob.

    Raises ConfigError where none does.
    """
    named = [Subject(name, {"model": name, "options": {}}) for name in models.model_names() if name != "vit"]
    named += [
        Subject(f"vit {position}", {"model": "vit", "options": {"position": position}})
        for position in models.position_names()
    ]
    if only is None:
        return named
    found = [one for one in named if fnmatch(one.name, only)]
    if not found:
        names = [one.name for one in named]
        raise ConfigError("--only", f"no network is called {only!r}{did_you_mean(only, names)}")
    return found


def run_of(subject: Subject, data: Path, steps: int, seed: int = 0, *, dropout: bool = True) -> Run:
    """A training of the network at its smallest size that takes 32 px; without `dropout` nothing in it is drawn."""
    model = str(subject.settings["model"])
    drawn = [option.name for option in models.family(model).options if option.name.endswith("dropout")]
    options = {**subject.settings["options"], **({} if dropout else dict.fromkeys(drawn, 0.0))}
    settings = {
        "model": model,
        "options": options,
        "dataset": DATASET,
        "resolution": RESOLUTION,
        "train_size": TRAIN * CLASSES,
        "validation": 0,
        "recipe": {"name": "plain", "batch_size": BATCH},
        "budget": {"steps": steps},
        "seed": seed,
    }
    return _smallest(settings, Places(data, None))


def _smallest(settings: Mapping[str, Any], places: Places) -> Run:
    """The run of the model's first size that can be had. Raises ConfigError where none can."""
    *sizes, last = models.family(str(settings["model"])).sizes
    for size in sizes:
        try:
            return make_run({**settings, "size": size}, places)
        except ConfigError:
            continue
    return make_run({**settings, "size": last}, places)


def checks(chosen: list[Subject], data: Path, device: str, *, quick: bool) -> Iterator[Check]:
    """A check a network, without dropout: devices draw other numbers. The quick form makes no training steps."""
    for subject in chosen:
        run = run_of(subject, data, STEPS, dropout=False)
        batches, steps = (QUICK_BATCHES, 0) if quick else (BATCHES, STEPS)
        yield Check("networks", subject.name, partial(against_cpu, run, data, device, batches, steps))


def against_cpu(run: Run, data: Path, device: str, batches: int, steps: int) -> Answer:
    """Compares the run's network on a device with the CPU's: in so many batches, and in so many steps of training."""
    here, losses = as_runs_do(run, device, partial(_computed, run, data, batches, steps))
    there, expected = _computed(run, data, batches, steps, execution_for(run, "cpu") | PLAINEST)
    pairs = list(zip(here, there, strict=True))
    logits = max(median(relative(mine[at], theirs[at]) for mine, theirs in pairs) for at in LOGITS_AT)
    by_parameter = [gradient_errors(mine, theirs) for mine, theirs in pairs]
    medians = {name: median(errors[name] for errors in by_parameter) for name in by_parameter[0]}
    worst = max(medians, key=lambda name: medians[name])
    apart = [abs(mine - theirs) / abs(theirs) for mine, theirs in zip(losses, expected, strict=True)]
    loss = max(apart, default=0.0)
    words = f"logits {logits:.0e}, gradients {medians[worst]:.0e} ({worst})"
    words += f", loss in {steps} steps {loss:.0e}" if steps else ""
    values = {"difference": medians[worst], "logits": logits, "gradients": medians[worst], "loss": loss}
    if not all(value.isfinite().all() for pair in pairs for one in pair for value in one.values()):
        return Answer("differs", f"a logit or gradient is not finite; {words}", values)
    if not all(map(math.isfinite, [*losses, *expected])):
        return Answer("differs", f"a loss is not finite; {words}", values)
    fine = logits <= LOGITS and medians[worst] <= GRADIENTS and loss <= RELATIVE_LOSS
    allowed = "" if fine else f"; allowed are {LOGITS:.0e}, {GRADIENTS:.0e} and {RELATIVE_LOSS:.0e}"
    return Answer("ok" if fine else "differs", words + allowed, values)


def _computed(
    run: Run, data: Path, batches: int, steps: int, execution: Mapping[str, Any]
) -> tuple[list[dict[str, Tensor]], list[float]]:
    """What an execution computes: logits and gradients of several batches, and the losses of some steps."""
    return _outcomes(run, execution, batches), _losses(run, execution, data, steps)


def _outcomes(run: Run, execution: Mapping[str, Any], batches: int) -> list[dict[str, Tensor]]:
    """For each batch the logits (B K), those of larger images in evaluation, and the gradient of every parameter, by
    name: in float64, on the CPU."""
    network = build_model(run, execution)
    randomise(network)
    found = []
    for seed in range(batches):
        images, larger = (_images(run, side, seed, execution) for side in (run.resolution, LARGER))
        with torch.no_grad():
            evaluated = network.eval()(larger)
        network.zero_grad(set_to_none=True)
        logits = network.train()(images)
        F.cross_entropy(logits, torch.arange(IMAGES, device=images.device)).backward()
        named = [(name, p.grad) for name, p in network.named_parameters() if p.grad is not None]
        named += zip(LOGITS_AT, (logits, evaluated), strict=True)
        found.append({name: value.detach().cpu().double() for name, value in named})
    return found


def _images(run: Run, side: int, seed: int, execution: Mapping[str, Any]) -> Tensor:
    """Random images B C side side on an execution's device, in its layout."""
    images = random_images(IMAGES, run.data.channels, side, side, seed=seed).float().to(execution["device"])
    if execution["layout"] == "channels_last":
        return images.contiguous(memory_format=torch.channels_last)
    return images


def relative(found: Tensor, expected: Tensor, least: float = 0.0) -> float:
    """|found - expected| / max(|expected|, least), in Euclidean norms of tensors of any one shape."""
    return float((found - expected).norm() / max(float(expected.norm()), least))


def gradient_errors(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
    """The relative error of each parameter's gradient; see FLOOR."""
    names = [name for name in expected if name not in LOGITS_AT]
    whole = float(torch.cat([expected[name].flatten() for name in names]).norm())
    return {name: relative(found[name], expected[name], FLOOR * whole) for name in names}


def _losses(run: Run, execution: Mapping[str, Any], data: Path, steps: int) -> list[float]:
    """The loss of each of the first steps; NaN for one that is not finite."""
    if not steps:
        return []
    training = training_of(run, data, execution)
    rows = [training.update() for _ in range(steps)]
    return [float("nan") if row is None else row["loss"] for row in rows]
