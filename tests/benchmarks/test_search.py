"""What a study can say of a search and its confirmation, and what it draws."""

import tomllib
from typing import Any

import numpy as np
import pytest
from scipy.stats._qmc import van_der_corput

from analysis.statistics.tuning_curves import places_of_trials
from benchmarks.cli.plan import _search_words
from benchmarks.errors import ConfigError
from benchmarks.plan.recipes import AUGMENTATION, Recipe, recipe_values
from benchmarks.plan.run import default_evaluation
from benchmarks.plan.search import BASES, HYPERPARAMETERS, Choice, Range, _halton, _random
from benchmarks.plan.selection import RULES
from benchmarks.plan.study import Study, confirmation, expand
from benchmarks.randomness import key, permutation

GRID = """
    train_size = [100, 300]
    seed = [0, 1, 2]
    recipe = "plain"
    budget = { steps = 40 }
    size = "pico"
    [[models]]
    name = "vit"
    [[models]]
    name = "resnet"
"""
SEARCH = """
    [search]
    trials = 4
    draw = { learning_rate = "log 1e-4 .. 1e-2", weight_decay = "0 .. 0.2" }
    [confirm]
    seeds = 2
"""


def study(text: str) -> Study:
    return expand(tomllib.loads(text), "test")


def drawn(one: Study, cell: int = 0) -> list[dict[str, Any]]:
    assert one.tuning is not None
    return [dict(trial.values) for trial in one.tuning.cells[cell].trials]


def confirmed(one: Study) -> Study:
    """Trial 2 everywhere."""
    assert one.tuning is not None
    found = confirmation(one, {cell.key: 2 for cell in one.tuning.cells})
    assert found is not None
    return found


def test_every_model_has_the_same_trials_at_every_train_size() -> None:
    """Counted by hand: 2 models x 2 train sizes x (4 trials and the recipe itself) at one seed."""
    one = study(GRID + SEARCH)
    assert len(one.runs) == 20
    assert {run.seed for run in one.runs} == {run.draw for run in one.runs} == {0}
    assert [drawn(one, cell) for cell in range(4)] == [drawn(one)] * 4
    for run, values in zip(one.runs[:5], drawn(one), strict=True):
        assert run.recipe == Recipe(**recipe_values("plain") | values)


def test_trial_0_is_the_run_of_a_study_without_search() -> None:
    """A run's id is the digest of what it is, whoever asks for it."""
    searched, without = study(GRID + SEARCH), study(GRID)
    assert searched.tuning is not None
    first = {cell.trials[0].runs[0].id for cell in searched.tuning.cells}
    assert first == {run.id for run in without.runs if run.seed == 0}


def test_no_trials_equal_a_study_without_search() -> None:
    none = SEARCH.replace("trials = 4", "trials = 0")
    assert study(GRID + none) == study(GRID)


def test_trials_are_measured_on_the_validation_part_alone() -> None:
    """Test accuracy of a trial is not even computed."""
    one = study("test_resolutions = [8, 16]\n" + GRID + SEARCH)
    for run in one.runs:
        assert one.evaluations[run.id] == [default_evaluation(run, "validation", run.resolution)]


GOLDEN = [
    {},
    {"learning_rate": 0.005523, "weight_decay": 0.003767},
    {"learning_rate": 0.003667, "weight_decay": 0.08939},
    {"learning_rate": 0.006247, "weight_decay": 0.0502},
    {"learning_rate": 0.0002642, "weight_decay": 0.08284},
]


def test_draws_are_these() -> None:
    """Golden: with other draws every finished search would be another."""
    assert drawn(study(GRID + SEARCH)) == GOLDEN


def test_a_hyper_parameter_that_is_added_moves_no_other() -> None:
    """Whatever its place in the table, and whatever else is drawn."""
    more = SEARCH.replace("draw = { ", 'draw = { drop_path = "0 .. 0.2", augmentation = ["plain", "strong"], ')
    for sampler in ("random", "halton"):
        text = f'{{}}\nsampler = "{sampler}"'
        few = drawn(study(GRID + SEARCH.replace("trials = 4", text.format("trials = 4"))))
        many = drawn(study(GRID + more.replace("trials = 4", text.format("trials = 4"))))
        assert [{name: trial[name] for name in of} for trial, of in zip(many, few, strict=True)] == few
        assert all(set(trial) - set(few[1]) == {"drop_path", "augmentation"} for trial in many[1:])


