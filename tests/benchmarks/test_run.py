"""Runs: exact ids, defaults that are filled in, refusals that name key, allowed values and nearest match."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from pydantic import ValidationError

import models
from benchmarks.errors import ConfigError, ImpossibleError
from benchmarks.plan.recipes import Recipe, recipe_values
from benchmarks.plan.run import (
    PROTOCOL,
    Budget,
    Evaluation,
    Run,
    canonical,
    default_evaluation,
    make_run,
    refuse_resolution,
)
from models.catalogue.registry import declared_options
from models.positions.encodings import ENCODINGS

Settings = dict[str, Any]

GOLDEN: dict[str, Settings] = {
    "vit-learned_1d-digits-n1000-r8-d0-s0-93cb497d": {},
    "vit-rope_axial-digits-n1000-r8-d0-s0-fb9ab071": {"options": {"position": "rope_axial"}},
    "vit-rope_axial-cifar10-n5000-r32-d1-s3-9b5f2bf3": {
        "options": {"position": "rope_axial"},
        "dataset": "cifar10",
        "seed": 3,
        "draw": 1,
        "train_size": 5000,
        "recipe": "strong",
        "budget": {"steps": 20000},
    },
    "resnet-digits-n100-r8-d0-s0-5796418a": {"model": "resnet", "size": "pico", "recipe": "digits", "train_size": 100},
    "swin-cifar10-n500-r32-d2-s2-b95041a3": {
        "model": "swin",
        "dataset": "cifar10",
        "train_size": 500,
        "budget": {"epochs": 200},
        "seed": 2,
    },
    "conv_stem_vit-learned_1d-cifar10-n45000-r48-d0-s0-4d5add29": {
        "model": "conv_stem_vit",
        "dataset": "cifar10",
        "train_size": 45000,
        "validation": 5000,
        "recipe": {"name": "plain", "learning_rate": 5e-4, "betas": [0.9, 0.95]},
        "resolution": 48,
    },
}


BY_LITERATURE = {  # digests of the same runs with `initial = "literature"`, which was the default when they were made
    "vit-learned_1d-digits-n1000-r8-d0-s0-93cb497d": "fbe45dbb",
    "vit-rope_axial-digits-n1000-r8-d0-s0-fb9ab071": "f0a6ca0e",
    "vit-rope_axial-cifar10-n5000-r32-d1-s3-9b5f2bf3": "59d18c95",
    "resnet-digits-n100-r8-d0-s0-5796418a": "5a3512b2",
    "swin-cifar10-n500-r32-d2-s2-b95041a3": "54021bd6",
    "conv_stem_vit-learned_1d-cifar10-n45000-r48-d0-s0-4d5add29": "6079b6f2",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_ids(name: str) -> None:
    """Reference: the ids of the first release; if one moves, finished runs are not found again."""
    assert make_run(GOLDEN[name]).id == name
    assert digest({**GOLDEN[name], "initial": "literature"}) == BY_LITERATURE[name]


def test_golden_evaluation_id() -> None:
    """Reference: the first release's; if it moves, every finished evaluation is done again."""
    assert Evaluation(part="test", resolution=12, images="resize", carry="recompute").id == "0bb15e00"


@pytest.mark.parametrize("name", GOLDEN)
def test_settings_make_the_same_run(name: str) -> None:
    """config.json holds `settings()`; a record whose configuration made another run could not be continued."""
    run = make_run(GOLDEN[name])
    again = make_run(json.loads(canonical(run.settings())))
    assert again == run
    assert again.id == run.id
    assert canonical(again.settings()) == canonical(run.settings())


def test_order_of_keys_does_not_change_the_id() -> None:
    """What breaks otherwise: two studies with the same run would train it twice."""
    settings = GOLDEN["vit-rope_axial-cifar10-n5000-r32-d1-s3-9b5f2bf3"]
    assert make_run(dict(reversed(settings.items()))).id == make_run(settings).id
    many = {"position": "rope_axial", "rope_base": 50.0, "depth": 2}
    assert make_run({"options": many}).id == make_run({"options": dict(reversed(many.items()))}).id


