"""Recipes: each file loads whole, and none, plain and strong differ as they say."""

import tomllib

import pytest
from pydantic import ValidationError

from benchmarks.errors import ConfigError
from benchmarks.plan.recipes import (
    ABOUT,
    FOLDER,
    Recipe,
    augmentation_words,
    augmentations,
    plain,
    recipe_about,
    recipe_names,
    recipe_values,
    typed,
)


def recipe(**changes: object) -> Recipe:
    return Recipe.model_validate({"name": "none", **changes})


@pytest.mark.parametrize("name", recipe_names())
def test_each_file_loads_and_says_what_it_is(name: str) -> None:
    """A wrong key in a shipped file would break every study that names it."""
    table = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    assert table.keys() <= Recipe.model_fields.keys() - {"name"} | {*ABOUT}
    assert all(len(said) > 5 for said in recipe_about(name).values())
    values = recipe_values(name)
    assert values.keys() == Recipe.model_fields.keys()
    assert values["name"] == name
    for key in table.keys() - {*ABOUT}:
        assert values[key] == (tuple(table[key]) if isinstance(table[key], list) else table[key])


def test_none_plain_and_strong_differ_as_they_say() -> None:
    """The arms of the data-efficiency study are these three: each adds to the one before and no optimiser changes."""
    assert {"none", "plain", "strong"} <= set(recipe_names())
    none, plain, strong = (Recipe(**recipe_values(name)) for name in ("none", "plain", "strong"))
    assert augmentations(none, True) == ()
    assert augmentations(plain, True) == ("crop", "flip")
    assert augmentations(strong, True) == ("crop", "flip", "randaugment", "erase", "mix")
    regularisation = ("label_smoothing", "drop_path")
    assert all(getattr(each, name) == 0 for each in (none, plain) for name in regularisation)
    assert all(getattr(strong, name) > 0 for name in regularisation)
    optimiser = ("optimizer", "learning_rate", "weight_decay", "betas", "batch_size", "schedule", "warmup", "clip")
    assert len({tuple(getattr(each, name) for name in optimiser) for each in (none, plain, strong)}) == 1


def test_the_default_recipe_is_none() -> None:
    """The id's digest leaves the recipe out when it is `none`; the fields' own defaults must then be its values."""
    assert dict(Recipe()) == recipe_values("none")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ()),
        ({"crop_padding": 1}, ("crop",)),
        ({"flip": True}, ("flip",)),
        ({"randaugment_operations": 1}, ("randaugment",)),
        ({"randaugment_magnitude": 10}, ()),
        ({"erasing": 0.1}, ("erase",)),
        ({"mixup": 0.1}, ("mix",)),
        ({"cutmix": 0.1}, ("mix",)),
        ({"rrc_scale": 0.5}, ("resized_crop",)),
        ({"rrc_ratio": 2.0}, ()),
        ({"jitter_hue": 0.1}, ("jitter",)),
        ({"jitter_contrast": 0.1}, ("jitter",)),
        ({"trivialaugment": True}, ("trivialaugment",)),
        ({"train_resolutions": (8, 12)}, ()),
        ({"mixup": 0.1, "crop_padding": 2, "erasing": 0.5, "flip": True}, ("crop", "flip", "erase", "mix")),
        (
            {"jitter_brightness": 0.1, "rrc_scale": 0.5, "trivialaugment": True, "flip": True},
            ("resized_crop", "flip", "jitter", "trivialaugment"),
        ),
    ],
)
def test_augmentations_in_their_order(changes: dict[str, object], expected: tuple[str, ...]) -> None:
    """Reference: the order of the published pipelines: geometry, RandAugment, erasing, and mixing the batch last."""
    assert augmentations(recipe(**changes), True) == expected


def test_what_has_a_direction_is_not_mirrored() -> None:
    """A mirrored digit is no digit: the data set's word stands above the recipe's."""
    assert augmentations(recipe(flip=True, crop_padding=1), False) == ("crop",)


