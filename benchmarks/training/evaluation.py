"""Measuring a finished network: accuracy, likelihood and calibration on images as an evaluation shows them."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import models
from benchmarks.data.dataset import Images
from benchmarks.data.duplicates import PART, Duplicates
from benchmarks.data.subsets import Subset
from benchmarks.plan.run import Evaluation, Run
from benchmarks.training.batches import Normaliser, resize
from benchmarks.training.batchnorm import Statistics, estimate, with_statistics
from benchmarks.training.calibration import calibration_error
from benchmarks.training.images import Part, decoded, part_of, reference
from benchmarks.training.pixels import Pixels
from benchmarks.training.training import arithmetic, images_together, logits_of
from models.network import Network
from models.options import parse_way
from models.trained.patches import at_patch

LOGITS_BYTES = 4_000_000  # above this for all evaluations of a run, five best classes are kept instead of logits


class Measurer:
    """Measures one network on the parts of a run's data, normalised as in training, in the run's precision."""

    def __init__(
        self,
        model: Network,
        run: Run,
        images: Images,
        subset: Subset,
        channels_last: bool,
        left_out: Duplicates | None = None,
        between: Callable[[], object] = lambda: None,
    ):
        """`left_out` are the test images that the part `test_unique` lacks. `between` is called between two batches of
        images, and may raise to give up a measurement. `changed` is what a probe makes of the pixels of a part, once
        photographs are decoded to them."""
        self.model, self.resolution, self.precision = model, run.resolution, run.precision
        self.device = next(model.parameters()).device
        self.channels_last, self.left_out, self.between = channels_last, left_out, between
        self.changed: Callable[[Pixels], Pixels] = lambda pixels: pixels
        self.default_way = next(iter(models.carry_ways(run.model, options=run.options)), None)
        self.classes = int(images.train_labels.max()) + 1
        self.parts: dict[str, tuple[Part, NDArray[np.int64]]] = {
            "train": (part_of(images.train, subset.train), images.train_labels[subset.train]),
            "validation": (part_of(images.train, subset.validation), images.train_labels[subset.validation]),
            "test": (images.test, images.test_labels),
        }
        if left_out is not None:
            kept = np.delete(np.arange(len(images.test)), left_out.indices)
            self.parts[PART] = (part_of(images.test, kept), images.test_labels[kept])
        self.reference = reference(self.parts["train"][0], run)
        self.normalise = Normaliser(self.reference, self.device, run)
        self._statistics: dict[Evaluation, Statistics] = {}

    def shown(self, pixels: Tensor, how: Evaluation) -> Tensor:
        """Native images (float32 in 0..1, B C H W) as an evaluation shows them, normalised (B C R R)."""
        if how.resize_side:
            return self.normalise(centred(resize(pixels, how.resize_side, how.interpolation), how.resolution))
        side = max(1, round(how.crop * pixels.shape[-1]))
        x = pixels if how.crop == 1 else centred(pixels, side)
        if how.images == "canvas":
            home = resize(x, self.resolution, how.interpolation)
            return centred(self.normalise(home), how.resolution)  # 0: the mean of training
        return self.normalise(resize(x, how.resolution, how.interpolation))

    def logits(self, part: str, how: Evaluation) -> Tensor:
        """Logits (N, classes) of a part as an evaluation shows it, whichever part that names."""
        carry = self.default_way if how.carry == "-" else how.carry  # never the way of the evaluation before
        if carry is not None:
            way, choices = parse_way(carry)
            self.model.carry(way, **choices)
        with ExitStack() as changed:
            if how.images == "patch":
                changed.enter_context(at_patch(self.model, how.resolution, self.resolution))
            if how.batchnorm == "reestimated":
                changed.enter_context(with_statistics(self.model, self.statistics(how)))
            changed.enter_context(arithmetic(self.device, self.precision))
            pixels, left = decoded(self.parts[part][0], how, self.resolution)
            pixels = self.changed(pixels)
            logits = self._logits(pixels, lambda x: self.shown(x, left), how.resolution)
            if how.views == "one":
                return logits
            return (logits + self._logits(pixels, lambda x: self.shown(x, left).flip(3), how.resolution)) / 2

    def _logits(self, pixels: Pixels, shown: Callable[[Tensor], Tensor], resolution: int) -> Tensor:
        """Logits (N, classes) of images as `shown`, by the network as it is."""
        together = images_together(self.device, resolution)
        return logits_of(self.model, pixels, shown, self.channels_last, together, self.between)

    def statistics(self, how: Evaluation) -> Statistics:
        """BatchNorm's, re-estimated on the training images as an evaluation shows them; the same for all parts."""
        key = how.unprobed.model_copy(update={"part": "test", "views": "one"})
        if key not in self._statistics:
            pixels, left = decoded(self.parts["train"][0], how, self.resolution)
            with arithmetic(self.device, self.precision):
                self._statistics[key] = estimate(
                    self.model, pixels, lambda x: self.shown(x, left), self.channels_last, self.between
                )
        return self._statistics[key]

    def score(self, part: str, how: Evaluation) -> tuple[Tensor, float, float]:
        """(logits, accuracy in 0..1, mean negative log-likelihood in nats)."""
        logits = self.logits(part, how)
        labels = torch.from_numpy(self.parts[part][1])
        nll = F.cross_entropy(logits.double(), labels).item()
        return logits, (logits.argmax(1) == labels).double().mean().item(), nll


