"""Which test images each network gets right, from the predictions that its record keeps of them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.frame.rows import each_row
from benchmarks.errors import RecordError
from benchmarks.records.record import DAMAGE, opened_pass

Correct = Mapping[str, NDArray[np.bool_]]  # by run id: (images,), in the order of the part

KEPT = ("logits", "top5")


def correctness(root: Path, rows: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """For each row (one a run, of `Frame.rows`) whether each image was classified rightly; runs whose predictions
    were not kept, or cannot be read, are absent. The mean is the column accuracy, but for records of before the
    predicted class was kept: there the best of logits in 16 bits counts, in which an image whose two best classes are
    equal to three digits can count otherwise."""
    found = {}
    for row in each_row(rows[rows["predictions"].isin(KEPT)]):
        right = read_correct(root / row.run, row.evaluation, row.part)
        if right is not None:
            found[row.run] = right
    return found


def read_correct(folder: Path, evaluation: str, part: str) -> NDArray[np.bool_] | None:
    """The same for one evaluation (by id) of the record in `folder`, from its newest pass; None where there is none."""
    for path in sorted((folder / "evaluations").glob("[0-9]*.npz"), reverse=True):
        try:
            with opened_pass(path) as arrays:
                if f"{evaluation}.predicted" in arrays.files:
                    return np.asarray(arrays[f"{evaluation}.predicted"] == arrays[f"labels.{part}"])
                if f"{evaluation}.logits" in arrays.files:
                    return np.asarray(arrays[f"{evaluation}.logits"].argmax(axis=1) == arrays[f"labels.{part}"])
                if f"{evaluation}.top5" in arrays.files:
                    return np.asarray(arrays[f"{evaluation}.top5"][:, 0] == arrays[f"labels.{part}"])
        except (RecordError, *DAMAGE):
            return None
    return None
