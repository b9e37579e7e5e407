"""Which test images each network gets right, from the predictions that its record keeps of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.frame.rows import each_row
from benchmarks.errors import RecordError
from benchmarks.records.record import DAMAGE, opened_pass

Correct = Mapping[str, NDArray[np.bool_]]  # by run id: (images,), in the order of the part

KEPT = ("logits", "top5", "classes")


def correctness(root: Path, rows: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """For each row (one a run, of `Frame.rows`) whether each image was classified rightly; runs whose predictions were
    not kept, or cannot be read, are absent, and those with another number of images than most. The mean is the column
    accuracy, but for records of before the predicted class was kept: there the best of logits in 16 bits counts, in
    which an image whose two best classes are equal to three digits can count otherwise."""
    found = {}
    for row in each_row(rows[rows["predictions"].isin(KEPT)]):
        right = read_correct(root / row.run, row.evaluation, row.part)
        if right is not None:
            found[row.run] = right
    usual = Counter(map(len, found.values())).most_common(1)
    return {run: right for run, right in found.items() if len(right) == usual[0][0]}


def read_correct(folder: Path, evaluation: str, part: str) -> NDArray[np.bool_] | None:
    """The same for one evaluation (by id) of the record in `folder`, from its newest pass; None where there is none."""
    found = read_predictions(folder, evaluation, part)
    return None if found is None else found.predicted == found.labels


@dataclass(frozen=True)
class Predictions:
    """What a record keeps of an evaluation, in the order of the part: `labels` and `predicted` (images,) are classes,
    `logits` (images, classes) as float32, None where they were not kept."""

    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    logits: NDArray[np.float32] | None


def read_predictions(folder: Path, evaluation: str, part: str, logits: bool = False) -> Predictions | None:
    """Those of one evaluation (by id) of the record in `folder`, from its newest pass; None where none are kept or they
    cannot be read. `logits`: whether these are read, too."""
    for path in sorted((folder / "evaluations").glob("[0-9]*.npz"), reverse=True):
        try:
            with opened_pass(path) as arrays:
                predicted = _predicted(arrays, evaluation)
                if predicted is not None:
                    kept = logits and f"{evaluation}.logits" in arrays.files
                    whole = arrays[f"{evaluation}.logits"].astype(np.float32) if kept else None
                    return Predictions(arrays[f"labels.{part}"].astype(np.int64), predicted.astype(np.int64), whole)
        except (RecordError, *DAMAGE):
            return None
    return None


def _predicted(arrays: Mapping[str, NDArray[Any]], evaluation: str) -> NDArray[Any] | None:
    """The class that was predicted for each image, by whatever of an evaluation is kept in a pass; None for nothing."""
    if f"{evaluation}.predicted" in arrays:
        return arrays[f"{evaluation}.predicted"]
    if f"{evaluation}.logits" in arrays:
        return arrays[f"{evaluation}.logits"].argmax(axis=1)
    return arrays[f"{evaluation}.top5"][:, 0] if f"{evaluation}.top5" in arrays else None
