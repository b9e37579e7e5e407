"""Recipes: optimiser, schedule, regularisation and augmentation, under a name. The files lie in `recipes/*.toml`."""

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from benchmarks.errors import ConfigError
from models.hints import did_you_mean

FOLDER = Path(__file__).parent.parent / "recipes"

ABOUT = ("about", "source", "reached")  # what a file says of itself: no part of the recipe
Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]


class Recipe(BaseModel):
    """Every number of a recipe. A study sets any of them by `recipe.KEY`; what differs is part of the run's id."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    name: str = Field("none", description="the file in recipes/ that the values come from")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="sgd is with Nesterov momentum")
    learning_rate: Positive = Field(1e-3, description="the peak")
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.05, description="decoupled for adamw; not on biases, norms, positions"
    )
    momentum: Annotated[float, Field(gt=0, lt=1)] = Field(0.9, description="of sgd")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="of adamw and adam")
    batch_size: Annotated[int, Field(ge=1)] = Field(128, description="images an update")
    batch_norm_group: Natural = Field(
        0, description="images of a batch, one after the other, that BatchNorm normalises together; 0: all of them"
    )
    trained: Literal["all", "last_norm_and_head"] = Field(
        "all", description="what learns: all, or the norm before the pooling and the classifier alone (FixRes)"
    )
    schedule: Literal["cosine", "triangle", "constant"] = Field(
        "cosine", description="after the warm-up; triangle falls in a straight line"
    )
    warmup: Share = Field(0.05, description="share of all steps, in a straight line up to the peak")
    first_learning_rate: Share = Field(0.0, description="where the warm-up begins, as share of the peak")
    final_learning_rate: Share = Field(0.0, description="at the end of cosine and triangle, as share of the peak")
    clip: Annotated[float, Field(ge=0)] = Field(1.0, description="largest norm of the gradient; 0 is off")
    label_smoothing: Share = Field(0.0, description="share of the label spread over all classes")
    drop_path: Share = Field(0.0, description="stochastic depth, for models that have it")
    ema: Beta = Field(0.0, description="decay of the averaged weights, which are then the evaluated ones; 0 is off")
    train_resolutions: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (), description="of the images in pixels, one drawn for each batch; empty: the training resolution alone"
    )
    crop_padding: Natural = Field(0, description="pixels of padding before a random crop of native size")
    crop_fill: Literal["zero", "reflect"] = Field("zero", description="the padding: zeros, or the image mirrored there")
    rrc_scale: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="smallest share of the area in a random-resized crop; 1 is off"
    )
    rrc_ratio: Annotated[float, Field(ge=1)] = Field(4 / 3, description="largest aspect in it, either way round")
    flip: bool = Field(False, description="mirror half of the images, where the data set allows")
    flip_order: Literal["random", "alternating"] = Field(
        "random", description="which half: drawn anew each time, or once, and the other half in every second epoch"
    )
    jitter_brightness: Share = Field(0.0, description="largest change of the factor; 0 is off")
    jitter_contrast: Share = Field(0.0, description="likewise")
    jitter_saturation: Share = Field(0.0, description="likewise, of colour images")
    jitter_hue: Annotated[float, Field(ge=0, le=0.5)] = Field(0.0, description="share of the colour circle, likewise")
    trivialaugment: bool = Field(False, description="one operation for each image, of any strength")
    randaugment_operations: Natural = Field(0, description="operations drawn for each image")
    randaugment_magnitude: Annotated[int, Field(ge=0, le=10)] = Field(9, description="of 10")
    erasing: Share = Field(0.0, description="share of images with one rectangle erased")
    mixup: Annotated[float, Field(ge=0)] = Field(0.0, description="alpha of the Beta distribution; 0 is off")
    cutmix: Annotated[float, Field(ge=0)] = Field(0.0, description="alpha of the Beta distribution; 0 is off")


SEQUENCES = ("betas", "train_resolutions")  # keys that are lists themselves: an axis of them is a list of lists
AUGMENTATION = tuple(Recipe.model_fields)[tuple(Recipe.model_fields).index("crop_padding") :]  # keys of augmentation


@lru_cache(maxsize=1024)
def augmentations(recipe: Recipe, flips: bool) -> tuple[str, ...]:
    """The functions of augment.py that a recipe switches on, in the order in which they are applied.

    `flips` is the data set's word on whether a mirrored image keeps its meaning.
    """
    switches = {
        "crop": recipe.crop_padding > 0,
        "resized_crop": recipe.rrc_scale < 1,
        "flip": recipe.flip and flips,
        "jitter": any(value > 0 for key, value in recipe if key.startswith("jitter_")),
        "trivialaugment": recipe.trivialaugment,
        "randaugment": recipe.randaugment_operations > 0,
        "erase": recipe.erasing > 0,
        "mix": recipe.mixup > 0 or recipe.cutmix > 0,
    }
    return tuple(name for name, on in switches.items() if on)


def augmentation_words(recipe: Recipe, flips: bool) -> str:
    """What `augmentations` come to, for tables: 'crop, flip' or 'none'."""
    words = {
        "crop": "crop" if recipe.crop_fill == "zero" else f"crop ({recipe.crop_fill})",
        "resized_crop": f"resized crop({recipe.rrc_scale:g})",
        "flip": "flip" if recipe.flip_order == "random" else f"{recipe.flip_order} flip",
        "jitter": "colour jitter",
        "trivialaugment": "TrivialAugment",
        "randaugment": f"RandAugment({recipe.randaugment_operations}, {recipe.randaugment_magnitude})",
        "erase": "erasing",
        "mix": ", ".join(name for name in ("mixup", "cutmix") if getattr(recipe, name) > 0),
    }
    found = [words[name] for name in augmentations(recipe, flips)]
    if recipe.train_resolutions:
        found.append(f"at {', '.join(map(str, recipe.train_resolutions))} px by turns")
    return ", ".join(found) or "none"


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's values as TOML and JSON have them: lists for tuples."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def typed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `plain`."""
    return {
        key: tuple(value) if key in SEQUENCES and isinstance(value, list) else value for key, value in values.items()
    }


def recipe_names() -> tuple[str, ...]:
    """The shipped recipes."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


@lru_cache(maxsize=64)
def _read(name: str) -> dict[str, Any]:
    if name not in recipe_names():
        known = ", ".join(recipe_names())
        hint = did_you_mean(name, recipe_names())
        raise ConfigError("recipe", f"unknown recipe '{name}'; there are {known}{hint}")
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))


def recipe_about(name: str) -> dict[str, str]:
    """What a recipe file says of itself: `about`, `source`, and the accuracy `reached` there."""
    return {key: str(_read(name)[key]) for key in ABOUT}


@lru_cache(maxsize=64)
def recipe_values(name: str) -> dict[str, Any]:
    """A named recipe's own numbers, all of them: the file's over the field defaults."""
    return dict(Recipe(name=name, **typed({key: value for key, value in _read(name).items() if key not in ABOUT})))
