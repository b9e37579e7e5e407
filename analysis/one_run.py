"""For `inductive show RUN --html`: one run on a page that needs nothing else. Its curves, what it mistakes for what,
and the test images that it gets wrong most confidently.

Of this one network, no more: `inductive report` compares models over seeds.
"""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from analysis import wording
from analysis.elements.axes import STYLE, decades
from analysis.elements.drawings import Drawing, pictures
from analysis.elements.layout import NARROW, WIDTH, settle
from analysis.elements.palette import BLUE, VERMILLION
from analysis.formats.html import environment, svg_of
from analysis.frame.predictions import Predictions, read_predictions
from analysis.frame.rows import each_row
from analysis.questions.mistakes.figures import confusion_maps, largest_share
from analysis.questions.mistakes.numbers import Answers, confidence_of, hardest_images, named_confusion
from benchmarks.data.class_names import class_names
from benchmarks.data.dataset import Places
from benchmarks.data.decoding import Squares
from benchmarks.data.photographs import Photographs
from benchmarks.data.store import check_same_images, load_images
from benchmarks.errors import RecordError
from benchmarks.plan.run import Evaluation, Run
from benchmarks.records.metrics import read_metrics
from benchmarks.records.record import Record
from benchmarks.records.summary import accuracies, circumstances

SQUARE = 224  # px: a photograph on the page
CURVES = {  # of metrics.jsonl: the key of each line of a panel, its name and colour
    "loss, nats": (("loss", "training, batch", BLUE), ("validation_loss", "validation", VERMILLION)),
    "accuracy": (("accuracy", "training, batch", BLUE), ("validation_accuracy", "validation", VERMILLION)),
}


@dataclass(frozen=True)
class WorstImage:
    """A test image (its index from 0) that was taken for another class, and a data: address of it."""

    image: int
    true: str
    predicted: str
    confidence: str
    href: str


def run_page(record: Record, run: Run, state: str, places: Places) -> str:
    """The page of a run that was evaluated. `places.data` holds its data set.

    Raises RecordError for one that is not finished or not evaluated at its training resolution, or whose images are
    others now, InductiveError where they are not there. Where the record keeps no logits, its network predicts again:
    then RecordError also where it has no weights.
    """
    if state not in ("finished", "stale"):
        raise RecordError(f"{record.id}: is {state}; a page is of a run that is finished")
    if record.main is None:
        raise RecordError(
            f"{record.id}: is {state}, but was not evaluated on test images at its training resolution, of which a "
            f"page is; with {run.resolution} among the test_resolutions of its study `inductive run` adds that"
        )
    names = class_names(run.data, places)
    answers = _answers(record, places)
    curves, confusion = _curves(record), _confusion(record, answers, names)
    return (
        environment()
        .get_template("run.html.j2")
        .render(
            id=record.id,
            state=state,
            lines=[*accuracies(record), *circumstances(record)],
            curves=curves,
            confusion=confusion,
            svg=svg_of(cache(partial(pictures, kinds=("wide", "narrow")))),
            worst=worst_images(record, run, answers, names, places),
            wrong=int((answers.predicted != answers.labels).sum()),
            images=answers.labels.size,
            evaluations=[_evaluation_row(entry) for entry in record.unprobed],
            settings=list(_flat(run.settings())),
        )
    )


def _curves(record: Record) -> Drawing:
    metrics = read_metrics(record.path / "metrics.jsonl")
    shows = "Loss and accuracy against the optimiser step"
    legend = "Training, batch: of a step’s batch as the recipe has it, augmentation included, as logged."
    return Drawing("curves", partial(training_curves, metrics), pd.DataFrame(metrics), shows, legend, record.id)


def _confusion(record: Record, answers: Answers, names: Sequence[str]) -> Drawing:
    table = named_confusion(answers, names).assign(label="")
    shows = "Test images of each class (rows) by the class that they were taken for (columns)"
    legend = f"Colour: the share of the true class that is wrong, at most {wording.percent(largest_share(table))}."
    return Drawing("confusion", partial(confusion_maps, table, names), table, shows, legend, record.id)


def training_curves(metrics: Sequence[Mapping[str, float]], width: float = WIDTH) -> Figure:
    """Loss (log scale) and accuracy against the optimiser step, as logged, side by side where there is room; a line is
    left out where nothing was logged. `width` in inches."""
    beside = width >= NARROW
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 2.7 if beside else 4.6), layout="constrained")
        panels = figure.subplots(*((1, 2) if beside else (2, 1)))
        for axes, (title, lines) in zip(panels, CURVES.items(), strict=True):
            for key, name, colour in lines:
                points = [(row["step"], row[key]) for row in metrics if is_number(row.get(key))]
                if points:
                    axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.2, label=name)
            axes.set(title=title, xlabel="optimiser step")
            if axes.lines:
                axes.legend()
        loss, accuracy = panels
        loss.set_yscale("log")
        decades(loss, "{:g}", (1,))
        accuracy.set_ylim(0, 1.02)
        accuracy.yaxis.set_major_formatter(PercentFormatter(1.0))
        return settle(figure)


def is_number(value: float | None) -> bool:
    """Whether a loss was logged, and was finite."""
    return value is not None and math.isfinite(value)


def worst_images(record: Record, run: Run, answers: Answers, names: Sequence[str], places: Places) -> list[WorstImage]:
    """The twelve test images that the run got wrong with the most confidence, as they are in the data set."""
    assert places.data is not None
    images = load_images(run.dataset, places.data)
    check_same_images(record.id, (record.execution or {}).get("data", {}), images)
    return [
        WorstImage(row.image, row.true, row.predicted, wording.percent(row.confidence), _png(pixels))
        for row in each_row(hardest_images(answers, names))
        for pixels in (_as_shown(images.test, row.image),)
    ]


def _as_shown(part: NDArray[np.uint8] | Photographs, number: int) -> NDArray[np.uint8]:
    """An image of a part (C H W); of a photograph its middle square, no larger than a page needs."""
    if not isinstance(part, Photographs):
        return part[number]
    side = min(SQUARE, int(part.sizes[number].min()))
    return Squares(part.select([number]), side, side)[:][0]


def _answers(record: Record, places: Places) -> Answers:
    """The run's answers on its test images: of the record, or made again by its network where it keeps no logits."""
    entry: Mapping[str, Any] = record.main or {}
    kept = read_predictions(record.path, entry["id"], "test", logits=True)
    if kept is None or kept.logits is None:
        from benchmarks.trained import load_run

        trained = load_run(record.id, record.path.parent, places.data)
        logits = trained.predict("test").numpy()
        kept = Predictions(trained.images("test")[1].numpy(), logits.argmax(axis=1), logits)
    confidence = confidence_of(kept.predicted, kept.logits)
    return Answers((record.id,), kept.labels, kept.predicted[None], confidence[None])


def _png(pixels: NDArray[np.uint8]) -> str:
    """A data: address of an image (C H W), pixel by pixel: the page enlarges it."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _evaluation_row(entry: Mapping[str, Any]) -> tuple[str, str, str, str, str]:
    how = Evaluation(**entry["evaluation"])
    return how.part, f"{how.resolution} px", how.words, f"{entry['accuracy']:.2%}", f"{entry['count']:,}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Sequence[tuple[str, str]]:
    """A configuration as (key, value), the keys of tables behind a dot."""
    found: list[tuple[str, str]] = []
    for key, value in settings.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", str(value))]
    return found