@pytest.mark.parametrize("name", GOLDEN)
def test_an_explicit_default_equals_an_omitted_one(name: str) -> None:
    """Every field, recipe number and model option given explicitly, one at a time and all at once."""
    run = make_run(GOLDEN[name])
    every = run.settings()
    assert make_run(every).id == name
    for key in every:
        assert make_run({**GOLDEN[name], key: every[key]}).id == name
    given = GOLDEN[name].get("options", {})
    for key, value in run.options.items():
        assert make_run({**GOLDEN[name], "options": {**given, key: value}}).id == name
    recipe = GOLDEN[name].get("recipe", "none")
    table = {"name": recipe} if isinstance(recipe, str) else recipe
    for key, value in run.recipe:
        assert make_run({**GOLDEN[name], "recipe": {**table, key: value}}).id == name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"recipe": {"learning_rate": 1}}, {"recipe": {"learning_rate": 1.0}}),
        ({"recipe": {"mixup": 0}}, {"recipe": {"mixup": 0.0}}),
        ({"recipe": {"betas": [0, 0]}}, {"recipe": {"betas": [0.0, 0.0]}}),
        ({"recipe": {"learning_rate": 0.0005}}, {"recipe": {"learning_rate": 5e-4}}),
        ({"recipe": "plain"}, {"recipe": {"name": "plain"}}),
        ({"budget": {"epochs": 3}}, {"budget": {"epochs": 3.0}}),
        ({"options": {"mlp_ratio": 2}}, {"options": {"mlp_ratio": 2.0}}),
        ({"options": {"layer_scale": 0}}, {"options": {"layer_scale": 0.0}}),
        ({"validation": 0}, {"validation": 0.0}),
    ],
)
def test_one_form_for_each_number(one: Settings, other: Settings) -> None:
    """An int where the field is a float is that float; what breaks otherwise: one run under two ids."""
    assert make_run(one).id == make_run(other).id


FIELDS: dict[str, Any] = {
    "model": "swin",
    "size": "pico",
    "options": {"depth": 2},
    "dataset": "cifar10",
    "train_size": 900,
    "validation": 0.25,
    "resolution": 12,
    "recipe": "strong",
    "budget": {"steps": 601},
    "draw": 1,
    "seed": 1,
    "precision": "bfloat16",
    "initial": "literature",
    "init_from": "weights.safetensors",
    "validate_every": 0.1,
}
ONE_VALUE = {"protocol"}  # fields that have only one allowed value today


def test_every_field_is_tried_below() -> None:
    """A new field of a run must be added to the table below, or nothing holds that it changes the id."""
    assert FIELDS.keys() | ONE_VALUE == Run.model_fields.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_changes_the_id(name: str) -> None:
    """What breaks otherwise: two different runs in one folder."""
    assert digest({name: FIELDS[name]}) != digest({})


def digest(settings: Settings) -> str:
    return make_run(settings).id.rsplit("-", 1)[-1]


def other_value(value: Any, allowed: tuple[Any, ...]) -> Any:
    """A value of the same type that differs from the default and is allowed."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return next(one for one in allowed if one != value)
    if isinstance(value, tuple):
        return [0.8, value[1]] if value else [8, 12]
    return value + 1 if isinstance(value, int) or value > 1 else value / 2 + 0.001


@pytest.mark.parametrize("key", [key for key in Recipe.model_fields if key != "name"])
def test_every_number_of_a_recipe_changes_the_id(key: str) -> None:
    """Parametrised over the fields of Recipe, so that a new one is tried as well."""
    allowed = {
        "optimizer": ("adamw", "sgd"),
        "schedule": ("cosine", "constant"),
        "trained": ("all", "last_norm_and_head"),
        "crop_fill": ("zero", "reflect"),
        "flip_order": ("random", "alternating"),
    }
    changed = other_value(getattr(Recipe(), key), allowed.get(key, ()))
    assert digest({"recipe": {key: changed}}) != digest({})
    assert digest({"recipe": {"name": "strong"}}) != digest({"recipe": {"name": "plain"}})


def test_recipes_of_equal_numbers_have_ids_of_their_own() -> None:
    """The name is part of the configuration: when one of the two files changes, the other's runs must not drift."""
    changes = {key: value for key, value in recipe_values("plain").items() if key != "name"}
    assert digest({"recipe": {"name": "none", **changes}}) != digest({"recipe": "plain"})


