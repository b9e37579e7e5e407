"""What is taken for what, and the images that are hardest, from the predictions that records keep.

Of the test images at the training resolution, at an arm's largest train size: only those records are read.
Shapes: R runs, N images, K classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import softmax

from analysis.elements.reported import ReportedArm
from analysis.frame.cells import at_home
from analysis.frame.predictions import KEPT, read_predictions
from analysis.frame.rows import each_group, each_row
from benchmarks.data.class_names import class_names
from benchmarks.data.dataset import Places

HARDEST = 12  # images that are shown of a model


@dataclass(frozen=True)
class Answers:
    """What runs answered on the same images: their `labels` (N,), the classes `predicted` (R, N), and with what
    `confidence` (R, N): the probability of the answer, NaN where logits were not kept. `runs` are their ids."""

    runs: tuple[str, ...]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]


@dataclass(frozen=True)
class Mistakes:
    """The tables of an arm in long form, empty where no predictions are kept; `classes` are the names of classes.

    `confusion`: label, train_size, true, predicted (classes by name), images (of all runs, those that are right
    included), share (of the images of the true class), runs (ids). `hardest`: `hardest_images` with label and
    train_size, where they can be told from the others (`told_apart`)."""

    classes: tuple[str, ...]
    confusion: pd.DataFrame
    hardest: pd.DataFrame


def numbers(arm: ReportedArm) -> Mistakes:
    """The mistakes of an arm's models at its largest train size."""
    size = arm.runs["train_size"].max()
    rows = at_home(arm.rows)
    rows = rows[(rows["train_size"] == size) & rows["predictions"].isin(KEPT)]
    # names of a folder's classes are known once a run on it has begun
    names = class_names(arm.data.dataset, Places(data=None, runs=arm.root)) if len(rows) else ()
    confusions, hardest = [], []
    for label, of_model in each_group(rows, "label"):
        answers = read_answers(arm.root, [(row.run, row.evaluation) for row in each_row(of_model)])
        if answers is not None:
            where = {"label": label, "train_size": size}
            confusions.append(named_confusion(answers, names).assign(**where, runs=" ".join(answers.runs)))
            hardest.append(told_apart(hardest_images(answers, names, HARDEST + 1)).assign(**where))
    if not confusions:
        return Mistakes(names, pd.DataFrame(), pd.DataFrame())
    return Mistakes(names, pd.concat(confusions, ignore_index=True), pd.concat(hardest, ignore_index=True))


def read_answers(root: Path, runs: Sequence[tuple[str, str]]) -> Answers | None:
    """The answers of runs, given as (id, id of the evaluation) on the test part; None where no predictions are kept.
    The logits of one run are held at a time. Runs on other test images than most, by their labels, are left out."""
    found = []
    for run, evaluation in runs:
        kept = read_predictions(root / run, evaluation, "test", logits=True)
        if kept is not None:
            found.append((run, kept.labels, kept.predicted, confidence_of(kept.predicted, kept.logits)))
    if not found:
        return None
    usual = Counter(labels.tobytes() for _, labels, *_ in found).most_common(1)[0][0]
    found = [one for one in found if one[1].tobytes() == usual]
    ids, labels, predicted, confidence = zip(*found, strict=True)
    return Answers(ids, labels[0], np.array(predicted), np.array(confidence))


def confidence_of(predicted: NDArray[np.int64], logits: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """The probability (N,) that logits (N, K) give to the class predicted; NaN without logits."""
    if logits is None:
        return np.full(len(predicted), np.nan)
    chosen: NDArray[np.float64] = softmax(logits.astype(float), axis=1)[np.arange(len(predicted)), predicted]
    return chosen


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """How often images of a class (rows) were taken for another (columns), K x K; `predicted` (N,) or (R, N)."""
    pairs = (labels * classes + predicted).ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def named_confusion(answers: Answers, classes: Sequence[str]) -> pd.DataFrame:
    """The same in long form, without pairs that did not occur: true, predicted, images, share of the true class."""
    matrix = confusion(answers.labels, answers.predicted, len(classes))
    true, predicted = np.nonzero(matrix)
    images = matrix[true, predicted]
    shares = images / matrix.sum(axis=1)[true]
    names = np.array(classes, dtype=object)
    return pd.DataFrame({"true": names[true], "predicted": names[predicted], "images": images, "share": shares})


def hardest_images(answers: Answers, classes: Sequence[str], amount: int = HARDEST) -> pd.DataFrame:
    """The images that most runs got wrong, of these the most confidently first; none that all got right.

    Columns: image (its index in the test part, from 0), true and predicted (classes by name; of several wrong answers
    the most frequent), confidence (mean probability of their answer over the runs that were wrong; NaN without logits),
    wrong and of (runs)."""
    wrong = answers.predicted != answers.labels
    times = wrong.sum(axis=0)
    sums = np.where(wrong, answers.confidence, 0.0).sum(axis=0)
    confidence = np.divide(sums, times, out=np.zeros(len(times)), where=times > 0)
    order = np.lexsort((np.arange(len(times)), -np.nan_to_num(confidence), -times))
    chosen = [int(place) for place in order[:amount] if times[place]]
    taken_for = [int(np.bincount(answers.predicted[wrong[:, place], place]).argmax()) for place in chosen]
    return pd.DataFrame(
        {
            "image": np.array(chosen, dtype=np.int64),
            "true": [classes[answers.labels[place]] for place in chosen],
            "predicted": [classes[answer] for answer in taken_for],
            "confidence": confidence[chosen],
            "wrong": times[chosen],
            "of": len(answers.runs),
        }
    )


def told_apart(hardest: pd.DataFrame, amount: int = HARDEST) -> pd.DataFrame:
    """The first `amount` of a table of one image more. Without confidence only those that more runs got wrong than that
    last one: of images that are wrong in as many runs nothing says which are harder."""
    if len(hardest) > amount and hardest["confidence"].isna().all():
        return hardest[hardest["wrong"] > hardest["wrong"].iloc[amount]]
    return hardest.head(amount)
