"""Measuring a finished network: accuracy and negative log-likelihood on a part of the data, at a resolution."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.batches import Normaliser, resize
from benchmarks.datasets import Images
from benchmarks.run import Evaluation
from benchmarks.subsets import Subset
from benchmarks.training import logits_of
from models.network import Network
from models.options import parse_way

LOGITS_BYTES = 4_000_000  # above this for all evaluations of a run, five best classes are kept instead of logits


class Measurer:
    """Measures one network on the parts of a run's data, normalised as in training."""

    def __init__(self, model: Network, images: Images, subset: Subset, channels_last: bool):
        self.model, self.channels_last = model, channels_last
        self.classes = int(images.train_labels.max()) + 1
        self.parts = {
            "train": (images.train[subset.train], images.train_labels[subset.train]),
            "validation": (images.train[subset.validation], images.train_labels[subset.validation]),
            "test": (images.test, images.test_labels),
        }
        self.normalise = Normaliser(self.parts["train"][0], next(model.parameters()).device)

    def logits(self, part: str, resolution: int) -> Tensor:
        """Logits (N, classes) of a part at a resolution, without augmentation."""
        pixels = self.parts[part][0]
        return logits_of(self.model, pixels, lambda x: self.normalise(resize(x, resolution)), self.channels_last)

    def score(self, part: str, resolution: int) -> tuple[Tensor, float, float]:
        """(logits, accuracy in 0..1, mean negative log-likelihood in nats)."""
        logits = self.logits(part, resolution)
        labels = torch.from_numpy(self.parts[part][1])
        nll = F.cross_entropy(logits.double(), labels).item()
        return logits, (logits.argmax(1) == labels).double().mean().item(), nll


def evaluate(
    measurer: Measurer,
    wanted: list[Evaluation],
    code: str,
    between: Callable[[], bool],
    predictions: str = "auto",
) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]] | None:
    """All evaluations of one pass: index entries and arrays for `record.write_evaluations`.

    `between` is asked before each evaluation; when it says true the pass is given up and None returned. `predictions`
    is what is kept of each image: 'logits', 'top5', 'none', or 'auto' (logits up to LOGITS_BYTES, then top5).
    """
    entries, arrays = [], {}
    kept = predictions if predictions != "auto" else _thinned(measurer, wanted)
    for evaluation in wanted:
        if between():
            return None
        if evaluation.carry != "-":
            way, choices = parse_way(evaluation.carry)
            measurer.model.carry(way, **choices)
        logits, accuracy, nll = measurer.score(evaluation.part, evaluation.resolution)
        if kept == "logits":
            arrays[f"{evaluation.id}.logits"] = logits.numpy().astype(np.float16)
        elif kept == "top5":
            arrays[f"{evaluation.id}.top5"] = logits.topk(min(5, logits.shape[1])).indices.numpy().astype(np.uint16)
        labels = measurer.parts[evaluation.part][1]
        arrays[f"labels.{evaluation.part}"] = labels.astype(np.int16)
        entries.append(
            {
                "id": evaluation.id,
                "evaluation": evaluation.model_dump(),
                "count": len(labels),
                "accuracy": accuracy,
                "nll": nll if np.isfinite(nll) else None,
                "predictions": kept,
                "code": code,
            }
        )
    return entries, arrays


def _thinned(measurer: Measurer, wanted: list[Evaluation]) -> str:
    """'logits' as long as all of them take few bytes, else 'top5'."""
    images = sum(len(measurer.parts[evaluation.part][1]) for evaluation in wanted)
    return "logits" if images * measurer.classes * 2 <= LOGITS_BYTES else "top5"
