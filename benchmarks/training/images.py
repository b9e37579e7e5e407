"""What differs between images that lie decoded in memory and photographs in shards: the one place that knows both.

Those who train and measure ask here; which definitions a run depends on is then said by `records.sources`, not found by
following names through this file.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.data.dataset import Images
from benchmarks.data.decoding import Squares
from benchmarks.data.photographs import Photographs
from benchmarks.plan.run import Evaluation, Run
from benchmarks.training.batches import Batches
from benchmarks.training.pixels import Pixels, Selected
from benchmarks.training.ranks.batches import ResidentRows, StreamedRows
from benchmarks.training.ranks.rows import Rows
from benchmarks.training.streamed import StreamedBatches, sample

Part = Pixels | Photographs


def batches_of(
    run: Run, images: Images, members: NDArray[np.int64], device: torch.device, rows: Rows | None = None
) -> Batches:
    """The training batches of a run, of those images of the training part whose numbers are `members` (n_train,), or
    some `rows` of each batch."""
    labels = images.train_labels[members]
    if isinstance(images.train, Photographs):
        photographs = images.train.select(members)
        if rows is not None:
            return StreamedRows(rows, run, photographs, labels, device)
        return StreamedBatches(run, photographs, labels, device)
    pixels = Selected(images.train, members)
    return Batches(run, pixels, labels, device) if rows is None else ResidentRows(rows, run, pixels, labels, device)


def part_of(images: Part, members: NDArray[np.int64]) -> Part:
    """Some images of a part of a data set, by their numbers (M,)."""
    if isinstance(images, Photographs):
        return images.select(members)
    assert isinstance(images, np.ndarray)
    return Selected(images, members)


def reference(train: Part, run: Run) -> Pixels:
    """The training images of a run whose mean and deviation its images are normalised by."""
    return sample(train, run.resolution) if isinstance(train, Photographs) else train


def plain(images: Part, train_resolution: int) -> Pixels:
    """The images of a part, all of one size: photographs have that of training."""
    return Squares(images, train_resolution, train_resolution) if isinstance(images, Photographs) else images


def decoded(images: Part, how: Evaluation, train_resolution: int) -> tuple[Pixels, Evaluation]:
    """The images of a part as an evaluation reads them, and what is left of the evaluation to be done with them.

    Photographs are decoded to the size that is shown: the shorter side resized to `resize_side`, or to the resolution
    by the share that `crop` shows, rounded down as timm does, and of that the middle.
    """
    if not isinstance(images, Photographs):
        return images, how
    side = train_resolution if how.images == "canvas" else how.resolution
    shorter = how.resize_side or int(side / how.crop)
    squashed = how.aspect == "squashed"
    return Squares(images, side, shorter, how.interpolation, squashed), how.model_copy(
        update={"crop": 1.0, "resize_side": 0}
    )