def test_more_trials_begin_with_the_same() -> None:
    more = study(GRID + SEARCH.replace("trials = 4", "trials = 9"))
    assert drawn(more)[:5] == GOLDEN


def test_a_model_may_have_a_space_of_its_own() -> None:
    """Beside the study's: another range, and none. What both draw alike has the same draws."""
    own = GRID + 'search = { weight_decay = "recipe", learning_rate = "log 1e-3 .. 1e-1" }\n' + SEARCH
    one = study(own)
    assert drawn(one, 0) == GOLDEN
    assert [set(trial) for trial in drawn(one, 2)[1:]] == [{"learning_rate"}] * 4
    for trial, of in zip(drawn(one, 2)[1:], GOLDEN[1:], strict=True):
        assert trial["learning_rate"] == pytest.approx(10 * of["learning_rate"], rel=1e-3)


def test_augmentation_is_that_of_a_recipe() -> None:
    """The rest of a run's recipe stays its own."""
    one = study(GRID + SEARCH.replace("draw = { ", 'draw = { augmentation = ["strong", "cct"], '))
    for run, values in zip(one.runs[1:5], drawn(one)[1:], strict=True):
        strong, recipe = recipe_values(values["augmentation"]), dict(run.recipe)
        assert {name: recipe[name] for name in AUGMENTATION} == {name: strong[name] for name in AUGMENTATION}
        assert recipe["label_smoothing"] == recipe_values("plain")["label_smoothing"]


def test_what_is_drawn_is_in_the_words_of_the_methods() -> None:
    """By hand: every range, and those of a model of its own; the seed that all trials share."""
    own = 'search = { weight_decay = "recipe", learning_rate = "log 1e-3 .. 1e-1", flip = [true, false] }\n'
    plan = study(GRID + own + SEARCH.replace("trials = 4", "trials = 4\nbudget = { share = 0.25 }")).tuning
    assert plan is not None
    assert (
        "4 settings were drawn (random) before any was trained, alike for each model and train size, beside the recipe "
        "as it is: learning rate by model from 0.0001 to 0.01 (log scale) or from 0.001 to 0.1 (log scale); weight "
        "decay by model from 0 to 0.2 or as the recipe; flip by model as the recipe or one of True, False. Each was "
        "trained with the same seed (0) and 25 % of the budget. Chosen on validation images alone: best mean"
    ) in plan.plan.words
    assert plan.plan.words.endswith(
        "What was chosen was trained with 2 fresh seeds and subsets, whose labels n counts: those of the search, 1 "
        "subset of its own train size, come on top."
    )


def test_drop_path_that_is_drawn_reaches_the_model() -> None:
    one = study(GRID + SEARCH.replace("draw = { ", 'draw = { drop_path = "0.1 .. 0.2", '))
    assert [run.options["drop_path"] for run in one.runs[1:5]] == [trial["drop_path"] for trial in drawn(one)[1:]]


def test_a_search_may_have_a_share_of_the_budget() -> None:
    """A quarter of 40 steps; what confirms has all of it."""
    one = study(GRID + SEARCH.replace("trials = 4", "trials = 4\nbudget = { share = 0.25 }"))
    assert {run.steps for run in one.runs} == {10}
    assert {run.steps for run in confirmed(one).runs} == {40}


def test_train_sizes_may_share_a_search() -> None:
    """At the largest of them, which has the most validation images; what it chooses is for all."""
    one = study(GRID + SEARCH.replace("trials = 4", 'trials = 4\nshare = "train_size"'))
    assert len(one.runs) == 10 and {run.train_size for run in one.runs} == {300}
    assert {run.train_size for run in confirmed(one).runs} == {100, 300}


