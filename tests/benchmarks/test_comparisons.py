"""Families of comparisons: declared in a study, refused with the nearest match, no part of a run's id."""

import tomllib

import pytest

from benchmarks.errors import ConfigError
from benchmarks.plan.comparisons import ComparisonFamily, pairs_of
from benchmarks.plan.study import Study, expand, load_study, study_names

MODELS = """
dataset = "digits"
size = "pico"
[[models]]
name = "resnet"
[[models]]
name = "vit"
position = ["none", "learned_1d", "rope_axial"]
"""


def study(families: str, models: str = MODELS) -> Study:
    return expand(tomllib.loads(models + families), "test")


def labelled(one: Study) -> dict[str, object]:
    return {run.model if run.model == "resnet" else f"vit {run.position}": run for run in one.runs}


def test_families_name_models_by_their_words() -> None:
    one = study("""
        [[comparisons]]
        name = "everything"
        [[comparisons]]
        name = "encodings"
        models = ["vit"]
        against = "vit learned_1d"
        spread = 0.02
        [[comparisons]]
        name = "rotary"
        models = ["vit rope_*", "position=none"]
        against = "resnet"
    """)
    models = labelled(one)
    everything, encodings, rotary = one.comparisons
    assert everything.of(models) == (tuple(models), None)
    assert encodings.of(models) == (("vit none", "vit rope_axial"), "vit learned_1d")
    assert rotary.of(models) == (("vit none", "vit rope_axial"), "resnet")
    assert encodings.spread == 0.02
    assert len(pairs_of(*everything.of(models))) == 6
    assert pairs_of(*rotary.of(models)) == [("vit none", "resnet"), ("vit rope_axial", "resnet")]
    assert rotary.of({"vit none": models["vit none"]}) == ((), None)


def test_no_id_depends_on_them() -> None:
    plain = study("")
    assert study('[[comparisons]]\nname = "a"\nspread = 0.1').runs == plain.runs
    assert plain.comparisons == ()


@pytest.mark.usefixtures("imagenet")
def test_shipped_studies_declare_families() -> None:
    """Each that has several models compares something with simultaneous intervals."""
    for name in study_names():
        one = load_study(name)
        assert one.comparisons or len({(run.model, run.position) for run in one.runs}) == 1, name


@pytest.mark.parametrize(
    ("table", "place", "message"),
    [
        ('name = "a"\nagainst = "vit rop_axial"', "comparisons[0].against", "did you mean `rope_axial`?"),
        ('name = "a"\nmodels = ["resnt"]', "comparisons[0].models", "did you mean `resnet`?"),
        ('name = "a"\nmodels = ["resnet none"]', "comparisons[0].models", "its words are those of several"),
        ('name = "a"\nagainst = "vit"', "comparisons[0].against", "3 models; add one of: none"),
        ('name = "a"\nmodels = ["resnet"]', "comparisons[0]", "compares nothing"),
        ('name = "a"\nmodels = ["resnet"]\nagainst = "resnet"', "comparisons[0]", "compares nothing"),
        ('against = "resnet"', "comparisons[0].name", "is required"),
        ('name = "a"\nagains = "resnet"', "comparisons[0].agains", "did you mean `against`?"),
        ('name = "a"\nspread = 0', "comparisons[0].spread", "greater than 0"),
        ('name = "a"\n[[comparisons]]\nname = "a"', "comparisons[1].name", "another family"),
    ],
)
def test_what_is_wrong_is_said(table: str, place: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        study("[[comparisons]]\n" + table)
    assert error.value.key == place
    assert message in str(error.value)


def test_not_a_list_of_tables() -> None:
    with pytest.raises(ConfigError, match=r"write \[\[comparisons\]\]"):
        study("", 'comparisons = "vit"\n' + MODELS)


def test_a_recipe_or_data_set_does_not_make_a_model_several() -> None:
    """drop_path follows the recipe and the scale follows the data: the reference is one model in each."""
    one = study(
        '[[comparisons]]\nname = "a"\nagainst = "vit learned_1d"\n'
        '[[arms]]\nrecipe = "plain"\n[[arms]]\nrecipe = { name = "plain", drop_path = 0.1 }\n'
        '[[arms]]\ndataset = "cifar10"',
    )
    assert isinstance(one.comparisons[0], ComparisonFamily)
