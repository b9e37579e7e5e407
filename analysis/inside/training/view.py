"""The panels of `--at training`: curves of runs side by side, what each mistakes for what, and single images."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from analysis import wording
from analysis.elements.captions import legend
from analysis.elements.palette import looks
from analysis.frame.predictions import read_predictions
from analysis.inside.panel import Choices, Panel
from analysis.inside.subject import Subject, to_look_at
from analysis.inside.training import figures
from analysis.inside.training.numbers import Array, most_unlike, probabilities, total_variation
from analysis.questions.mistakes.figures import confusion_maps, largest_share
from analysis.questions.mistakes.numbers import Answers, confusion, hardest_images, named_confusion
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Part, default_evaluation
from benchmarks.records.metrics import read_metrics
from benchmarks.trained import TrainedRun


def panels(subjects: Sequence[Subject], choices: Choices) -> list[Panel]:
    """Curves and confusion of all runs; the images that each gets most wrong; those on which the first and each other
    run differ most: of the whole part, so many images shown as the subjects have.

    Raises ConfigError for a ready-made network, images of one's own, runs that have no images in common, and for the
    choice of a patch or a layer."""
    runs = compared(subjects, choices)
    part, count = subjects[0].part, len(subjects[0].images)
    entries = [answered(run, name, part) for run, name in zip(runs, short_names(runs), strict=True)]
    return [
        curves(entries),
        confused(entries, part),
        *wrong(entries, part, count),
        *unlike(entries, part, count),
    ]


@dataclass(frozen=True, eq=False)
class Entry:
    """A run with its short name and its answers on a part of its data: true and predicted classes N, probabilities
    N K."""

    run: TrainedRun
    name: str
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: Array

    @property
    def answers(self) -> Answers:
        """As the question of mistakes takes them."""
        confidence = self.probabilities[np.arange(len(self.predicted)), self.predicted]
        return Answers((self.run.run.id,), self.labels, self.predicted[None], confidence[None])


def answered(run: TrainedRun, name: str, part: str) -> Entry:
    """The answers that the record keeps, or, where it has no logits of this part, those of its network made again."""
    if part != "train":  # of which there are no evaluations
        how = default_evaluation(run.run, cast(Part, part), run.run.resolution)
        kept = read_predictions(run.record.path, how.id, part, logits=True)
        if kept is not None and kept.logits is not None:
            return Entry(run, name, kept.labels, kept.predicted, probabilities(kept.logits))
    logits = run.predict(part).numpy()
    return Entry(run, name, run.images(part)[1].numpy(), logits.argmax(axis=1), probabilities(logits))


def compared(subjects: Sequence[Subject], choices: Choices) -> list[TrainedRun]:
    """The runs of the subjects. Raises ConfigError unless they can be compared."""
    for flag, value in (("--patch", choices.patch), ("--layer", choices.layer)):
        if value is not None:
            raise ConfigError(flag, "is for attention and positions; --at training shows whole images")
    runs: list[TrainedRun] = []
    for subject in subjects:
        if subject.trained is None:
            raise ConfigError(subject.name, "is ready-made: it has no curves and no labels; --at training is of runs")
        if not subject.part:
            raise ConfigError("--images", "are files, which have no labels; allowed: validation, train, test")
        if subject.name in {run.run.id for run in runs}:
            raise ConfigError(subject.name, "is given twice")
        runs.append(subject.trained)
    first, part = runs[0], subjects[0].part
    for run in runs[1:]:
        if run.run.dataset != first.run.dataset:
            data = f"is of {run.run.dataset}, {first.run.id} of {first.run.dataset}"
            raise ConfigError(run.run.id, f"{data}; runs of one data set are compared")
        if not torch.equal(run.pixels(part), first.pixels(part)):
            way = "; --images test has the same for both" if part != "test" else ""
            raise ConfigError("--images", f"{run.run.id} has other {part} images than {first.run.id}{way}")
    return runs


def short_names(runs: Sequence[TrainedRun]) -> list[str]:
    """Model and encoding of each run; its id where several have the same."""
    short = [run.run.model + ("" if run.run.position == "-" else f" {run.run.position}") for run in runs]
    times = Counter(short)
    return [run.run.id if times[name] > 1 else name for run, name in zip(runs, short, strict=True)]


def curves(entries: Sequence[Entry]) -> Panel:
    """Loss and accuracy of all runs."""
    rows = [read_metrics(entry.run.record.path / "metrics.jsonl") for entry in entries]
    kinds = [(entry.name, entry.run.run.model, entry.run.run.position) for entry in entries]
    styles = looks(pd.DataFrame(kinds, columns=["label", "model", "position"]))
    lines = [(entry.name, styles[entry.name], logged) for entry, logged in zip(entries, rows, strict=True)]
    behind: dict[str, Any] = {"runs": ids_of(entries)}
    for number, logged in enumerate(rows, 1):
        for key in ("step", *(f"{prefix}{what}" for what in figures.PANELS.values() for prefix in figures.PARTS)):
            behind[f"run_{number}_{key}"] = np.array([row.get(key, np.nan) for row in logged], dtype=float)
    return Panel(
        "curves",
        "How training went",
        partial(figures.curves, lines),
        behind,
        "Loss and accuracy against the optimiser step",
        legend("training, batch: of a step’s batch as the recipe has it, augmentation included, as logged"),
    )


def confused(entries: Sequence[Entry], part: str) -> Panel:
    """What each run takes for what."""
    classes, labels = entries[0].run.class_names, entries[0].labels
    tables = [
        named_confusion(one.answers, classes).assign(label=one.name if len(entries) > 1 else "") for one in entries
    ]
    table = pd.concat(tables, ignore_index=True)
    counts = np.stack([confusion(labels, entry.predicted, len(classes)) for entry in entries])
    return Panel(
        "confusion",
        "What is taken for what",
        partial(confusion_maps, table, classes),
        {"confusion": counts, "classes": np.array(classes), "runs": ids_of(entries)},
        f"The {len(labels):,} {part} images of each class (rows) by the class that they were taken for (columns)",
        legend("no colour: none", f"full colour: {wording.percent(largest_share(table))} of a class"),
    )


def wrong(entries: Sequence[Entry], part: str, count: int) -> Iterator[Panel]:
    """Of each run the images that it gets wrong with the most confidence; none of one that gets all right."""
    for number, entry in enumerate(entries, 1):
        table = hardest_images(entry.answers, entry.run.class_names, count)
        if table.empty:
            continue
        images = table["image"].to_numpy()
        texts = [
            f"is {true}\ntaken for {predicted}, {wording.percent(confidence)}"
            for true, predicted, confidence in zip(table["true"], table["predicted"], table["confidence"], strict=True)
        ]
        amount = int((entry.predicted != entry.labels).sum())
        yield Panel(
            f"wrong-{number}",
            f"Most wrong: {entry.name}",
            partial(figures.captioned, pictures(entry.run, part, images), texts),
            {"images": images, "labels": entry.labels[images], "probabilities": entry.probabilities[images]},
            f"Of the {amount:,} {part} images that {entry.name} got wrong, the {len(images)} with the most confidence",
        )


def unlike(entries: Sequence[Entry], part: str, count: int) -> Iterator[Panel]:
    """The images on which the first run and another differ most."""
    first, classes = entries[0], entries[0].run.class_names
    for number, other in enumerate(entries[1:], 2):
        images = most_unlike(first.probabilities, other.probabilities, count)
        distance = total_variation(first.probabilities, other.probabilities)
        texts = [
            f"is {classes[first.labels[place]]}\n1: {in_words(first, place)}\n2: {in_words(other, place)}"
            for place in images.tolist()
        ]
        yield Panel(
            f"unlike-{number}",
            f"Most unlike: {first.name} and {other.name}",
            partial(figures.captioned, pictures(first.run, part, images), texts),
            {
                "images": images,
                "labels": first.labels[images],
                "distance": distance[images],
                "mean_distance": distance.mean(),
                "probabilities": np.stack([one.probabilities[images] for one in (first, other)]),
            },
            f"The {len(images)} {part} images on which 1, {first.name}, and 2, {other.name}, differ most",
            legend(
                "measured by half the sum of absolute differences of probabilities, 0 to 1",
                f"mean of all images: {distance.mean():.2f}",
            ),
        )


def in_words(entry: Entry, image: int) -> str:
    """The class predicted for an image, and how probable it was."""
    best = int(entry.predicted[image])
    return f"{entry.run.class_names[best]}, {wording.percent(float(entry.probabilities[image, best]))}"


def ids_of(entries: Sequence[Entry]) -> NDArray[np.str_]:
    """The runs' ids, in order."""
    return np.array([entry.run.run.id for entry in entries])


def pictures(run: TrainedRun, part: str, images: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Images of a part by their places, as they are in the data set: uint8 N H W 3."""
    return to_look_at(run.pixels(part)[images.tolist()].float() / 255)