def test_a_confirmation_has_fresh_seeds_and_subsets_and_all_evaluations() -> None:
    """The chosen setting, on no subset and with no seed that the search has seen."""
    one = study("test_resolutions = [8, 16]\n" + GRID + SEARCH)
    second = confirmed(one)
    assert len(second.runs) == 8 and {run.seed for run in second.runs} == {run.draw for run in second.runs} == {1, 2}
    assert {run.recipe.learning_rate for run in second.runs} == {GOLDEN[2]["learning_rate"]}
    without = study("test_resolutions = [8, 16]\n" + GRID)
    assert {one.part for one in second.evaluations[second.runs[0].id]} == {"test", "validation"}
    assert [second.evaluations[run.id] for run in second.runs][:1] == [without.evaluations[without.runs[0].id]]
    assert set(second.trials.values()) == {4}
    assert second.tuned.keys() == second.evaluations.keys()
    for one in second.tuned.values():
        assert (one.trial, one.recipe_keys) == (2, ("learning_rate", "weight_decay"))
        assert one.space == {"learning_rate": "log 0.0001 .. 0.01", "weight_decay": "0 .. 0.2"}


def test_what_is_not_chosen_yet_is_not_confirmed() -> None:
    one = study(GRID + SEARCH)
    assert one.tuning is not None
    assert confirmation(one, {}) is None
    some = confirmation(one, {one.tuning.cells[1].key: 0})
    assert some is not None and {(run.model, run.train_size) for run in some.runs} == {("vit", 300)}


@pytest.mark.parametrize(
    ("search", "confirm", "searching", "confirming"),
    [
        ("1", "2", (0,), (1, 2)),
        ("2", "3", (0, 1), (2, 3, 4)),
        ("[7]", "3", (7,), (0, 1, 2)),
        ("1", "[9, 8]", (0,), (9, 8)),
    ],
)
def test_seeds(search: str, confirm: str, searching: tuple[int, ...], confirming: tuple[int, ...]) -> None:
    """The study's own first, each once, then those that follow."""
    both = SEARCH.replace("seeds = 2", f"seeds = {confirm}").replace("trials = 4", f"trials = 4\nseeds = {search}")
    plan = study(GRID + both).tuning
    assert plan is not None and (plan.plan.search_seeds, plan.plan.confirm_seeds) == (searching, confirming)


def test_ranges() -> None:
    """Ends, and the middle of a logarithmic scale, by hand."""
    assert [Range(1e-4, 1e-2, log=True).at(place) for place in (0.0, 0.5, 1.0)] == [1e-4, 1e-3, 1e-2]
    assert [Range(0.0, 0.2).at(place) for place in (0.0, 0.5)] == [0.0, 0.1]
    assert [Range(1, 3, whole=True).at(place) for place in (0.0, 0.34, 0.67, 1 - 2**-53)] == [1, 2, 3, 3]
    assert [Choice(("a", "b")).at(place) for place in (0.0, 0.49, 0.5, 1 - 2**-53)] == ["a", "a", "b", "b"]
    assert Range(1e-4, 1e-2, log=True).place(1e-3) == pytest.approx(0.5)


def test_every_hyper_parameter_has_a_base_of_its_own() -> None:
    """Two sequences in one base would be correlated; a base is a prime."""
    assert set(BASES) == set(HYPERPARAMETERS) and len(set(BASES.values())) == len(BASES)
    assert (BASES["schedule"], BASES["cutmix"], BASES["trained"]) == (41, 137, 139)  # golden: a new key moves none
    assert all(all(base % smaller for smaller in range(2, base)) for base in BASES.values())


@pytest.mark.parametrize("name", ["learning_rate", "augmentation", "cutmix"])
def test_halton_points(name: str) -> None:
    """Reference: scipy's van der Corput sequence with the same permutations of its digits."""
    base = BASES[name]
    digits = int(np.ceil(53 / np.log2(base)))
    permutations = np.array([permutation(key(0, f"halton {name}", 1, digit), base) for digit in range(digits)])
    expected = van_der_corput(40, base, scramble=True, permutations=permutations)
    np.testing.assert_allclose([_halton(name, 1, place) for place in range(40)], expected, atol=1e-14)


def test_halton_points_are_more_even_than_random_ones() -> None:
    """Of 2^k points in base 2 each 2^-k of the line has one; searches are scrambled each by itself."""
    points = np.array([_halton("learning_rate", 0, place) for place in range(16)])
    assert sorted((16 * points).astype(int)) == list(range(16))
    assert set(points) != {_halton("learning_rate", 1, place) for place in range(16)}
    random = np.array([_random("learning_rate", trial) for trial in range(1, 4001)])
    assert abs(random.mean() - 0.5) < 4 / np.sqrt(12 * 4000)


