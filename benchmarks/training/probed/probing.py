"""Measuring a finished network on images that a probe has changed, beside the same images as they are."""

from collections.abc import Callable
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import randomness
from benchmarks.plan.probes import PROBES
from benchmarks.plan.run import Evaluation
from benchmarks.training.evaluation import Measurer, evaluate
from benchmarks.training.pixels import Pixels, Selected, moments
from benchmarks.training.probed import probes

TOGETHER = 64  # images changed at once, in double precision: memory
PERMUTED = "permuted_labels"

Change = Callable[[Tensor, NDArray[np.int64]], Tensor]  # images, and their numbers in the data set


class Probed:
    """Images (N C H W, uint8) that are changed when they are asked for, on the CPU, and rounded to 8 bits as stored
    images are: what changes nothing gives the same bytes. In double precision, so that it moves no byte how many are
    asked for together."""

    def __init__(self, pixels: Pixels, change: Change):
        self.pixels, self.change = pixels, change
        self.indices = pixels.indices if isinstance(pixels, Selected) else np.arange(len(pixels))

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape

    def __getitem__(self, which: slice | NDArray[np.integer]) -> NDArray[np.uint8]:
        plain, numbers = self.pixels[which], self.indices[which]
        changed = np.empty_like(plain)
        for start in range(0, len(plain), TOGETHER):
            some = slice(start, start + TOGETHER)
            x = self.change(torch.from_numpy(plain[some]).double() / 255, numbers[some])
            changed[some] = (x * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        return changed


class Probing:
    """The probed evaluations of one network; what it says of the images as they are is found out once."""

    def __init__(self, measurer: Measurer):
        self.measurer = measurer
        self._plain: dict[Evaluation, NDArray[np.integer]] = {}

    def evaluate(
        self, one: Evaluation, code: str, predictions: str = "auto"
    ) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
        """Index entries and arrays of one probed evaluation, as `evaluation.evaluate` has them, and `consistency`: the
        share of images that are taken for the same class as without the probe; None for a control.

        `predictions`: what is kept of each image, nothing by default: there are many, and each stands for a share. Of
        images with other labels nothing is ever kept.
        """
        control = PROBES[one.probe].control
        [entry], arrays = _kept(self._changed(one), one, code, predictions)
        classes = arrays[f"{one.id}.predicted"]
        same = None if control else float((classes == self._predicted(one.unprobed)).mean())
        none = predictions in ("auto", "none") or one.probe == PERMUTED
        kept = {"predictions": "none"} if none else {}
        return [{**entry, **kept, "consistency": same}], {} if none else arrays

    def _changed(self, one: Evaluation) -> Measurer:
        """What measures the network on images and labels as the probe has them."""
        shown = copy(self.measurer)
        mean, deviation = (torch.from_numpy(value) for value in moments(shown.reference))
        change, value = getattr(probes, one.probe), PROBES[one.probe].value(one.strength)
        shown.changed = lambda pixels: Probed(
            pixels, lambda x, numbers: change(x, value, probes.Scene(numbers, mean, deviation))
        )
        if one.probe == PERMUTED:
            images, labels = shown.parts[one.part]
            order = randomness.permutation(randomness.key(probes.SEED, f"probe {PERMUTED}"), len(labels))
            shown.parts = {**shown.parts, one.part: (images, labels[order])}
        return shown

    def _predicted(self, plain: Evaluation) -> NDArray[np.integer]:
        """The class that each image is taken for without a probe."""
        if plain not in self._plain:
            _, arrays = _kept(self.measurer, plain, "", "top5")
            self._plain[plain] = arrays[f"{plain.id}.predicted"]
        return self._plain[plain]


def _kept(
    measurer: Measurer, one: Evaluation, code: str, predictions: str
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """One evaluation with at least the predicted classes."""
    kept = "top5" if predictions in ("auto", "none") else predictions
    return evaluate(measurer, [one], code, kept)