@pytest.mark.parametrize("kind", Budget.model_fields)
def test_every_budget_changes_the_id(kind: str) -> None:
    """100 steps, 100 epochs and 100 images are different questions."""
    assert len({digest({"budget": {one: 100}}) for one in Budget.model_fields}) == len(Budget.model_fields)
    assert digest({"budget": {kind: 100}}) != digest({"budget": {kind: 101}})


def options_of_all() -> list[tuple[str, str, str]]:
    """(model, position, option) of every option there is; an encoding's own options with one model are enough."""
    found = []
    for model in models.model_names():
        usual = models.resolve_options(model, size=models.default_size(model), options={})
        found += [(model, str(usual.get("position", "-")), name) for name in usual]
    for encoding in ENCODINGS.values():
        found += [("vit", encoding.name, option.name) for option in encoding.options]
    return found


def candidates(model: str, position: str, name: str, usual: Any) -> Iterator[Any]:
    """Other values of an option, of which one at least should make a network."""
    option = declared_options(model, {} if position == "-" else {"position": position})[name]
    if option.allowed:
        yield from option.allowed
    elif isinstance(usual, bool):
        yield not usual
    elif isinstance(usual, str):
        yield from ("-".join([one] * length) for length in range(1, 6) for one in "12")
    elif isinstance(usual, int):
        yield from (usual * 2, usual + 1, usual + 2, usual // 2)
    else:
        yield from (usual / 2 + 0.1, usual * 2)


@pytest.mark.parametrize(("model", "position", "name"), options_of_all())
def test_every_option_of_a_model_changes_the_id(model: str, position: str, name: str) -> None:
    """Parametrised over what the models declare; an option outside the id would mix two networks in one cell."""
    given: Settings = {} if position == "-" else {"position": position}
    settings = {"model": model, "dataset": "cifar10"}
    if name == "scale" and models.family(model).resizes_input:  # which trains at its scale's resolution at most
        settings["resolution"] = 8
    usual = make_run({**settings, "options": given})
    for value in candidates(model, position, name, usual.options[name]):
        if value == usual.options[name]:
            continue
        with suppress(ConfigError):
            changed = make_run({**settings, "options": {**given, name: value}})
            assert changed.options[name] == value
            assert changed.id != usual.id
            return
    raise AssertionError(f"none of the values tried for {name} makes a network")


@pytest.mark.parametrize("model", models.model_names())
def test_options_are_whole_and_resolved(model: str) -> None:
    """Reference: the model's own resolution; a record must hold what decided its network, defaults included."""
    size = "pico" if "pico" in models.family(model).sizes else models.default_size(model)
    run = make_run({"model": model, "size": size})
    assert run.options == models.resolve_options(model, size=size, options=run.options)
    assert run.options.get("scale", 8) == 8


def test_defaults_that_follow_from_other_fields() -> None:
    """resolution <- native, draw <- seed, options.scale <- data set, options.drop_path <- recipe."""
    run = make_run({"dataset": "cifar10", "seed": 5, "recipe": "strong"})
    assert (run.resolution, run.draw, run.options["scale"], run.options["drop_path"]) == (32, 5, 32, 0.1)
    run = make_run({"seed": 5, "draw": 2, "recipe": {"name": "strong", "drop_path": 0.3}})
    assert (run.resolution, run.draw, run.options["scale"], run.options["drop_path"]) == (8, 2, 8, 0.3)
    run = make_run({"recipe": "strong", "options": {"drop_path": 0.0, "scale": 32}, "resolution": 16})
    assert (run.resolution, run.options["scale"], run.options["drop_path"]) == (16, 32, 0.0)
    for model in models.model_names():
        options = make_run({"model": model, "recipe": "strong"}).options
        assert options.get("drop_path", 0.1) == 0.1
    for field in ("resolution", "draw"):
        assert field not in make_run({"dataset": "cifar10", "seed": 5}).delta


def test_the_delta_names_what_differs_and_no_more() -> None:
    """`inductive show` prints it; the digest is of it."""
    run = make_run({"options": {"position": "rope_axial", "rope_base": 50}, "recipe": {"learning_rate": 0.01}})
    assert run.delta == {
        "protocol": PROTOCOL,
        "initial": "library",  # in every id since it is the default, so that those of before stay what they were
        "options": {"position": "rope_axial", "rope_base": 50.0},
        "recipe": {"name": "none", "learning_rate": 0.01},
    }


def test_a_raised_protocol_gives_every_run_a_new_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol is the way to say that a configuration means something else now."""
    before = make_run({}).id
    monkeypatch.setattr("benchmarks.plan.run.PROTOCOL", PROTOCOL + 1)
    assert make_run({"protocol": PROTOCOL + 1}).id != before


@pytest.mark.parametrize(
    ("budget", "train_images", "expected"),
    [
        ({"steps": 7}, 800, 7),
        ({"epochs": 1.0}, 800, 7),  # 6.25 batches of 128
        ({"epochs": 0.5}, 800, 4),
        ({"images": 128}, 800, 1),
        ({"images": 129}, 800, 2),
        ({"images": 1}, 800, 1),
    ],
)
def test_updates_of_a_budget(budget: Settings, train_images: int, expected: int) -> None:
    """Reference: by hand; a part of a batch is a whole update, because every batch is full."""
    assert Budget(**budget).updates(train_images, 128) == expected


def test_epochs_are_passes_over_the_training_part() -> None:
    """Reference: by hand, of 1,000 images of CIFAR-10's equal classes: 200 are for validation, 800 passed ten times."""
    settings = {"dataset": "cifar10", "budget": {"epochs": 10}, "recipe": {"batch_size": 64}}
    run = make_run(settings)
    assert run.part_sizes == (800, 200)
    assert run.steps == 125
    assert make_run({**settings, "validation": 0}).steps == 157
    assert make_run({**settings, "validation": 5000}).part_sizes == (1000, 5000)


REFUSED: list[tuple[Settings, str]] = [
    ({"modle": "vit"}, "modle: unknown; did you mean `model`?"),
    ({"learning_rate": 1.0}, "learning_rate: belongs under recipe: recipe.learning_rate"),
    ({"positon": "none"}, "positon: unknown; did you mean `position`? It belongs under options: options.position"),
    ({"xyz": 1}, "xyz: unknown; allowed are budget, dataset, draw, init_from, initial, model, "),
    ({"patch_size": 8}, "patch_size: belongs under options: options.patch_size"),
    ({"model": "swin", "windw": 7}, "windw: unknown; did you mean `window`? It belongs under options: options.window"),
    ({"recipe": {"lerning_rate": 1.0}}, "recipe.lerning_rate: unknown; did you mean `learning_rate`?"),
    ({"budget": {"setps": 3}}, "budget.setps: unknown; did you mean `steps`?"),
    ({"model": "vitt"}, "model: no model 'vitt'; allowed: vit, "),
    ({"size": "nanoo"}, "size: model vit: no size 'nanoo'; allowed: pico, nano, "),
    ({"options": {"positon": "none"}}, "options.positon: model vit: no option `positon`; allowed: attention_window, "),
    ({"options": {"position": "rope_axal"}}, "did you mean `rope_axial`?"),
    ({"model": "resnet", "options": {"position": "none"}}, "model resnet: no option `position`"),
    ({"options": {"rope_base": 5.0}}, "belongs to position rope_axial and rope_mixed, and position is learned_1d"),
    ({"dataset": "cifar"}, "dataset: unknown data set 'cifar'; there are digits, digits_shuffled_labels, "),
    ({"recipe": "plian"}, "recipe: unknown recipe 'plian'; there are "),
    ({"recipe": {"optimizer": "adamv"}}, "'adamv' should be 'adamw', 'adam' or 'sgd'; did you mean `adam`?"),
    ({"model": 3}, "model: 3 is not a string"),
    ({"size": None}, "size: None is not a string"),
    ({"dataset": ["digits"]}, "dataset: ['digits'] is not a string"),
    ({"train_size": True}, "train_size: True should be a valid integer"),
    ({"train_size": "1000"}, "train_size: '1000' should be a valid integer"),
    ({"train_size": 1000.0}, "train_size: 1000.0 should be a valid integer"),
    ({"train_size": 0}, "train_size: 0 should be greater than or equal to 1"),
    ({"seed": -1}, "seed: -1 should be greater than or equal to 0"),
    ({"draw": True}, "draw: True should be a valid integer"),
    ({"resolution": "8"}, "resolution: '8' should be a valid integer"),
    (
        {"precision": "float16"},
        "precision: 'float16' should be 'float32', 'tf32' or 'bfloat16'; did you mean `bfloat16`?",
    ),
    ({"validate_every": 1.5}, "validate_every: 1.5 is neither a share of all steps (0.1) nor a number of steps"),
    ({"validate_every": -1}, "validate_every: -1 is neither a share of all steps (0.1) nor a number of steps"),
    ({"protocol": PROTOCOL + 1}, f"protocol: is {PROTOCOL + 1}, this version of the suite runs protocol {PROTOCOL}"),
    ({"recipe": {"learning_rate": "1e-3"}}, "recipe.learning_rate: '1e-3' should be a valid number"),
    ({"recipe": {"learning_rate": True}}, "recipe.learning_rate: True should be a valid number"),
    ({"recipe": {"learning_rate": 0.0}}, "recipe.learning_rate: 0.0 should be greater than 0"),
    ({"recipe": {"learning_rate": float("inf")}}, "recipe.learning_rate: inf should be a finite number"),
    ({"recipe": {"learning_rate": float("nan")}}, "recipe.learning_rate: nan should be a finite number"),
    ({"recipe": {"flip": 1}}, "recipe.flip: 1 should be a valid boolean"),
    ({"recipe": {"betas": [0.9, "a"]}}, "recipe.betas: 'a' should be a valid number"),
    ({"recipe": {"betas": [0.9]}}, "recipe.betas"),
    ({"recipe": {"name": 3}}, "recipe.name: 3 is not a string"),
    ({"recipe": 4}, "recipe: 4 is neither a name nor a table"),
    ({"budget": {"steps": 1, "epochs": 1.0}}, "budget: needs exactly one of steps, epochs, images; there are 2"),
    ({"budget": {}}, "budget: needs exactly one of steps, epochs, images; there are 0"),
    ({"budget": 600}, "budget: 600 is not a table such as { steps = 600 }"),
    ({"budget": {"steps": 10.0}}, "budget.steps: 10.0 should be a valid integer"),
    ({"budget": {"steps": True}}, "budget.steps: True should be a valid integer"),
    ({"budget": {"epochs": True}}, "budget.epochs: True should be a valid number"),
    ({"budget": {"epochs": float("inf")}}, "budget.epochs: inf should be a finite number"),
    ({"options": {"depth": True}}, "options.depth: model vit: option `depth` is True, not of type int"),
    ({"options": {"mlp_ratio": "4"}}, "options.mlp_ratio: model vit: option `mlp_ratio` is '4', not of type float"),
    ({"options": {"mlp_ratio": float("inf")}}, "options.mlp_ratio: inf is not a finite number"),
    ({"options": 4}, "options: 4 is not a table"),
    ({"validation": "some"}, "validation: 'some' should be a valid number"),
    ({"validation": True}, "validation: True should be a valid number"),
    ({"validation": 1.0}, "validation: 1.0 is neither a share of train_size (0.2) nor a number of images"),
    ({"validation": -1}, "validation: -1 is neither a share of train_size (0.2) nor a number of images"),
]
IMPOSSIBLE: list[tuple[Settings, str]] = [
    ({"options": {"heads": 5}}, "width 64 is not divisible by 5 heads"),
    ({"validate_every": 10, "validation": 0}, "validate_every: there is no validation part to measure on"),
    ({"resolution": 9}, "resolution: model vit: image 9 is not divisible by patch 2: nearest 8, 10"),
    ({"dataset": "cifar10", "resolution": 30}, "is not divisible by patch 4: nearest 28, 32"),
    ({"train_size": 1201}, "train_size: 1,201 is more than the 1,200 training images there are; the largest "),
    ({"train_size": 30}, "train_size: 30 leaves the validation part without an image of some class; the nearest "),
    ({"train_size": 5, "validation": 0}, "train_size: 5 leaves the training part without an image of some class; the"),
    ({"train_size": 1000, "validation": 300}, "beside 300 images of oracle validation; the largest possible is 900"),
    ({"validation": 3}, "validation: 3 images of oracle validation leave some class out; the nearest possible is 10"),
]


@pytest.mark.parametrize(("settings", "expected"), REFUSED + IMPOSSIBLE)
def test_refusals_name_key_allowed_and_nearest(settings: Settings, expected: str) -> None:
    """The error is the interface: with another text a user does not find what to change."""
    with pytest.raises(ConfigError) as refusal:
        make_run(settings)
    assert expected in str(refusal.value)
    assert isinstance(refusal.value, ImpossibleError) == ((settings, expected) in IMPOSSIBLE)


def test_the_size_named_as_nearest_is_possible() -> None:
    """Reference: the refusal's own words, followed."""
    with pytest.raises(ImpossibleError) as refusal:
        make_run({"train_size": 30})
    nearest = int(str(refusal.value).rsplit(" ", 1)[-1])
    assert make_run({"train_size": nearest}).train_size == nearest
    with pytest.raises(ImpossibleError):
        make_run({"train_size": nearest - 1})


def test_refuse_resolution_names_the_key_it_is_told() -> None:
    """A wrong test resolution must not be blamed on the training resolution."""
    with pytest.raises(ImpossibleError, match=r"^test_resolutions: model vit: image 9 "):
        refuse_resolution(make_run({}), 9, "test_resolutions")


def test_default_evaluations_carry_positions_only_away_from_home() -> None:
    """Reference: the models' own first way; an id that named a way at home would differ for nothing."""
    run = make_run({"options": {"position": "learned_1d"}})
    assert default_evaluation(run, "test", 8).carry == "-"
    assert default_evaluation(run, "test", 12).carry == models.carry_ways("vit", options=run.options)[0]
    assert default_evaluation(make_run({"model": "resnet"}), "validation", 12).carry == "-"
    assert default_evaluation(make_run({"options": {"position": "none"}}), "test", 12).carry == "-"


def test_evaluations_differ_in_their_ids() -> None:
    """What breaks otherwise: one evaluation would stand for another."""
    usual: Mapping[str, Any] = {"part": "test", "resolution": 8, "carry": "-"}
    changes = [{}, {"part": "validation"}, {"resolution": 16}, {"carry": "interpolate"}]
    assert len({Evaluation(**{**usual, **change}).id for change in changes}) == 4


def test_a_run_is_frozen() -> None:
    """What breaks otherwise: an id that no longer describes its run."""
    with pytest.raises(ValidationError):
        make_run({}).seed = 3  # type: ignore[misc]


def test_an_id_is_one_folder_name() -> None:
    """What breaks otherwise: a record in a folder of folders, or a name that a file system refuses."""
    for settings in GOLDEN.values():
        name = make_run(settings).id
        assert not set(name) & set('/\\:*?"<>| ')
        assert len(name) < 120


def test_a_changed_copy_has_its_own_id() -> None:
    """An id is computed once, for the object that it was computed of. Reference: the run made anew."""
    run, one = make_run({}), Evaluation(resolution=8)
    assert (run.id, one.id) == (run.model_copy().id, one.model_copy().id)
    assert run.model_copy(update={"train_size": 300}).id == make_run({"train_size": 300}).id
    assert one.model_copy(update={"resolution": 9}).id == Evaluation(resolution=9).id
    assert run == make_run({})  # what is kept beside the fields is no part of what it is


def test_a_size_for_another_scale_than_that_of_the_data() -> None:
    """The id says every option: there is none that the data set's scale could have left out."""
    run = make_run({"dataset": "tiny_imagenet", "model": "resnet", "size": "pico", "options": {"scale": 8}})
    assert run.delta["options"] == run.options
    assert make_run(run.settings()).id == run.id