def test_the_best_validation_accuracy_is_chosen() -> None:
    """Means over seeds; ties go to the earlier trial; a trial of which a seed diverged cannot be chosen."""
    rule = RULES["last_validation"]
    assert rule.choose({0: [0.5, 0.7], 1: [0.65, 0.6], 2: None, 3: [0.625, 0.625]}) == 1
    assert rule.choose({0: [0.5], 1: [0.5]}) == 0
    assert rule.choose({0: None}) is None
    assert rule.choose({0: [0.15, 0.15], 1: [0.1, 0.2]}) == 0  # in floats the second mean is larger


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("1e-4 .. 1e-2", "1e-2 .. 1e-4", r'search.draw.learning_rate: .*upside down: write "log 0.0001 .. 0.01"'),
        ("log 1e-4", "log 0", "search.draw.learning_rate: .*logarithm of 0 .*begin above 0"),
        ("learning_rate", "learning_rat", "search.draw.learning_rat: unknown; did you mean `learning_rate`"),
        ("trials = 4", "trials = 4\nstudys = 2", "search.studys: unknown; did you mean `studies`"),
        ("seeds = 2", "seed = 2", "confirm.seed: unknown; did you mean `seeds`"),
        ("trials = 4", "trials = 4\nstudies = 8", "search.studies: 8 searches of 4 trials: at most 4"),
        ("trials = 4", "trials = 4\nstudies = 3", "search.studies: 4 trials are not 3 equal searches; .* is 2"),
        ("seeds = 2", "seeds = [1, 0]", "confirm.seeds: 0 was used in the search: .* fresh seeds, such as 3"),
        ("trials = 4", "", "search.trials: is required"),
        ("trials = 4", "trials = 4\nrule = 'last_validatio'", "did you mean `last_validation`"),
        ("trials = 4", "trials = 4\nsampler = 'sobol'", "search.sampler: 'sobol'"),
        ('"0 .. 0.2"', '"0 to 0.2"', "search.draw.weight_decay: .*neither a range"),
        ('"0 .. 0.2"', '"0.1 .. 0.1"', "search.draw.weight_decay: .* is one value: recipe.weight_decay = 0.1"),
        ('"0 .. 0.2"', '"-1 .. 0.2"', "search.draw.weight_decay: -1.0 should be greater"),
        ('"0 .. 0.2"', "[0.1]", "search.draw.weight_decay: .* is one value: recipe.weight_decay says that"),
        ("trials = 4", "trials = 1001", "search.trials: 1001 should be less than or equal to 1000"),
        ("seeds = 2", "seeds = 1001", "confirm.seeds: 1001: from 1 to 1000, or a list of seeds"),
        ("seed = [0, 1, 2]", 'seed = "a"', "seed: 'a' is neither a whole number from 0 on nor a list of them"),
        ("seed = [0, 1, 2]", "seed = [0, true]", "seed: .* is neither a whole number"),
        ("seed = [0, 1, 2]", "seed = []", "seed: .* is neither a whole number"),
        ("seed = [0, 1, 2]", "seed = [0, 1, 1]", "seed: .* each once"),
        ("weight_decay", "flip", "search.draw.flip: .*flip is no number: a list of values"),
        ('weight_decay = "0 .. 0.2"', 'augmentation = ["strng"]', "search.draw.augmentation: .*did you mean `strong`"),
        ('weight_decay = "0 .. 0.2"', 'batch_size = "8 .. 12.5"', "search.draw.batch_size: .*whole number"),
        ("budget = { steps = 40 }", "draw = 3", "draw: a search and its confirmation have subsets of their own"),
        ("budget = { steps = 40 }", "trials = 3", "trials: is what .search. says"),
        ("budget = { steps = 40 }", "validation = 0", "validation: is 0, and .search. chooses on the validation part"),
        ('name = "vit"', 'name = "vit"\nseed = 3', r"models\[0\].seed: one for all models"),
        ('name = "vit"', 'name = "vit"\nsearch = { learning = 1 }', r"models\[0\].search.learning: unknown"),
        ("[search]", "[searches]", "searches: unknown; did you mean `search`"),
        ("trials = 4", "trials = 4\nbudget = { share = 2 }", "search.budget.share: 2 "),
    ],
)
def test_what_is_wrong_is_refused_with_its_place(old: str, new: str, error: str) -> None:
    text = (GRID + SEARCH).replace(old, new, 1)
    assert text != GRID + SEARCH
    with pytest.raises(ConfigError, match=error):
        study(text)


