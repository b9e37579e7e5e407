"""What a study expects of pairs: named like comparisons, checked against its runs, no part of any. Errors by hand."""

from typing import Any

import pytest

from benchmarks.errors import ConfigError
from benchmarks.plan.expectations import Expectation
from benchmarks.plan.study import expand, load_study, study_names
from models.catalogue import titles
from models.catalogue.families import FAMILIES
from models.catalogue.ladder import MIXERS
from models.positions.encodings import ENCODINGS

STUDY: dict[str, Any] = {
    "size": "pico",
    "train_size": [100, 300],
    "test_resolutions": [8, 16],
    "models": [{"name": "resnet"}, {"name": "vit", "position": ["none", "learned_1d"]}],
}
ONE = {"higher": "resnet", "lower": "vit learned_1d", "train_size": 100}


def test_an_expectation_changes_no_run() -> None:
    plain, expecting = expand(STUDY, "a"), expand({**STUDY, "expects": [{**ONE, "test_resolution": 16}, ONE]}, "a")
    assert expecting.runs == plain.runs
    assert expecting.evaluations == plain.evaluations
    assert expecting.expects == (Expectation(**ONE, test_resolution=16), Expectation(**ONE))
    labelled = {f"{run.model} {run.position}": run for run in plain.runs}
    assert expecting.expects[0].of(labelled) == ("resnet -", "vit learned_1d")
    assert expecting.expects[0].of({"vit none": labelled["vit none"]}) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"higher": "resnt"}, "expects[0].higher: no model of the study is called 'resnt'; did you mean `resnet`?"),
        (
            {"lower": "vit"},
            "expects[0].lower: 'vit' is 2 models; add one of: none position=none; learned_1d position=learned_1d",
        ),
        ({"lower": "resnet"}, "expects[0].lower: 'resnet' is the model that is expected to be higher, too"),
        (
            {"train_size": 200},
            "expects[0].train_size: is 200, but the two models are beside each other with 100, 300; the nearest is 100",
        ),
        (
            {"test_resolution": 15},
            "expects[0].test_resolution: is 15, but both are tested in the usual way at 8, 16; the nearest is 16",
        ),
        ({"train_size": None}, "expects[0].train_size: is required: [[expects]] has higher, lower and train_size"),
        ({"dataset": "digit"}, "expects[0].dataset: is 'digit', but the study has digits; did you mean `digits`?"),
        ({"trainsize": 100}, "expects[0].trainsize: unknown; did you mean `train_size`?"),
        ({"train_size": "100"}, "expects[0].train_size: '100' should be a valid integer"),
    ],
)
def test_errors_name_the_place_and_what_is_allowed(change: dict[str, Any], message: str) -> None:
    table = {key: value for key, value in {**ONE, **change}.items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        expand({**STUDY, "expects": [table]}, "a")
    assert str(caught.value) == message


def test_an_expectation_of_one_data_set() -> None:
    """Its train size must be one of that data set, not of another that the study has."""
    arms = [{"dataset": "digits"}, {"dataset": "digits_shuffled_labels", "train_size": 200}]
    one = {**ONE, "train_size": 200, "dataset": "digits_shuffled_labels"}
    assert expand({**STUDY, "arms": arms, "expects": [one]}, "a").expects == (Expectation(**one),)
    with pytest.raises(ConfigError, match=r"expects\[0\].train_size: is 100, but .* with 200; the nearest is 200"):
        expand({**STUDY, "arms": arms, "expects": [{**one, "train_size": 100}]}, "a")


@pytest.mark.parametrize(
    ("vit", "message"),
    [
        ({"test_resolutions": [8, 16]}, "is 24, but both are tested in the usual way at 8, 16; the nearest is 16"),
        ({"test_resolutions": [12]}, "is 24, but the two models never have the same"),
        (
            {"test_resolutions": [8], "evaluations": [{"resolution": 24, "images": "canvas"}]},
            "is 24, but both are tested in the usual way at 8; the nearest is 8",
        ),
    ],
)
def test_both_of_a_pair_are_tested_at_the_resolution(vit: dict[str, Any], message: str) -> None:
    """A resolution of one of them alone, or of another way of testing, cannot answer."""
    models = [
        {"name": "resnet", "test_resolutions": [8, 16, 24]},
        {"name": "vit", "position": "learned_1d", **vit},
    ]
    study = {**STUDY, "models": models, "expects": [{**ONE, "test_resolution": 24}]}
    with pytest.raises(ConfigError) as caught:
        expand(study, "a")
    assert str(caught.value) == f"expects[0].test_resolution: {message}"


def test_it_is_a_list_of_tables() -> None:
    with pytest.raises(ConfigError, match=r"expects: is not a list of tables: write \[\[expects\]\]"):
        expand({**STUDY, "expects": ONE}, "a")


@pytest.mark.usefixtures("imagenet")
def test_shipped_studies_say_what_they_expect() -> None:
    """Those whose text speaks of pairs; the others are about a number, `tuning` about how a search moves gaps."""
    numbers = {"course-cifar-long", "course-cifar-short", "course-mnist", "speed", "probe-shuffled-labels", "tuning"}
    assert {name for name in study_names() if load_study(name).expects} == set(study_names()) - numbers


def test_titles_are_of_what_there_is() -> None:
    assert titles.FAMILIES.keys() <= FAMILIES.keys()
    assert titles.POSITIONS.keys() <= ENCODINGS.keys()
    assert titles.MIXERS.keys() == MIXERS.keys()
    assert titles.title("ladder pool") == "block with pooling"
    assert (titles.article("MLP"), titles.article("ViT"), titles.article("attention MLP")) == ("an", "a", "an")
