"""The panels of `--at training`: curves of runs side by side, what each mistakes for what, and single images."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis import wording
from analysis.elements.captions import legend
from analysis.elements.palette import looks
from analysis.inside.panel import Choices, Panel
from analysis.inside.subject import Subject, to_look_at
from analysis.inside.training import figures
from analysis.inside.training.numbers import Array, most_unlike, probabilities, total_variation
from analysis.questions.mistakes.figures import confusion_maps, largest_share
from analysis.questions.mistakes.numbers import Answers, confusion, hardest_images, named_confusion
from benchmarks.errors import ConfigError
from benchmarks.records.metrics import read_metrics
from benchmarks.trained import TrainedRun


def panels(subjects: Sequence[Subject], choices: Choices) -> list[Panel]:
    """Curves and confusion of all runs; the images that each gets most wrong; those on which the first and each other
    run differ most: of the whole part, so many images shown as the subjects have.

    Raises ConfigError for a ready-made network, images of one's own, runs that have no images in common, and for the
    choice of a patch or a layer."""
    runs = compared(subjects, choices)
    part, count = subjects[0].part, len(subjects[0].images)
    names = short_names(runs)
    labels = runs[0].images(part)[1].numpy()
    answers = [probabilities(run.predict(part).numpy()) for run in runs]
    found = [curves(runs, names), confused(runs, names, answers, labels, part)]
    found += wrong(runs, names, answers, labels, part, count)
    return found + list(unlike(runs, names, answers, labels, part, count))


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


def curves(runs: Sequence[TrainedRun], names: Sequence[str]) -> Panel:
    """Loss and accuracy of all runs."""
    rows = [read_metrics(run.record.path / "metrics.jsonl") for run in runs]
    models = [run.run.model for run in runs]
    table = pd.DataFrame({"label": names, "model": models, "position": [run.run.position for run in runs]})
    colours = looks(table)
    lines = [(name, colours[name].colour, logged) for name, logged in zip(names, rows, strict=True)]
    behind: dict[str, Any] = {"runs": np.array([run.run.id for run in runs])}
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


def confused(
    runs: Sequence[TrainedRun], names: Sequence[str], answers: Sequence[Array], labels: np.ndarray, part: str
) -> Panel:
    """What each run takes for what. `answers`: probabilities, N K a run."""
    classes = runs[0].class_names
    tables = [
        named_confusion(answers_of(run, answer, labels), classes).assign(label=name if len(runs) > 1 else "")
        for run, name, answer in zip(runs, names, answers, strict=True)
    ]
    table = pd.concat(tables, ignore_index=True)
    counts = np.stack([confusion(labels, answer.argmax(axis=1), len(classes)) for answer in answers])
    return Panel(
        "confusion",
        "What is taken for what",
        partial(confusion_maps, table, classes),
        {"confusion": counts, "classes": np.array(classes), "runs": np.array([run.run.id for run in runs])},
        f"The {len(labels):,} {part} images of each class (rows) by the class that they were taken for (columns)",
        legend("no colour: none", f"full colour: {wording.percent(largest_share(table))} of a class"),
    )


def wrong(
    runs: Sequence[TrainedRun],
    names: Sequence[str],
    answers: Sequence[Array],
    labels: np.ndarray,
    part: str,
    count: int,
) -> Iterator[Panel]:
    """Of each run the images that it gets wrong with the most confidence; none of one that gets all right."""
    for number, (run, name, answer) in enumerate(zip(runs, names, answers, strict=True), 1):
        table = hardest_images(answers_of(run, answer, labels), run.class_names, count)
        if table.empty:
            continue
        images = table["image"].to_numpy()
        texts = [
            f"is {true}\ntaken for {predicted}, {wording.percent(confidence)}"
            for true, predicted, confidence in zip(table["true"], table["predicted"], table["confidence"], strict=True)
        ]
        amount = int((answer.argmax(axis=1) != labels).sum())
        yield Panel(
            f"wrong-{number}",
            f"Most wrong: {name}",
            partial(figures.captioned, pictures(run, part, images), texts),
            {"images": images, "labels": labels[images], "probabilities": answer[images]},
            f"The {len(images)} of {amount:,} wrong {part} images that {name} got wrong with the most confidence",
            legend("images: their places in the part, from 0, in the numbers"),
        )


def unlike(
    runs: Sequence[TrainedRun],
    names: Sequence[str],
    answers: Sequence[Array],
    labels: np.ndarray,
    part: str,
    count: int,
) -> Iterator[Panel]:
    """The images on which the first run and another differ most."""
    classes = runs[0].class_names
    for number in range(1, len(runs)):
        pair = answers[0], answers[number]
        images = most_unlike(*pair, count)
        texts = []
        for image in images:
            said = [f"{place}: {answer_in_words(one[image], classes)}" for place, one in enumerate(pair, 1)]
            texts.append("\n".join([f"is {classes[labels[image]]}", *said]))
        distance = total_variation(*pair)
        yield Panel(
            f"unlike-{number + 1}",
            f"Most unlike: {names[0]} and {names[number]}",
            partial(figures.captioned, pictures(runs[0], part, images), texts),
            {
                "images": images,
                "labels": labels[images],
                "distance": distance[images],
                "mean_distance": distance.mean(),
                "probabilities": np.stack([one[images] for one in pair]),
            },
            f"The {len(images)} {part} images on which 1, {names[0]}, and 2, {names[number]}, differ most",
            legend(
                "measured by half the sum of absolute differences of probabilities",
                f"mean of all: {distance.mean():.2f}",
            ),
        )


def answer_in_words(probability: Array, classes: Sequence[str]) -> str:
    """The most probable class, K probabilities, and how probable."""
    best = int(probability.argmax())
    return f"{classes[best]}, {wording.percent(float(probability[best]))}"


def answers_of(run: TrainedRun, answer: Array, labels: np.ndarray) -> Answers:
    """Probabilities N K of one run as the question of mistakes takes them."""
    return Answers((run.run.id,), labels, answer.argmax(axis=1)[None], answer.max(axis=1)[None])


def pictures(run: TrainedRun, part: str, images: np.ndarray) -> np.ndarray:
    """Images of a part by their places, as they are in the data set: uint8 N H W 3."""
    return to_look_at(run.pixels(part)[images.tolist()].float() / 255)