def test_a_search_that_makes_no_difference_to_a_model_is_refused() -> None:
    """Equal trials of a network without drop path would be one trial, many times."""
    text = GRID.replace('name = "resnet"', 'name = "simple_cnn"') + SEARCH
    nothing = text.replace('learning_rate = "log 1e-4 .. 1e-2", weight_decay', "drop_path")
    with pytest.raises(ConfigError, match=r"search.draw: draws nothing that makes a difference to models\[1\]"):
        study(nothing)
    table = 'learning_rate = "log 1e-4 .. 1e-2", weight_decay = "0 .. 0.2"'
    study(GRID + SEARCH.replace(table, 'final_learning_rate = "0.01 .. 0.2"'))  # of a cosine, which has an end
    with pytest.raises(ConfigError, match=r"models\[0\]: it has no use for momentum"):  # the recipe is AdamW's
        study(GRID + SEARCH.replace(table, 'momentum = "0.8 .. 0.95"'))


@pytest.mark.parametrize(
    ("draw", "other"),
    [
        ("randaugment_magnitude = [1, 5, 9]", "randaugment_operations = [0, 2]"),
        ("rrc_ratio = [1.0, 2.0]", 'rrc_scale = "0.2 .. 0.9"'),
        ('crop_fill = ["zero", "reflect"]', "crop_padding = [0, 2]"),
        ("jitter_hue = [0.0, 0.1]", ""),  # digits are grey
        ("jitter_saturation = [0.0, 0.1]", ""),
        ("flip = [true, false]", ""),  # and mirrored they are others
        ('flip_order = ["random", "alternating"]', ""),
    ],
)
def test_what_nothing_switches_on_is_no_difference(draw: str, other: str) -> None:
    """So many trials of one training under as many ids are refused, unless what switches it on is drawn."""
    table = 'learning_rate = "log 1e-4 .. 1e-2", weight_decay = "0 .. 0.2"'
    grid = GRID.replace('recipe = "plain"', 'recipe = "none"')
    with pytest.raises(ConfigError, match=rf"it has no use for {draw.split()[0]}"):
        study(grid + SEARCH.replace(table, draw))
    if other:
        study(grid + SEARCH.replace(table, f"{draw}, {other}"))


def test_what_is_drawn_can_be_no_axis_as_well() -> None:
    """Cells that differ in a drawn key alone have the same trials, and what confirms them could not be told apart."""
    both = GRID.replace('recipe = "plain"', 'recipe = { name = "plain", learning_rate = [1e-3, 1e-2] }') + SEARCH
    with pytest.raises(
        ConfigError, match=r"search.draw: decides all that tells two cells apart .*learning_rate.* list"
    ):
        study(both)
    other = GRID.replace('recipe = "plain"', 'recipe = { name = "plain", label_smoothing = [0.0, 0.1] }') + SEARCH
    assert len(study(other).runs) == 40


def test_a_confirmation_without_a_search_is_refused() -> None:
    with pytest.raises(ConfigError, match="confirm: confirms a search, and there is none"):
        study(GRID + "[confirm]\nseeds = 2\n")


def test_the_plan_says_what_bands_say_of_one_model_and_of_several() -> None:
    """With 24 trials of the best of 3 (arXiv 2311.09480), but of two models at 97.5 % each, as the page compares them,
    of the best of 2: the largest k whose 0.5^(1/k) is not above the low end of the top interval, by hand."""
    words = _search_words(study(GRID + SEARCH.replace("trials = 4", "trials = 24")))
    top = [float(places_of_trials(24, level)[0][-1]) for level in (0.95, 0.975)]
    assert [0.5 ** (1 / 3) <= top[0] < 0.5 ** (1 / 4), 0.5 ** (1 / 2) <= top[1] < 0.5 ** (1 / 3)] == [True, True]
    assert words.endswith("about the best of up to 3 trials; of 2 models compared, about the best of up to 2 trials")
