"""The networks on which whole trainings are timed, as a run of ours and as a module of anyone's, and their images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
from numpy.typing import NDArray
from torch import nn

import models
from benchmarks.data.dataset import FOLDER, Places
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.plan.run import Run, make_run
from benchmarks.running.progress import Display
from benchmarks.running.task import Ending, Task
from benchmarks.speed.against_timm import timm_vit
from benchmarks.speed.clock import Plan
from benchmarks.speed.steps import CLASSES
from benchmarks.training.training import Training

RESOLUTION = 32
TRAIN, TEST = 13, 2  # images of a class: what is evaluated at the end is small beside what is trained
DATASET = f"{FOLDER}random"


@dataclass(frozen=True)
class Case:
    """A network by a run's settings. `steps` a run fill a turn of some seconds.

    `share` is the goal for what its convolutions and matrix products, made alone, take of a step: the rest of a step
    may take no longer than what is left.
    """

    name: str
    settings: Mapping[str, Any]
    steps: int
    share: float


def _vit(width: int, depth: int, heads: int, patch: int) -> Mapping[str, Any]:
    options = {"width": width, "depth": depth, "heads": heads, "patch_size": patch, "position": "learned_1d"}
    return {"model": "vit", "options": options}


CASES = (
    Case("ViT 192x6, patch 4", _vit(192, 6, 3, 4), 32, 0.85),
    Case("ResNet-20", {"model": "resnet", "size": "nano"}, 64, 0.85),
    Case("ResNet-18, CIFAR stem", {"model": "resnet", "size": "resnet18"}, 24, 0.85),
    Case("ViT 64x2, patch 8", _vit(64, 2, 2, 8), 600, 0.70),
    Case(
        "ResNet-8, width 8",
        {"model": "resnet", "size": "nano", "options": {"width": 8, "stages": "1-1-1"}},
        240,
        0.70,
    ),
)


def cases_of(plan: Plan) -> tuple[Case, ...]:
    """All networks, or the smallest ones where the script is only tried."""
    return CASES if plan.measures else CASES[-2:]


def run_of(case: Case, batch: int, steps: int, data: Path, seed: int = 0, precision: str = "float32") -> Run:
    """The run of ours: crop and flip, AdamW; its images lie under `data`."""
    return make_run(
        {
            **case.settings,
            "dataset": DATASET,
            "train_size": TRAIN * CLASSES,
            "validation": 0,
            "recipe": {"name": "plain", "batch_size": batch},
            "budget": {"steps": steps},
            "seed": seed,
            "precision": precision,
        },
        Places(data, None),
    )


def network_of(case: Case) -> nn.Module:
    """The same network as others would take it: timm's where it has one, as it comes; else ours as a plain module."""
    if case.settings["model"] == "vit":
        return timm_vit(case.settings["options"], "fused")  # as timm has it by default
    if case.settings["size"] == "resnet18":
        network: Any = timm.create_model("resnet18", num_classes=CLASSES)
        network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)  # the usual change for 32 pixels
        network.maxpool = nn.Identity()
        return network
    return models.create_model(
        case.settings["model"],
        image_size=RESOLUTION,
        in_channels=3,
        num_classes=CLASSES,
        size=case.settings["size"],
        **case.settings.get("options", {}),
    )


def training_of(run: Run, data: Path, execution: Mapping[str, Any]) -> Training:
    """A run's training at its step 0, as `execute` begins it."""
    images = load_images(run.dataset, data)
    subset = draw_subset(images.train_labels, run.data.classes, run.draw, run.train_size, run.validation)
    return Training(run, execution, images, subset)


def random_images(count: int, seed: int) -> NDArray[np.uint8]:
    """count H W 3; nothing about time depends on what they show."""
    return np.random.default_rng(seed).integers(0, 256, (count, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)


def write_images(data: Path) -> None:
    """The data set of the runs, as PNG files under a data folder."""
    from PIL import Image

    for part, each in (("train", TRAIN), ("test", TEST)):
        for number, pixels in enumerate(random_images(each * CLASSES, seed=len(part))):
            folder = data / DATASET.removeprefix(FOLDER) / part / f"class{number % CLASSES}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{number}.png")


class Quiet(Display):
    """Shows nothing."""

    def __enter__(self) -> "Quiet":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def started(self, task: Task) -> None:
        pass

    def step(self, task: Task, step: int, steps: int, rate: float | None) -> None:
        pass

    def scored(self, task: Task, loss: float, validation: float | None) -> None:
        pass

    def evaluating(self, task: Task, number: int, of: int) -> None:
        pass

    def ended(self, ending: Ending) -> None:
        pass

    def message(self, text: str) -> None:
        pass
