"""`look --at training`: runs side by side, held against their records and against loops over images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cityblock
from sklearn.metrics import confusion_matrix

from analysis.elements.layout import PHONE
from analysis.inside.panel import Choices, Panel
from analysis.inside.subject import Subject, opened
from analysis.inside.training.numbers import most_unlike, probabilities, total_variation
from analysis.inside.training.view import panels
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Run, default_evaluation, make_run
from benchmarks.records.metrics import read_metrics
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings

DATA = Path("data")


@pytest.fixture(scope="module")
def subjects(finished: tuple[Run, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    """The finished ViT and a ResNet of the same draw, on three test images."""
    vit, root = finished
    run = make_run(
        {
            "model": "resnet",
            "size": "pico",
            "train_size": 100,
            "recipe": "digits",
            "budget": {"steps": 4},
            "validate_every": 2,
        }
    )
    other = tmp_path_factory.mktemp("resnet")
    execute(run, other, [default_evaluation(run, "test", 8)], Settings(DATA), lambda: False)
    return [opened(vit.id, "test", 3, root, DATA), opened(run.id, "test", 3, other, DATA)]


@pytest.fixture(scope="module")
def found(subjects: list[Subject]) -> dict[str, Panel]:
    return {panel.name: panel for panel in panels(subjects, Choices())}


def test_curves_are_those_of_the_records(subjects: list[Subject], found: dict[str, Panel]) -> None:
    """Reference: metrics.jsonl."""
    assert list(found) == ["curves", "confusion", "wrong-1", "wrong-2", "unlike-2"]
    curves = found["curves"].numbers
    for number, subject in enumerate(subjects, 1):
        assert subject.trained is not None
        rows = read_metrics(subject.trained.record.path / "metrics.jsonl")
        assert curves["runs"][number - 1] == subject.name
        assert curves[f"run_{number}_step"].tolist() == [row["step"] for row in rows]
        logged = [row["validation_accuracy"] for row in rows if "validation_accuracy" in row]
        kept = curves[f"run_{number}_validation_accuracy"]
        assert kept[~np.isnan(kept)].tolist() == logged
        assert logged
    looks = {(line.get_color(), line.get_marker()) for line in found["curves"].draw().axes[0].lines}
    assert len(looks) == len(subjects)  # runs of one model have its colour, and each a marker


def test_what_is_mistaken_is_what_the_networks_answer(subjects: list[Subject], found: dict[str, Panel]) -> None:
    """References: scikit-learn's confusion matrix; the most confident wrong image, found by a loop."""
    for number, subject in enumerate(subjects):
        assert subject.trained is not None
        logits = subject.trained.predict("test")
        labels = subject.trained.images("test")[1].numpy()
        said = logits.argmax(dim=1).numpy()
        matrix = confusion_matrix(labels, said, labels=range(10))
        np.testing.assert_array_equal(found["confusion"].numbers["confusion"][number], matrix)
        confidence = torch.softmax(logits.half().double(), dim=1).max(dim=1).values  # records keep 16 bits
        worst = max(
            (place for place in range(len(labels)) if said[place] != labels[place]), key=lambda p: confidence[p]
        )
        shown = found[f"wrong-{number + 1}"].numbers
        assert shown["images"][0] == worst
        assert len(shown["images"]) == 3
        assert shown["labels"].tolist() == labels[shown["images"]].tolist()


def test_the_most_unlike_are_furthest_apart() -> None:
    """Reference: SciPy's city-block distance, image by image; 0 of a network to itself, 1 of certain opposites."""
    generator = np.random.default_rng(0)
    one, other = (probabilities(generator.normal(size=(40, 5)).astype(np.float32) * 3) for _ in range(2))
    distances = [cityblock(a, b) / 2 for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(total_variation(one, other), distances)
    assert most_unlike(one, other, 4).tolist() == sorted(range(40), key=lambda place: -distances[place])[:4]
    assert not total_variation(one, one).any()
    assert total_variation(np.eye(2), np.eye(2)[::-1]).tolist() == [1, 1]
    assert most_unlike(one, one, 3).tolist() == [0, 1, 2]


def test_training_images_are_answered_by_the_network(subjects: list[Subject]) -> None:
    """Records hold no answers to them. Reference: the network's own predictions."""
    trained = subjects[0].trained
    assert trained is not None
    train = opened(subjects[0].name, "train", 2, trained.record.path.parent, DATA)
    matrix = panels([train], Choices())[1].numbers["confusion"]
    labels = trained.images("train")[1]
    np.testing.assert_array_equal(
        matrix[0], confusion_matrix(labels, trained.predict("train").argmax(dim=1), labels=range(10))
    )


def test_figures_are_drawn_for_a_phone(found: dict[str, Panel]) -> None:
    """What is written above images lies within their part of the figure."""
    for name in ("curves", "unlike-2"):
        figure = found[name].draw(width=PHONE)
        assert figure.get_figwidth() == PHONE
        figure.draw_without_rendering()
        for axes in figure.axes:
            box = axes.title.get_window_extent()
            assert box.x1 <= figure.bbox.width + 1, axes.get_title()


def test_what_cannot_be_compared_is_refused(subjects: list[Subject]) -> None:
    first, second = subjects
    ready_made = replace(second, name="timm:resnet18", trained=None, part="")
    cases: list[tuple[list[Subject], Any, str]] = [
        ([first, ready_made], Choices(), "timm:resnet18: is ready-made: it has no curves and no labels"),
        ([replace(first, part="")], Choices(), "--images: are files, which have no labels; allowed: validation"),
        ([first, first], Choices(), "is given twice"),
        ([first], Choices(patch=3), "--patch: is for attention and positions"),
        ([first], Choices(layer=3), "--layer: is for attention and positions"),
    ]
    for given, choices, said in cases:
        with pytest.raises(ConfigError, match=said):
            panels(given, choices)
    assert second.trained is not None
    other = replace(second.trained, run=second.trained.run.model_copy(update={"draw": 1}))
    with pytest.raises(ConfigError, match=r"has other train images than .*; --images test has the same for both"):
        panels([replace(first, part="train"), replace(second, part="train", trained=other)], Choices())