def centred(x: Tensor, side: int) -> Tensor:
    """The middle of images (B C H W), side x side, or the images in the middle of as much 0; an odd pixel too many or
    too few is at the bottom and at the right."""
    before = int((side - x.shape[-1]) / 2)
    after = side - x.shape[-1] - before
    return F.pad(x, (before, after, before, after))


def evaluate(
    measurer: Measurer, wanted: list[Evaluation], code: str, predictions: str = "auto"
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """All evaluations of one pass: index entries and arrays for `record.write_evaluations`.

    `predictions` is what is kept of each image: 'logits', 'top5', 'classes', 'none', or 'auto' (logits up to
    LOGITS_BYTES, then top5). The predicted class is kept beside logits, too: in 16 bits two may be equal that were not
    when it was chosen.
    """
    entries, arrays = [], {}
    kept = predictions if predictions != "auto" else _thinned(measurer, wanted)
    for evaluation in wanted:
        logits, accuracy, nll = measurer.score(evaluation.part, evaluation)
        number = np.uint16 if logits.shape[1] <= 2**16 else np.uint32
        if kept == "logits":
            arrays[f"{evaluation.id}.logits"] = logits.numpy().astype(np.float16)
        elif kept == "top5":
            arrays[f"{evaluation.id}.top5"] = logits.topk(min(5, logits.shape[1])).indices.numpy().astype(number)
        if kept != "none":
            smallest = np.uint8 if logits.shape[1] <= 256 else number
            arrays[f"{evaluation.id}.predicted"] = logits.argmax(1).numpy().astype(smallest)
        labels = measurer.parts[evaluation.part][1]
        calibration = calibration_error(logits, torch.from_numpy(labels))
        arrays[f"labels.{evaluation.part}"] = labels.astype(np.int16 if measurer.classes <= 2**15 else np.int32)
        entries.append(
            {
                "id": evaluation.id,
                "evaluation": evaluation.model_dump(),
                "count": len(labels),
                "accuracy": accuracy,
                "nll": nll if np.isfinite(nll) else None,
                "calibration": calibration if np.isfinite(calibration) else None,
                "predictions": kept,
                "code": code,
                **({"left_out": measurer.left_out.digest} if evaluation.part == PART and measurer.left_out else {}),
            }
        )
    return entries, arrays


def predictions_kept(measurer: Measurer, wanted: list[Evaluation], predictions: str) -> str:
    """What is kept of each image when all of these are measured: 'logits', 'top5', 'classes' or 'none'."""
    return predictions if predictions != "auto" else _thinned(measurer, wanted)


def _thinned(measurer: Measurer, wanted: list[Evaluation]) -> str:
    """'logits' as long as all of them take few bytes, else 'top5'."""
    images = sum(len(measurer.parts[evaluation.part][1]) for evaluation in wanted)
    return "logits" if images * measurer.classes * 2 <= LOGITS_BYTES else "top5"
