"""A run: one training of one model on one subset with one seed. Frozen, with an id that is readable and exact.

`make_run` turns plain settings (from a study, flags or a record) into a run with every default filled in. The id's
digest covers what differs from the defaults and nothing that cannot change the result.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal, Self, TypeVar, cast, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

import models
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import Dataset, Places
from benchmarks.data.subsets import part_sizes
from benchmarks.errors import ConfigError, ImpossibleError
from benchmarks.plan.probes import NO_PROBE
from benchmarks.plan.recipes import Recipe, plain, recipe_values, typed
from benchmarks.redaction import in_id
from models.hints import did_you_mean, nearest

PROTOCOL = 2  # raised on purpose, when what a configuration means has changed (docs/records.md): new ids for every run

T = TypeVar("T", bound=BaseModel)
Scalar = bool | int | float | str
Part = Literal["test", "validation", "test_unique"]
Images = Literal["resize", "canvas", "patch"]
BatchNorm = Literal["kept", "reestimated"]
Views = Literal["one", "mirrored"]
Interpolation = Literal["bilinear", "bicubic"]
Aspect = Literal["kept", "squashed"]
Precision = Literal["float32", "tf32", "bfloat16"]
Initial = Literal["library", "literature", "torch"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Identified(Frozen):
    """What has an id, computed once."""

    def __copy__(self) -> Self:
        """What is copied may then be changed (`model_copy`): an id computed of the original is not taken along."""
        copied = super().__copy__()
        copied.__dict__.pop("id", None)
        return copied


class Budget(Frozen):
    """How long to train: exactly one of the three."""

    steps: Annotated[int, Field(ge=0)] | None = Field(None, description="updates; 0: evaluated as initialised")
    epochs: Annotated[float, Field(gt=0, le=1e9)] | None = Field(None, description="passes over the training images")
    images: Annotated[int, Field(ge=1)] | None = Field(None, description="images processed, repeats counted")

    @property
    def kind(self) -> str:
        return next(kind for kind in ("steps", "epochs", "images") if getattr(self, kind) is not None)

    @property
    def amount(self) -> float:
        return getattr(self, self.kind)

    def updates(self, train_images: int, batch_size: int) -> int:
        """The number of optimiser steps; a part of a batch counts as one."""
        if self.steps is not None:
            return self.steps
        images = self.images if self.images is not None else (self.epochs or 0) * train_images
        return max(1, math.ceil(images / batch_size))


def _share_or_count(value: float | int) -> float | int:
    if value == 0:
        return 0
    if value < 0 or (isinstance(value, float) and value >= 1):
        raise ValueError("is neither a share of train_size (0.2) nor a number of images (1000, or 0 for none)")
    return value


def _share_or_steps(value: float | int) -> float | int:
    if value == 0:
        return 0
    if value < 0 or (isinstance(value, float) and value >= 1):
        raise ValueError("is neither a share of all steps (0.1) nor a number of steps (100, or 0 for none)")
    return value


class Run(Identified):
    """The whole resolved configuration. Build it with `make_run`, which fills what depends on other fields."""

    model: str = Field("vit", description="a name of `inductive list models`")
    size: str = Field("nano", description="tier by backbone parameters, a published size, or own (ready-made)")
    options: dict[str, Scalar] = Field(default_factory=dict, description="of the model, all of them")
    dataset: str = Field("digits", description="a name of `inductive list datasets`")
    train_size: Annotated[int, Field(ge=1)] = Field(1000, description="labels used, validation included")
    validation: Annotated[float | int, AfterValidator(_share_or_count)] = Field(
        0.2,
        description="share of train_size (0.2), or a fixed number of images outside it (oracle), or 0 for none",
    )
    resolution: Annotated[int, Field(ge=1)] = Field(8, description="training images in pixels; default: native")
    recipe: Recipe = Field(default_factory=Recipe, description="a name of `inductive list recipes`, with changes")
    budget: Budget = Field(Budget(steps=600), description="exactly one of steps, epochs, images")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="initialisation, order and augmentation")
    draw: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="picks the subset; default: seed")
    precision: Precision = Field("float32", description="of the network's arithmetic; weights are always float32")
    initial: Initial = Field(
        "library", description="how weights start: as in the library or the literature of a family, or torch's"
    )
    init_from: str = Field("", description="the run, record folder or weights file it starts from; none: drawn anew")
    validate_every: Annotated[float | int, AfterValidator(_share_or_steps)] = Field(
        0, description="measured on validation while training: after each share of all steps, or number; 0: at the end"
    )
    protocol: int = Field(PROTOCOL, description="what a configuration means; set by the suite")
    _data: Dataset = PrivateAttr()  # found once, by `make_run`, and taken along to other processes

    @property
    def position(self) -> str:
        """The positional encoding, or '-' for a model that has no such option."""
        return str(self.options.get("position", "-"))

    @property
    def model_words(self) -> tuple[str, ...]:
        """What its model is called: the family, with its mixer and its encoding as far as it has them."""
        parts = (self.options[kind] for kind in sorted(models.PARTS) if kind in self.options)
        return (self.model, *map(str, parts))

    @property
    def data(self) -> Dataset:
        data: Dataset = (self.__pydantic_private__ or {})["_data"]  # `self._data`, in a tenth of the time
        return data

    def probed_side(self, images: Images, resolution: int) -> int:
        """Pixels of a side of the images that a probe changes, in an evaluation at a resolution: the data set's own; of
        photographs, which have none, those that are shown (on a canvas, those of training)."""
        if not self.data.photographs:
            return self.data.native_resolution
        return self.resolution if images == "canvas" else resolution

    @property
    def part_sizes(self) -> tuple[int, int]:
        """Images in the training and in the validation part."""
        return part_sizes(self.data.train_counts, self.draw, self.train_size, self.validation)

    @property
    def measured_parts(self) -> tuple[Part, ...]:
        """The parts on which it is evaluated."""
        return ("test", "validation") if self.validation else ("test",)

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return self.budget.updates(self.part_sizes[0], self.recipe.batch_size)

    @property
    def validation_interval(self) -> int:
        """Steps from one measurement on the validation part to the next, while training; 0 for none."""
        share = isinstance(self.validate_every, float)
        return max(1, round(self.validate_every * self.steps)) if share else int(self.validate_every)

    @property
    def delta(self) -> dict[str, Any]:
        """What differs from the defaults, nested as the configuration is."""
        return _delta(self)

    @cached_property
    def id(self) -> str:
        """`model-mixer-position-dataset-nN-rR-dD-sS-digest`, as far as a model has mixer and position.

        The digest is 8 hex digits of SHA-256 of the delta.
        """
        digest = hashlib.sha256(canonical(self.delta).encode()).hexdigest()[:8]
        name = "-".join(self.model_words)
        place = f"n{self.train_size}-r{self.resolution}-d{self.draw}-s{self.seed}"
        return in_id(f"{name}-{self.dataset}-{place}-{digest}")

    def settings(self) -> dict[str, Any]:
        """Plain values, as written to config.json; `make_run` of them is the same run."""
        values = {name: getattr(self, name) for name in DEFAULTS}  # `model_dump` takes twice as long
        budget, recipe = {self.budget.kind: self.budget.amount}, plain(dict(self.recipe))
        return {**values, "options": dict(self.options), "budget": budget, "recipe": recipe}


DEFAULTS = {name: field.default for name, field in Run.model_fields.items()}  # by field, as Run declares it
UNDER = {  # keys of a run's tables: the key that each belongs under
    **dict.fromkeys((key for key in Recipe.model_fields if key != "name"), "recipe"),
    **dict.fromkeys(Budget.model_fields, "budget"),
}
USUAL_RECIPE = Run.model_fields["recipe"].get_default(call_default_factory=True).name


class Evaluation(Identified):
    """One way of measuring a finished run. Its id is part of no run's id.

    `images`: how they get the resolution. `resize`: more pixels of the same image. `canvas`: the image as in
    training in the middle of a larger canvas, filled with the training images' mean, or its middle where that is
    smaller. `patch`: as `resize`, the patches (and so their kernel) growing with the image, so that the tokens stay
    as many. `crop`: the middle of each image, by this share of its side, is all that is shown. `resize_side`: the
    image is resized until its shorter side has so many pixels, and the middle of that is shown; 0: as `crop` says.
    `batchnorm`: the statistics of training, or those of the training images as they are shown here (without
    augmentation). `views`: what is judged are the logits of the image, or the mean of those and of its mirror
    image's.
    `interpolation`: how pixels are resized, antialiased either way. `aspect`: whether a photograph keeps the ratio of
    its sides, of which the shorter decides, or both are resized to as many pixels.
    `probe`: what is changed in the images before all of that (in photographs, once they are decoded to the size that is
    shown), by which `strength`, from 1 (`benchmarks.plan.probes`).
    """

    part: Part = "test"
    resolution: Annotated[int, Field(ge=1)]
    images: Images = "resize"
    carry: str = "-"
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    batchnorm: BatchNorm = "kept"
    views: Views = "one"
    probe: str = NO_PROBE
    strength: Annotated[int, Field(ge=0)] = 0
    resize_side: Annotated[int, Field(ge=0)] = 0
    interpolation: Interpolation = "bilinear"
    aspect: Aspect = "kept"

    @cached_property
    def id(self) -> str:
        """8 hex digits of SHA-256; the fields that came later count where they are not at their default."""
        values = self.model_dump()
        for later in ("crop", "batchnorm", "views", "probe", "strength", "resize_side", "interpolation", "aspect"):
            if values[later] == type(self).model_fields[later].default:
                del values[later]
        return hashlib.sha256(canonical(values).encode()).hexdigest()[:8]

    @property
    def unprobed(self) -> Self:
        """The same without a probe."""
        return self.model_copy(update={"probe": NO_PROBE, "strength": 0})

    @property
    def words(self) -> str:
        """What is done to images and network, but for the resolution: 'canvas, crop 0.875, BatchNorm re-estimated'."""
        words: list[str] = [self.images]
        if self.carry != "-":
            words.append(f"carry {self.carry}")
        if self.crop != 1:
            words.append(f"crop {self.crop:g}")
        if self.resize_side:
            words.append(f"crop from {self.resize_side} px")
        if self.interpolation != "bilinear":
            words.append(self.interpolation)
        if self.aspect != "kept":
            words.append(self.aspect)
        if self.batchnorm != "kept":
            words.append("BatchNorm re-estimated")
        if self.views != "one":
            words.append("with its mirror image")
        if self.probe != NO_PROBE:
            words.append(f"probe {self.probe}" + (f" {self.strength}" if self.strength else ""))
        return ", ".join(words)


def canonical(value: Any) -> str:
    """JSON with sorted keys and one form for each number (Python's shortest repr), for digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def make_run(settings: Mapping[str, Any], places: Places | None = None) -> Run:
    """The run that plain settings describe, every default filled in and every value checked.

    `settings` has the fields of `Run`; `recipe` is a name or a table of changes to a named recipe; `options` are
    the model's; `places` is where a data set `folder:PATH` is looked for. Raises ConfigError with the key, what is
    allowed and the nearest match.
    """
    values = dict(settings)
    if not values.keys() <= DEFAULTS.keys():
        model = values.get("model", "vit")
        options = models.possible_options(model) if model in models.model_names() else ("position",)
        inner = {**dict.fromkeys(options, "options"), **UNDER}
        unknown_key(values, DEFAULTS, "", {key: f"belongs under {word}: {word}.{key}" for key, word in inner.items()})
    for name in ("model", "size", "dataset"):
        if not isinstance(values.get(name, ""), str):
            raise ConfigError(name, f"{values[name]!r} is not a string")
    data = dataset(values.setdefault("dataset", "digits"), places)
    values.setdefault("resolution", data.native_resolution)
    values.setdefault("draw", values.get("seed", 0))
    values["recipe"] = _resolve_recipe(values.get("recipe", "none"))
    values["options"] = _resolve_options(values, data)
    values["budget"] = _resolve_budget(values.get("budget", {"steps": 600}))
    run = validated(Run, values)
    run._data = data
    if run.protocol != PROTOCOL:
        raise ConfigError(
            "protocol",
            f"is {run.protocol}, this version of the suite runs protocol {PROTOCOL}; docs/records.md says what changed",
        )
    if run.validate_every and not run.validation:
        raise ImpossibleError("validate_every", "there is no validation part to measure on (validation = 0)")
    group = run.recipe.batch_norm_group
    if group and run.recipe.batch_size % group:
        raise ImpossibleError(
            "recipe.batch_norm_group", f"{group}: does not divide recipe.batch_size = {run.recipe.batch_size}"
        )
    if run.init_from and run.options.get("weights", "none") != "none":
        raise ConfigError("init_from", f"the network has weights already: weights = {run.options['weights']!r}")
    run.part_sizes  # noqa: B018  (refuses a train size that the data set cannot serve)
    refuse_resolution(run, run.resolution)
    for resolution in run.recipe.train_resolutions:
        refuse_resolution(run, resolution, "recipe.train_resolutions")
    others = [side for side in run.recipe.train_resolutions if side != run.resolution]
    if others and models.carry_ways(run.model, options=run.options) == ("set_input_size",):
        raise ImpossibleError(
            "recipe.train_resolutions",
            f"{others[0]}: {run.model} trains at its own {run.resolution} px alone (docs/studies.md)",
        )
    _refuse_unpublished(run)
    return run


def _refuse_unpublished(run: Run) -> None:
    """Raises ConfigError for a ready-made network that is to be used as its weights were published, and cannot be."""
    for key, usual in (("transforms", "data"), ("head", "fitted")):
        if run.options.get(key, usual) != usual and run.options["weights"] == "none":
            raise ConfigError(f"options.{key}", f"{run.options[key]!r} is of weights, and there are none")
    try:
        shown = models.shown_as_published(run.model, run.options)
        models.check_head(run.model, run.options, run.data.class_names)
    except models.ModelError as error:
        raise ImpossibleError("options", str(error)) from error
    if shown is not None and len(shown.mean) != run.data.channels:
        what = f"the weights are of images of {len(shown.mean)} channels, and those of {run.dataset} have "
        raise ImpossibleError("options.transforms", f"{what}{run.data.channels}: 'data' is all there is")


def refuse_resolution(run: Run, resolution: int, key: str = "resolution") -> None:
    """Raises ImpossibleError, naming the nearest possible sizes, when the model cannot take such images."""
    try:
        _check_resolution(
            run.model, run.size, tuple(run.options.items()), resolution, run.resolution, models.loaded_plugins()
        )
    except models.ModelError as error:
        raise ImpossibleError(key, str(error)) from error


@lru_cache(maxsize=4096)
def _check_resolution(
    model: str,
    size: str,
    options: tuple[tuple[str, Scalar], ...],
    resolution: int,
    train_resolution: int,
    plugins: tuple[models.Plugin, ...],
) -> None:
    """`models.check_resolution`, once for all runs that differ in nothing it asks for (`plugins`: see below)."""
    models.check_resolution(
        model, size=size, options=dict(options), resolution=resolution, train_resolution=train_resolution
    )


def default_evaluation(run: Run, part: Part, resolution: int) -> Evaluation:
    """The evaluation at a resolution with the model's default way of carrying positions ('-' at home), images shown
    whole, or as published."""
    way = "-"
    if resolution != run.resolution:
        way = _default_way(run.model, tuple(run.options.items()), models.loaded_plugins())
    return _evaluation(part, resolution, way, *usually_shown(run.model, run.options))


def usually_shown(model: str, options: Mapping[str, Any]) -> tuple[float, Interpolation, Aspect]:
    """Crop, interpolation and aspect of the evaluations of a model that are the usual ones."""
    shown = models.shown_as_published(model, options)
    if shown is None:
        return 1.0, "bilinear", "kept"
    return shown.crop, cast(Interpolation, shown.interpolation), cast(Aspect, shown.aspect)


@lru_cache(maxsize=4096)
def _default_way(model: str, options: tuple[tuple[str, Scalar], ...], plugins: tuple[models.Plugin, ...]) -> str:
    """The model's default way of carrying positions, '-' without one; for all runs with these options (`plugins`: see
    below)."""
    ways = models.carry_ways(model, options=dict(options))
    return ways[0] if ways else "-"


@lru_cache(maxsize=1024)
def _evaluation(
    part: Part, resolution: int, carry: str, crop: float, interpolation: Interpolation, aspect: Aspect
) -> Evaluation:
    """One object for all runs of a large study."""
    return Evaluation(
        part=part, resolution=resolution, carry=carry, crop=crop, interpolation=interpolation, aspect=aspect
    )


ID = re.compile(r"(.+)-(d\d+-s\d+)-[0-9a-f]{8}")


def names_of_starts(begun: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """What the weights are called that runs start from, by (model with its options, `init_from`).

    Runs that differ in draw and seed alone each start from a run of their own: those are called by what their ids have
    in common, unless that is said of two runs of the same draw and seed. Anything else is called what it is.
    """
    alike: dict[tuple[str, str], dict[str, set[str]]] = {}
    parsed = {(model, start): ID.fullmatch(start) for model, start in begun}
    for (model, start), found in parsed.items():
        if found:
            alike.setdefault((model, found[1]), {}).setdefault(found[2], set()).add(start)
    clear = {key for key, starts in alike.items() if all(len(several) == 1 for several in starts.values())}
    return {
        (model, start): found[1] if found and (model, found[1]) in clear else start
        for (model, start), found in parsed.items()
    }


def unknown_key(
    values: Mapping[str, Any], allowed: Iterable[str], prefix: str, elsewhere: Mapping[str, str] | None = None
) -> None:
    """Raises ConfigError for the first key that is not allowed. `elsewhere` says of keys that are allowed in another
    place where that is: 'belongs under recipe'."""
    known, others = list(allowed), elsewhere or {}
    for name in values:
        if name in known:
            continue
        if name in others:
            raise ConfigError(f"{prefix}{name}", others[name])
        near = nearest(name, [*known, *others])
        if not near:
            raise ConfigError(f"{prefix}{name}", f"unknown; allowed are {', '.join(sorted(known))}")
        hint = f" It {others[near]}" if near in others else ""
        raise ConfigError(f"{prefix}{name}", f"unknown; did you mean `{near}`?{hint}")


def validated(kind: type[T], values: Mapping[str, Any], prefix: str = "") -> T:
    """A pydantic model of plain values. Raises ConfigError for the first thing wrong, with its key."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name, given = str(first["loc"][0]), first["input"]
        message = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        if first["type"] == "literal_error":
            message += did_you_mean(str(given), map(str, get_args(kind.model_fields[name].annotation)))
        raise ConfigError(prefix + name, f"{given!r} {message}") from error


def _resolve_recipe(given: Any) -> Recipe:
    table = {"name": given} if isinstance(given, str) else given
    if isinstance(table, Recipe):
        return table
    if not isinstance(table, Mapping):
        raise ConfigError("recipe", f"{given!r} is neither a name nor a table")
    name = table.get("name", "none")
    if not isinstance(name, str):
        raise ConfigError("recipe.name", f"{name!r} is not a string")
    if table.keys() <= {"name"}:
        return _named_recipe(name)
    beside = dict.fromkeys(DEFAULTS.keys() - Recipe.model_fields.keys(), "belongs beside recipe, not in it")
    unknown_key(table, Recipe.model_fields, "recipe.", beside)
    return validated(Recipe, {**recipe_values(name), **typed(table)}, "recipe.")


@lru_cache(maxsize=64)
def _named_recipe(name: str) -> Recipe:
    """A named recipe as it is, one object for all runs that have it."""
    return validated(Recipe, recipe_values(name), "recipe.")


@lru_cache(maxsize=1024)
def _recipe_delta(recipe: Recipe) -> Mapping[str, Any]:
    """Its name, and what of a recipe differs from the one of that name."""
    named = recipe_values(recipe.name)
    return {name: value for name, value in recipe if name == "name" or value != named[name]}


def _resolve_options(values: dict[str, Any], data: Dataset) -> dict[str, Scalar]:
    """The model's options, all of them; sets the size in `values` when none is given."""
    model, size, options = values.get("model", "vit"), values.get("size"), values.get("options", {})
    if not isinstance(options, Mapping):
        raise ConfigError("options", f"{options!r} is not a table")
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"options.{name}", f"{value} is not a finite number")
    key = "model"
    try:
        sizes = models.family(model).sizes
        size = values.setdefault("size", models.default_size(model)) if size is None else size
        key = "options" if size in sizes else "size"
        given = {**_derived_options(model, values["recipe"], data), **options}
        if not all(isinstance(value, Scalar) for value in given.values()):
            return models.resolve_options(model, size=size, options=given)
        exactly = tuple((name, value, repr(value)) for name, value in given.items())  # 1, 1.0 and True are equal
        return dict(_all_options(model, size, exactly, models.loaded_plugins()))
    except models.OptionError as error:
        raise ConfigError(f"options.{error.option}" if error.option in options else key, str(error)) from error
    except models.CombinationError as error:
        raise ImpossibleError(key, str(error)) from error
    except models.ModelError as error:
        raise ConfigError(key, str(error)) from error


@lru_cache(maxsize=4096)
def _all_options(
    model: str, size: str, given: tuple[tuple[str, Scalar, str], ...], plugins: tuple[models.Plugin, ...]
) -> dict[str, Scalar]:
    """`models.resolve_options`, once for all runs with these options; not to be changed (`plugins`: see below)."""
    return models.resolve_options(model, size=size, options={name: value for name, value, _ in given})


def _derived_options(model: str, recipe: Recipe, data: Dataset) -> dict[str, Scalar]:
    """Options whose default comes from the data set or the recipe rather than from the model."""
    derived: dict[str, Scalar] = {"scale": data.scale, "drop_path": recipe.drop_path}
    declared = {option.name for option in models.family(model).options}
    return {name: value for name, value in derived.items() if name in declared}


def _resolve_budget(given: Any) -> Budget:
    if isinstance(given, Budget):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError("budget", f"{given!r} is not a table such as {{ steps = 600 }}")
    unknown_key(given, Budget.model_fields, "budget.")
    if len(given) != 1:
        raise ConfigError("budget", f"needs exactly one of steps, epochs, images; there are {len(given)}")
    return validated(Budget, given, "budget.")


@lru_cache(maxsize=4096)
def _usual_options(
    model: str,
    size: str,
    derived: tuple[tuple[str, Scalar], ...],
    parts: tuple[tuple[str, Scalar], ...],
    plugins: tuple[models.Plugin, ...],
) -> dict[str, Scalar]:
    """The options of a model where nothing but its position and its mixer is given; not to be changed, all runs share
    it.

    `parts` are these two, as far as the model has them: each brings options of its own, with their defaults. `plugins`
    are those loaded, which decide what every name means.
    """
    usual = models.resolve_options(model, size=size, options=dict(derived))
    chosen = models.resolve_options(model, size=size, options={**dict(derived), **dict(parts)})
    return {**chosen, **{name: usual[name] for name, _ in parts}}


def _delta(run: Run) -> dict[str, Any]:
    """Differences from the defaults, which for some fields follow from other fields (see `make_run`)."""
    derived = tuple(_derived_options(run.model, run.recipe, run.data).items())
    parts = tuple((name, run.options[name]) for name in models.PARTS if name in run.options)
    try:
        usual = _usual_options(run.model, run.size, derived, parts, models.loaded_plugins())
    except models.ModelError:  # the size is for another scale than the data set's: no option is at a default
        usual = {}
    changed: dict[str, Any] = {
        "options": {name: value for name, value in run.options.items() if name not in usual or value != usual[name]},
        "recipe": dict(_recipe_delta(run.recipe)),
        "budget": {run.budget.kind: run.budget.amount},
    }
    if changed["recipe"] == {"name": USUAL_RECIPE}:
        del changed["recipe"]
    if run.budget == DEFAULTS["budget"]:
        del changed["budget"]
    if not changed["options"]:
        del changed["options"]
    usual_plain: dict[str, Any] = {"resolution": run.data.native_resolution, "draw": run.seed, "protocol": 0}
    usual_plain["size"] = models.default_size(run.model)
    usual_plain["initial"] = "literature"  # the default of earlier versions: the ids of their runs stay what they were
    for name, declared in DEFAULTS.items():
        if name in ("options", "recipe", "budget"):
            continue
        value = getattr(run, name)
        default = usual_plain.get(name, declared)
        if value != default or type(value) is not type(default):
            changed[name] = value
    return changed
