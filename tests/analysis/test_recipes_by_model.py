"""Models with recipes of their own: compared in one arm, and every number that is not equal is in the ledger."""

from pathlib import Path
from typing import Any

import pytest

from analysis.frame import arms
from analysis.frame.frame import Frame, load
from analysis.questions.fairness import numbers as fairness
from analysis.report import write_report


@pytest.fixture
def frame_of(made_up: Any, tmp_path: Path) -> Any:
    def make(**changes: Any) -> Frame:
        study = made_up.study_of(made_up.SMALL, **{"train_size": 100, "seed": [0, 1], **changes})
        made_up.write_study(tmp_path / "runs", study)
        return load(tmp_path / "runs", study)

    return make


OWN = [
    {"name": "resnet", "recipe": {"optimizer": "sgd", "learning_rate": 0.1}},
    {"name": "vit", "position": ["none", "learned_1d"]},
]


def test_equal_recipes_are_no_entry(frame_of: Any) -> None:
    """Reference: the study: one recipe, so one arm, nothing in the column and nothing marked."""
    frame = frame_of()
    [arm] = arms.split(frame)
    table = fairness.ledger(arm)
    assert set(table["recipe"]) == {"-"}
    assert not any("recipe" in marks.split() for marks in table["unequal"])
    assert list(frame.recipes) == [arm.arm.recipe] == ["digits"]


def test_a_recipe_of_a_models_own_stays_in_the_arm_and_is_marked(frame_of: Any) -> None:
    """Reference: the study, typed in by hand: two keys differ, in every row of the ledger; two of three models have
    one recipe, so the third stands out."""
    frame = frame_of(models=OWN)
    [arm] = arms.split(frame)
    assert arm.arm.recipe == "digits, by model"
    table = fairness.ledger(arm).set_index("label")
    assert table.loc["resnet", "recipe"] == "optimizer=sgd, learning_rate=0.1"
    assert (
        table.loc["vit none", "recipe"]
        == table.loc["vit learned_1d", "recipe"]
        == ("optimizer=adamw, learning_rate=0.003")
    )
    assert [label for label, marks in table["unequal"].items() if "recipe" in marks.split()] == ["resnet"]
    assert len(frame.recipes) == 2
    assert {values["optimizer"] for values in frame.recipes.values()} == {"adamw", "sgd"}


def test_named_recipes_by_model(frame_of: Any) -> None:
    """Reference: the files: every key in which they differ is said, the name among them, and augmentation is marked."""
    frame = frame_of(models=[{"name": "resnet", "recipe": "plain"}, {"name": "vit"}])
    [arm] = arms.split(frame)
    assert arm.arm.recipe == "plain / digits, by model"
    table = fairness.ledger(arm).set_index("label")
    assert table.loc["resnet", "recipe"] == (
        "name=plain, learning_rate=0.001, batch_size=128, crop_padding=4, flip=true"
    )
    assert all({"recipe", "augmentation"} <= set(marks.split()) for marks in table["unequal"])


def test_who_gets_no_drop_path_is_listed(frame_of: Any) -> None:
    """Reference: simple_cnn has no stochastic depth, the others have: the same recipe reaches them differently."""
    frame = frame_of(recipe={"name": "digits", "drop_path": 0.2}, models=[{"name": "simple_cnn"}, {"name": "vit"}])
    [arm] = arms.split(frame)
    table = fairness.ledger(arm).set_index("label")
    assert table["recipe"].to_dict() == {"simple_cnn": "drop_path=-", "vit": "drop_path=0.2"}
    assert all("recipe" in marks.split() for marks in table["unequal"])


def test_what_resizes_its_input_has_no_use_for_training_resolutions(frame_of: Any) -> None:
    """Reference: the declaration: an MLP resizes every image to the training resolution."""
    recipe = {"name": "digits", "train_resolutions": [8, 12]}
    [arm] = arms.split(frame_of(recipe=recipe, models=[{"name": "mlp"}, {"name": "vit"}]))
    table = fairness.ledger(arm).set_index("label")
    assert table["recipe"].to_dict() == {"mlp": "train_resolutions=-", "vit": "train_resolutions=[8, 12]"}


def test_recipes_that_every_model_has_are_arms(frame_of: Any) -> None:
    """Reference: the study's axes: what varies for one and the same model is a question, not a model's own."""
    frame = frame_of(
        recipe={"name": "digits", "weight_decay": [0.0, 0.1]},
        models=[{"name": "resnet", "recipe": {"learning_rate": 0.01}}, {"name": "vit"}],
    )
    found = arms.split(frame)
    assert [one.arm.recipe for one in found] == [f"digits (weight_decay={decay}), by model" for decay in (0.0, 0.1)]
    for arm in found:
        table = fairness.ledger(arm).set_index("label")
        assert table["recipe"].to_dict() == {"resnet": "learning_rate=0.01", "vit": "learning_rate=0.003"}


def test_the_page_shows_it(made_up: Any, tmp_path: Path) -> None:
    """What breaks otherwise: two recipes compared without a word."""
    study = made_up.study_of(made_up.SMALL, train_size=[100, 300], models=OWN)
    made_up.write_study(tmp_path / "runs", study)
    write_report(study, tmp_path / "runs", tmp_path / "report")
    html = (tmp_path / "report" / "index.html").read_text()
    ledger = html[html.index('<section id="ledger">') :]
    assert "optimizer=sgd, learning_rate=0.1" in ledger
    assert "the recipe (" in html