def test_augmentation_in_words() -> None:
    """The fairness ledger prints this; a missing word hides a difference between two arms."""
    assert augmentation_words(recipe(), True) == "none"
    assert augmentation_words(Recipe(**recipe_values("plain")), True) == "crop, flip"
    assert augmentation_words(Recipe(**recipe_values("plain")), False) == "crop"
    strong = Recipe(**recipe_values("strong"))
    assert augmentation_words(strong, True) == "crop, flip, RandAugment(2, 9), erasing, mixup, cutmix"

    speed = recipe(crop_padding=2, crop_fill="reflect", flip=True, flip_order="alternating")
    assert augmentation_words(speed, True) == "crop (reflect), alternating flip"
    many = recipe(rrc_scale=0.35, jitter_hue=0.1, trivialaugment=True, train_resolutions=(24, 32))
    assert augmentation_words(many, True) == "resized crop(0.35), colour jitter, TrivialAugment, at 24, 32 px by turns"


PUBLISHED = {  # optimiser, peak rate, decay, batch; warm-up and last rate in epochs and absolute, over the epochs there
    "cct": ("adamw", 5.5e-4, 0.06, 128, 10, 1e-5, 300),
    "deit": ("adamw", 1e-3, 0.05, 1024, 5, 1e-5, 300),
    "resnet-sgd": ("sgd", 0.1, 5e-4, 128, 0, 0.0, 200),
    "better-vit": ("adamw", 1e-3, 0.1, 1024, 10_000 / (1_281_167 / 1024), 0.0, 90),
    "course": ("adam", 1e-3, 0.0, 1024, 0, None, 100),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_recipes(name: str) -> None:
    """Reference: the sources that the files name, typed in by hand."""
    optimizer, rate, decay, batch, warmup, last, epochs = PUBLISHED[name]
    one = Recipe(**recipe_values(name))
    assert (one.optimizer, one.learning_rate, one.weight_decay, one.batch_size) == (optimizer, rate, decay, batch)
    assert one.warmup * epochs == pytest.approx(warmup, rel=0.02)
    assert one.schedule == ("constant" if last is None else "cosine")
    if last is not None:
        assert one.final_learning_rate * rate == pytest.approx(last, rel=0.02)


def test_the_recipe_for_speed() -> None:
    """Reference: airbench94's own numbers (arXiv 2404.00498), typed in by hand: 11.5 and 0.0153 for 1,024
    images of a summed loss, "decoupled" by 1 + 1 / (1 - momentum); schedule 0.2, 1 at 0.23, 0.07."""
    one = Recipe(**recipe_values("speed"))
    decoupled = 1 + 1 / (1 - one.momentum)
    assert one.learning_rate == pytest.approx(11.5 / decoupled)
    assert one.learning_rate * one.weight_decay == pytest.approx(0.0153 / decoupled, rel=1e-3)
    assert (one.optimizer, one.momentum, one.batch_size, one.label_smoothing) == ("sgd", 0.85, 1024, 0.2)
    assert (one.schedule, one.first_learning_rate, one.warmup, one.final_learning_rate) == ("triangle", 0.2, 0.23, 0.07)
    assert augmentation_words(one, True) == "crop (reflect), alternating flip"


def test_lists_of_a_recipe_come_back_as_they_were() -> None:
    """Reference: `plain` and `typed` are each other's reverse, so that config.json makes the same recipe."""
    one = recipe(betas=(0.9, 0.95), train_resolutions=(8, 12))
    values = plain(dict(one))
    assert (values["betas"], values["train_resolutions"]) == ([0.9, 0.95], [8, 12])
    assert Recipe(**typed(values)) == one


def test_an_unknown_recipe_names_the_nearest() -> None:
    """What breaks otherwise: a missing file instead of a hint."""
    with pytest.raises(ConfigError, match=r"^recipe: unknown recipe 'stron'; there are .*did you mean `strong`\?$"):
        recipe_values("stron")


def test_a_recipe_is_frozen_and_named_values_are_copies() -> None:
    """What breaks otherwise: one study could change the numbers of another in the same process."""
    with pytest.raises(ValidationError):
        recipe().learning_rate = 1.0  # type: ignore[misc]
