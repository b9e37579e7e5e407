"""Studies: axes multiply, arms pair, and what is wrong is refused with file, key and nearest match."""

import tomllib
from pathlib import Path

import pytest

import models
from benchmarks.errors import ConfigError
from benchmarks.plan.recipes import recipe_values
from benchmarks.plan.run import Run, make_run
from benchmarks.plan.study import FOLDER, Study, check_name, expand, load_study, single, study_names
from models import Scalar


def study(text: str) -> Study:
    return expand(tomllib.loads(text), "test")


def values(one: Study, name: str) -> list[object]:
    return [getattr(run, name) for run in one.runs]


VIT = '[[models]]\nname = "vit"\n'


def test_axes_multiply() -> None:
    """Reference: counted by hand: 2 sizes x 2 train sizes x 3 seeds x (1 + 2 positions x 2 depths) = 60."""
    one = study("""
        size = ["pico", "nano"]
        train_size = [100, 300]
        seed = [0, 1, 2]
        [[models]]
        name = "resnet"
        [[models]]
        name = "vit"
        position = ["none", "learned_1d"]
        depth = [2, 3]
    """)
    assert len(one.runs) == len({run.id for run in one.runs}) == 60
    vits = [run for run in one.runs if run.model == "vit" and run.size == "pico"]
    assert {(run.position, run.options["depth"], run.train_size, run.seed) for run in vits} == {
        (position, depth, n, seed)
        for position in ("none", "learned_1d")
        for depth in (2, 3)
        for n in (100, 300)
        for seed in (0, 1, 2)
    }


def test_a_study_of_one_run_is_that_run() -> None:
    """A study and `inductive train` must mean the same run by the same words."""
    one = study('recipe = "plain"\nbudget = { epochs = 2 }\ntrain_size = 500\n' + VIT + 'position = "none"')
    run = make_run(
        {"recipe": "plain", "budget": {"epochs": 2}, "train_size": 500, "options": {"position": "none"}, "model": "vit"}
    )
    assert one.runs == (run,)


def test_draw_follows_the_seed_or_is_crossed_with_it() -> None:
    """Draw = seed by default; a study that varies both must get every pair."""
    assert [(run.draw, run.seed) for run in study("seed = [0, 1, 2]\n" + VIT).runs] == [(0, 0), (1, 1), (2, 2)]
    crossed = study("seed = [0, 1]\ndraw = [0, 1, 2]\n" + VIT)
    assert {(run.draw, run.seed) for run in crossed.runs} == {(d, s) for d in (0, 1, 2) for s in (0, 1)}


def test_a_field_that_is_a_sequence_takes_a_list_of_lists() -> None:
    """`betas = [0.9, 0.95]` is one value; as an axis it would be two wrong ones."""
    once = study("recipe = { betas = [0.8, 0.95] }\n" + VIT)
    assert [run.recipe.betas for run in once.runs] == [(0.8, 0.95)]
    axis = study("recipe = { betas = [[0.8, 0.95], [0.9, 0.99]], learning_rate = [1e-3, 1e-2] }\n" + VIT)
    assert [(run.recipe.betas, run.recipe.learning_rate) for run in axis.runs] == [
        ((0.8, 0.95), 1e-3),
        ((0.8, 0.95), 1e-2),
        ((0.9, 0.99), 1e-3),
        ((0.9, 0.99), 1e-2),
    ]


def test_recipes_and_budgets_are_axes_whole_or_by_number() -> None:
    """Reference: the runs written out."""
    one = study('recipe = ["none", { name = "plain", flip = false }]\nbudget = [{ steps = 5 }, { epochs = 1 }]\n' + VIT)
    assert [(run.recipe.name, run.recipe.flip, run.budget.kind) for run in one.runs] == [
        ("none", False, "steps"),
        ("none", False, "epochs"),
        ("plain", False, "steps"),
        ("plain", False, "epochs"),
    ]
    assert values(study("budget = { steps = [5, 6] }\n" + VIT), "steps") == [5, 6]


def test_arms_pair_what_must_not_be_multiplied() -> None:
    """A data set goes with its resolution; multiplied, digits would be trained at 32 px and CIFAR-10 at 8."""
    one = study(f"""
        seed = [0, 1]
        {VIT}
        [[arms]]
        dataset = "digits"
        resolution = 8
        test_resolutions = [4, 8]
        [[arms]]
        dataset = "cifar10"
        resolution = 32
        test_resolutions = [32, 64]
    """)
    assert [(run.dataset, run.resolution, run.seed) for run in one.runs] == [
        ("digits", 8, 0),
        ("digits", 8, 1),
        ("cifar10", 32, 0),
        ("cifar10", 32, 1),
    ]
    assert one.test_resolutions == (4, 8, 32, 64)
    for run in one.runs:
        expected = {4, 8} if run.dataset == "digits" else {32, 64}
        assert {evaluation.resolution for evaluation in one.evaluations[run.id]} == expected


def test_an_arm_is_over_the_study_and_a_model_over_both() -> None:
    """The nearer word wins; changes to a recipe add up unless another recipe is named."""
    one = study("""
        train_size = 300
        recipe = { name = "plain", learning_rate = 0.01 }
        [[models]]
        name = "vit"
        train_size = [100, 200]
        recipe = { weight_decay = 0.1 }
        [[models]]
        name = "resnet"
        recipe = "none"
        [[arms]]
        train_size = 400
        recipe = { batch_size = 32, learning_rate = 0.02 }
    """)
    assert values(one, "train_size") == [100, 200, 400]
    vit, resnet = one.runs[0].recipe, one.runs[-1].recipe
    assert (vit.name, vit.learning_rate, vit.batch_size, vit.weight_decay) == ("plain", 0.02, 32, 0.1)
    assert dict(resnet) == recipe_values("none")


def test_an_arm_may_cross_recipes_with_changes() -> None:
    """A change over an axis of recipes changes each of them."""
    one = study('recipe = ["none", "plain"]\n' + VIT + "[[arms]]\nrecipe = { learning_rate = 0.01 }")
    assert [(run.recipe.name, run.recipe.learning_rate) for run in one.runs] == [("none", 0.01), ("plain", 0.01)]


def test_options_of_an_encoding_are_options_of_the_model() -> None:
    """Any model option may be set; those of an encoding are no exception, and only it may have them."""
    one = study('[[models]]\nname = "vit"\nposition = "rope_axial"\nrope_base = [10, 100.0]')
    assert [run.options["rope_base"] for run in one.runs] == [10.0, 100.0]
    with pytest.raises(ConfigError, match=r"models\[0\].*`rope_base` belongs to position rope_axial"):
        study('[[models]]\nname = "vit"\nposition = "none"\nrope_base = 10')


def test_duplicates_are_merged() -> None:
    """The same run by two ways is trained once, and evaluated wherever either way wants it."""
    one = study(f"""
        {VIT}
        [[models]]
        name = "vit"
        position = ["learned_1d", "none"]
        [[arms]]
        test_resolutions = [8]
        [[arms]]
        test_resolutions = [8, 12]
    """)
    assert values(one, "position") == ["learned_1d", "none"]
    wanted = one.evaluations[one.runs[0].id]
    assert [(e.part, e.resolution) for e in wanted] == [
        ("test", 8),
        ("validation", 8),
        ("test", 12),
        ("validation", 12),
    ]


def test_tuning_trials_are_stated_beside_the_run() -> None:
    """Reference: typed in by hand: the model's number over the arm's over the study's; ids as without any; a table that
    states none leaves what another states of the same run."""
    models = VIT + '[[models]]\nname = "resnet"\ntrials = 50\n[[models]]\nname = "mlp"\ntrain_size = 300\n'
    arms = "[[arms]]\n[[arms]]\ndraw = 7\ntrials = 0\n"
    one, plain = study("trials = 9\n" + models + arms), study(models.replace("trials = 50", "") + arms.replace(
        "trials = 0", ""))  # fmt: skip
    assert [run.id for run in one.runs] == [run.id for run in plain.runs]
    assert [run.settings() for run in one.runs] == [run.settings() for run in plain.runs]
    assert plain.trials == {}
    stated = {(run.model, run.draw): one.trials[run.id] for run in one.runs}
    assert stated == {
        **{("vit", 0): 9, ("resnet", 0): 50, ("mlp", 0): 9},
        **{("vit", 7): 0, ("resnet", 7): 50, ("mlp", 7): 0},
    }
    twice = study(VIT + "trials = 3\n" + VIT)
    assert twice.trials == {twice.runs[0].id: 3}


def test_test_resolutions_change_no_id() -> None:
    """A resolution added later must find the finished runs and only evaluate them."""
    ids = [{run.id for run in study(f"test_resolutions = {r}\n" + VIT).runs} for r in ([], [8], [4, 16], 12)]
    assert all(one == ids[0] for one in ids)


def test_every_run_is_evaluated_on_test_and_validation_at_every_resolution() -> None:
    """What is chosen is chosen on validation; without a validation part there is nothing to evaluate there."""
    one = study("test_resolutions = [12, 4, 4]\nvalidation = [0.2, 0]\n" + VIT)
    by_run = [[(e.part, e.resolution) for e in one.evaluations[run.id]] for run in one.runs]
    assert by_run == [
        [("test", 4), ("test", 12), ("validation", 4), ("validation", 12)],
        [("test", 4), ("test", 12)],
    ]
    assert {e.resolution for e in study(VIT).evaluations[study(VIT).runs[0].id]} == {8}


def test_impossible_cells_are_refused_or_left_out_with_their_reasons() -> None:
    """The rule: refused with the reason, or left out when the study says so, and then listed."""
    text = "train_size = [100, 2000]\nresolution = [8, 9]\n" + VIT
    with pytest.raises(ConfigError, match=r"^resolution \(with models\[0\]: vit .*\): .* nearest 8, 10$"):
        study(text)
    one = study('invalid = "leave_out"\n' + text)
    assert [(run.train_size, run.resolution) for run in one.runs] == [(100, 8)]
    assert len(one.left_out) == 3
    assert [why.split(":")[0] for _, why in one.left_out] == ["resolution", "train_size", "train_size"]
    assert [what for what, _ in one.left_out] == [
        "vit train_size 100 resolution 9",
        "vit train_size 2000 resolution 8",
        "vit train_size 2000 resolution 9",
    ]
    assert "largest possible is 1,200" in one.left_out[1][1]


SINCOS = 'name = "vit"\nposition = ["none", "sincos_2d"]\nwidth = 62\nheads = 2'
KERNELS = 'name = "ladder"\nsize = "nano"\nmixer = "locally_connected"\nkernel = 7\nkernels = [1, 64]'


@pytest.mark.parametrize(
    ("model", "left", "why"),
    [
        (
            'name = "vit"\nwidth = 60\nheads = [3, 7]',
            ("heads", 3),
            "options: model vit: width 60 is not divisible by 7",
        ),
        (SINCOS, ("position", "none"), "options: model vit: position sincos_2d needs a width divisible by 4, not 62"),
        ('name = "resnet"\nscale = 224\nsize = ["pico", "nano"]', ("size", "nano"), "no size 'pico' at scale 224"),
        (KERNELS, ("kernels", 1), "mixer locally_connected alone outgrows the ViT's block"),
    ],
)
def test_options_that_are_not_possible_together_are_left_out(model: str, left: tuple[str, Scalar], why: str) -> None:
    """Each value is allowed. Reference: the cell that is possible, by hand; refused as a rule, with the same words."""
    text = f"[[models]]\n{model}"
    with pytest.raises(ConfigError, match=why.removeprefix("options: ")):
        study(text)
    one = study('invalid = "leave_out"\n' + text)
    assert [{**run.options, "size": run.size}[left[0]] for run in one.runs] == [left[1]]
    [(_, reason)] = one.left_out
    assert why in reason


def test_an_impossible_test_resolution_is_named_as_such() -> None:
    """What breaks otherwise: the user looks for a training resolution that is right."""
    with pytest.raises(ConfigError, match=r"^test_resolutions \(with models\[0\]: vit\): .*image 9 is not divisible"):
        study("test_resolutions = [8, 9]\n" + VIT)
    one = study('invalid = "leave_out"\ntest_resolutions = [8, 9]\n[[models]]\nname = "resnet"\n' + VIT)
    assert values(one, "model") == ["resnet", "vit"]  # the run stays; only that evaluation of it is left out
    assert {run.model: {e.resolution for e in one.evaluations[run.id]} for run in one.runs} == {
        "resnet": {8, 9},
        "vit": {8},
    }
    assert [what for what, _ in one.left_out] == ["vit, evaluation at 9"]


@pytest.mark.parametrize(
    "wrong",
    [
        'train_size = [100, "many"]',
        "resolution = [8, -8]",
        'recipe = ["none", "plian"]',
        'size = ["nano", "nanoo"]',
        "seed = [0, true]",
        '[[models]]\nname = "coatnet"\nstrides = ["1-1-2-2-2", "1-1-2-2-4"]',
        '[[models]]\nname = "timm:resnet18"\nweights = "library:a1_inn1k"',
    ],
)
def test_a_slip_is_never_left_out(wrong: str) -> None:
    """`leave_out` is for cells that cannot be; a typing error must not make a study silently smaller."""
    with pytest.raises(ConfigError):
        study(f'invalid = "leave_out"\n{wrong}\n' + VIT)


def test_a_study_without_runs_says_so() -> None:
    """What breaks otherwise: an empty plan and an empty page."""
    with pytest.raises(ConfigError, match=r"^models: the study has no runs left$"):
        study('invalid = "leave_out"\nresolution = 9\n' + VIT)
    with pytest.raises(ConfigError, match=r"^arms: is an empty list$"):
        study("arms = []\n" + VIT)


def test_the_message_of_a_slip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: the agreed form, word for word: file, key with the table it stands in, nearest match."""
    monkeypatch.chdir(tmp_path)
    Path("studies").mkdir()
    Path("studies/x.toml").write_text('[[models]]\nname = "resnet"\n[[models]]\nname = "vit"\npositon = "none"\n')
    with pytest.raises(ConfigError) as refusal:
        load_study("studies/x.toml")
    assert str(refusal.value) == "studies/x.toml: models[1].positon: unknown; did you mean `position`?"


WRONG: list[tuple[str, str]] = [
    ("", "models: is required: at least one [[models]] table with a `name`"),
    ('models = ["vit"]', "models: is not a list of tables: write [[models]]"),
    ('[models]\nname = "vit"', "models: is not a list of tables: write [[models]]"),
    ('arms = "plain"\n' + VIT, "arms: is not a list of tables: write [[arms]]"),
    ("[[models]]\nsize = 'nano'", "models[0].name: is required: vit, "),
    ("[[models]]\nname = 'vitt'", "models[0].name: no model 'vitt'; allowed: vit, "),
    ("[[models]]\nname = ['vit']", "models[0].name: is required: vit, "),
    (VIT + "test_resolutions = [8.5]", "models[0].test_resolutions: 8.5 is not a number of pixels"),
    ("trian_size = 100\n" + VIT, "trian_size: unknown; did you mean `train_size`?"),
    ("model = 'vit'\n" + VIT, "model: unknown; did you mean `models`?"),
    ("protocol = 1\n" + VIT, "protocol: unknown"),
    (VIT + "[[arms]]\nseeed = 1", "arms[0].seeed: unknown; did you mean `seed`?"),
    (VIT + "[[arms]]\nposition = 'none'", "arms[0].position: belongs in a [[models]] table"),
    ("positon = 'none'\n" + VIT, "positon: unknown; did you mean `position`? It belongs in a [[models]] table"),
    ("learning_rate = 1\n" + VIT, "learning_rate: belongs under recipe: recipe = { learning_rate = ... }"),
    (
        VIT + "weight_deacy = 1",
        "models[0].weight_deacy: unknown; did you mean `weight_decay`? It belongs under ",
    ),
    ("recipe.lr = 1e-3\n" + VIT, "recipe.lr: unknown; did you mean `learning_rate`?"),
    ("lr = 1e-3\n" + VIT, "lr: unknown; did you mean `learning_rate`? It belongs under recipe: recipe = { learning_"),
    ("recipe.seed = 1\n" + VIT, "recipe.seed: belongs beside recipe, not in it"),
    ("epochs = 3\n" + VIT, "epochs: belongs under budget: budget = { epochs = ... }"),
    ("crop = 0.5\n" + VIT, "crop: belongs in an [[evaluations]] table"),
    (VIT + "question = 'Which?'", "models[0].question: belongs at the top of the file, before the tables"),
    ("seed = [0, 1, 0]\n" + VIT, "seed: 0 stands twice in the list"),
    ("recipe = { clip = [1.0, 1.0] }\n" + VIT, "recipe.clip: 1.0 stands twice in the list"),
    (VIT + "position = ['none', 'none']", "models[0].position: 'none' stands twice in the list"),
    (VIT + "[[arms]]\ntrain_size = [100, 100]", "arms[0].train_size: 100 stands twice in the list"),
    (VIT + VIT, "models[1]: is models[0] again: it has the same runs; remove one, or say how they differ"),
    (VIT + VIT + "position = 'learned_1d'", "models[1]: is models[0] again"),
    (VIT + "[[arms]]\nseed = [0, 1]\n[[arms]]\nseed = [1, 0]", "arms[1]: is arms[0] again"),
    ("question = 3\n" + VIT, "question: 3 is not a text"),
    ("invalid = 'left_out'\n" + VIT, "invalid: 'left_out' is not one of refuse, leave_out; did you mean `leave_out`"),
    ("predictions = 'logit'\n" + VIT, "predictions: 'logit' is not one of auto, logits, top5, classes, none; did"),
    ("starved_below = 99\n" + VIT, "starved_below: 99 is not a share between 0 and 1"),
    ("starved_below = true\n" + VIT, "starved_below: True is not a share between 0 and 1"),
    ("test_resolutions = [8, '12']\n" + VIT, "test_resolutions: '12' is not a number of pixels"),
    ("test_resolutions = [8.0]\n" + VIT, "test_resolutions: 8.0 is not a number of pixels"),
    ("test_resolutions = true\n" + VIT, "test_resolutions: True is not a number of pixels"),
    ("trials = [1, 2]\n" + VIT, "trials: a list is no axis here: one number of configurations tried in tuning; 0 for"),
    (VIT + "trials = -1", "models[0].trials: -1 is not a whole number from 0 on: one number of configurations tried"),
    (VIT + "[[arms]]\ntrials = true", "arms[0].trials: True is not a whole number from 0 on"),
    ("trials = 'fifty'\n" + VIT, "trials: 'fifty' is not a whole number from 0 on"),
    ("trials = 2.0\n" + VIT, "trials: 2.0 is not a whole number from 0 on"),
    ("trial = 2\n" + VIT, "trial: unknown; did you mean `trials`?"),
    (
        VIT + "trials = 1\n" + VIT + "trials = 2",
        "models[1].trials: is 2 here and 1 elsewhere in the study, for one and ",
    ),
    ("seed = []\n" + VIT, "seed: is an empty list: an axis needs a value"),
    ("seed = [[0, 1]]\n" + VIT, "seed: [0, 1] should be a valid integer"),
    ("seed = [0, true]\n" + VIT, "seed: True should be a valid integer"),
    ("train_size = 100.5\n" + VIT, "train_size (with models[0]: vit train_size 100.5): 100.5 should be a valid"),
    ("dataset = 1979-05-27\n" + VIT, "dataset: datetime.date(1979, 5, 27) is not a string"),
    (
        "dataset = ['digits', 'cifar']\n" + VIT,
        "dataset: unknown data set 'cifar'; there are digits, digits_shuffled_labels, ",
    ),
    ("recipe = 'plian'\n" + VIT, "recipe: unknown recipe 'plian'; there are "),
    ("recipe = { lerning_rate = 1 }\n" + VIT, "recipe.lerning_rate: unknown; did you mean `learning_rate`?"),
    ("recipe = { learning_rate = [1e-3, 'x'] }\n" + VIT, "recipe.learning_rate: 'x' should be a valid number"),
    ("recipe = { learning_rate = inf }\n" + VIT, "recipe.learning_rate: inf should be a finite number"),
    ("budget = { steps = 5, epochs = 5 }\n" + VIT, "budget: needs exactly one of steps, epochs, images; there are 2"),
    ("budget = 5\n" + VIT, "budget: 5 is not a table"),
    ("size = 'nanoo'\n" + VIT, "size (with models[0]: vit size nanoo): model vit: no size 'nanoo'; allowed: "),
    (VIT + "position = 'rope_axal'", "models[0].position: model vit: option `position` is 'rope_axal'; allowed: "),
    (VIT + "heads = 5", "models[0]: model vit: width 64 is not divisible by 5 heads"),
    (VIT + "depth = [2, 2.5]", "models[0].depth: model vit: option `depth` is 2.5, not of type int"),
    (VIT + "mlp_ratio = inf", "models[0].mlp_ratio: inf is not a finite number"),
    ("train_size = 30\n" + VIT, "train_size (with models[0]: vit train_size 30): 30 leaves the validation part "),
    ("validation = 5\n" + VIT, "validation (with models[0]: vit): 5 images of oracle validation leave some class out"),
    ("seed = 0\nseed = 1", "not TOML: "),
]


@pytest.mark.parametrize(("text", "expected"), WRONG)
def test_wrong_studies_are_refused_with_file_and_key(text: str, expected: str, tmp_path: Path) -> None:
    """The error is the interface: file, key, what is allowed, nearest match, before anything runs."""
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refusal:
        load_study(str(path))
    assert str(refusal.value).startswith(f"{path}: {expected}")


def test_a_study_that_is_not_there_or_not_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in a name is met with the nearest, in a path with the path, the name of one's own file with it."""
    monkeypatch.chdir(tmp_path)
    Path("pets.toml").touch()
    with pytest.raises(ConfigError, match=r"^unknown study 'pets'; did you mean the file `pets.toml`\?$"):
        load_study("pets")
    with pytest.raises(ConfigError, match=r"unknown study 'quickstrat'; there are .*did you mean `quickstart`\?$"):
        load_study("quickstrat")
    for name in ("folder:my/pets", "drawn:where-32", "imagenette", "digits"):
        with pytest.raises(
            ConfigError, match=f"^'{name}' is a data set and no study: `inductive prepare --dataset {name}`"
        ):
            load_study(name)
    with pytest.raises(ConfigError, match=r"^studies/none\.toml: there is no such file$"):
        load_study("studies/none.toml")
    (tmp_path / "x.toml").write_bytes(b"question = '\xff'")
    with pytest.raises(ConfigError, match="not TOML"):
        load_study(str(tmp_path / "x.toml"))


def test_single_evaluates_at_home() -> None:
    """`inductive train` measures its one run on both parts, at the training resolution."""
    run = make_run({"resolution": 12})
    one = single(run)
    assert one.runs == (run,)
    assert [(e.part, e.resolution, e.carry) for e in one.evaluations[run.id]] == [
        ("test", 12, "-"),
        ("validation", 12, "-"),
    ]


@pytest.mark.parametrize("name", study_names())
@pytest.mark.usefixtures("imagenet")
def test_shipped_studies(name: str) -> None:
    """A study loads, is short, and says question, cost and expectation first."""
    one = load_study(name)
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 50
    assert lines[0].startswith("# ")
    keys = [line.split(" = ")[0] for line in lines if " = " in line]
    assert keys[:3] == ["question", "cost", "expect"]
    assert one.question.endswith("?")
    assert one.cost
    assert one.expect
    assert not one.left_out
    assert all(one.evaluations[run.id] for run in one.runs)
    assert f"{len(one.runs)} runs" in one.cost


def cells(one: Study) -> set[tuple[str, str]]:
    return {(run.model, run.position) for run in one.runs}


def common(one: Study) -> set[tuple[int, int]]:
    return {(run.draw, run.seed) for run in one.runs}


def test_quickstart_is_what_was_asked_for() -> None:
    """Reference: the plan: nine models, at least three sizes, one resolution, at least four for tests, three seeds."""
    one = load_study("quickstart")
    positions = ("none", "learned_1d", "learned_2d", "relative_1d", "sincos_2d", "rope_axial")
    assert {("resnet", "-"), ("swin", "-"), *(("vit", position) for position in positions)} < cells(one)
    assert len(cells(one)) == 9
    assert set(values(one, "dataset")) == {"digits"}
    assert len(set(values(one, "train_size"))) >= 3
    assert len(set(values(one, "resolution"))) == 1
    assert len(one.test_resolutions) >= 4
    assert common(one) == {(0, 0), (1, 1), (2, 2)}
    assert len(one.runs) == 81


def test_course_mnist_is_the_courses_exercise() -> None:
    """Reference: the course: Adam 1e-3, ten epochs of all 60,000 images in batches of 32, hidden widths 128 and 64."""
    runs = load_study("course-mnist").runs
    assert {(run.model, run.size, run.dataset, run.resolution) for run in runs} == {
        ("attention_mlp", "course", "mnist", 28)
    }
    assert {(run.part_sizes, run.steps, run.recipe.batch_size) for run in runs} == {((60_000, 0), 18_750, 32)}
    assert {(run.recipe.optimizer, run.recipe.learning_rate, run.recipe.schedule) for run in runs} == {
        ("adam", 1e-3, "constant")
    }
    assert {run.options["widths"] for run in runs} == {"128-64"}


def test_course_cifar_long_is_the_courses_exercise() -> None:
    """Reference: the course: patch 8, width 64, 2 heads, 2 layers, MLP 128, dropout 0.1, 2-D sinusoids, Adam 1e-3, 100
    epochs of all 50,000 images without augmentation. Its losses are of the first seven: 7 x 50,000 / 1,024 steps."""
    runs = load_study("course-cifar-long").runs
    assert {(run.model, run.dataset, run.resolution, run.part_sizes) for run in runs} == {
        ("course_vit", "cifar10", 32, (50_000, 0))
    }
    assert {(run.steps, run.seed) for run in runs} == {(steps, seed) for steps in (342, 4883) for seed in (0, 1, 2)}
    course = {"patch_size": 8, "width": 64, "heads": 2, "depth": 2, "mlp_ratio": 2.0, "dropout": 0.1}
    assert all(run.options == {**course, "position": "sincos_2d_sum"} for run in runs)
    assert {(run.recipe.optimizer, run.recipe.learning_rate, run.recipe.schedule) for run in runs} == {
        ("adam", 1e-3, "constant")
    }
    assert not any(run.recipe.flip or run.recipe.crop_padding for run in runs)


def test_course_cifar_short_has_a_validation_part() -> None:
    """Reference: the course: a small ViT, whose accuracy is measured on validation images."""
    runs = load_study("course-cifar-short").runs
    assert {(run.model, run.size, run.dataset, run.part_sizes) for run in runs} == {
        ("vit", "pico", "cifar10", (45_000, 5_000))
    }


def test_speed_is_all_of_cifar_in_ten_epochs() -> None:
    """Reference: the published training, 50,000 images in batches of 1,024; mirror images in the test."""
    one = load_study("speed")
    assert {(run.model, run.dataset, run.recipe.name) for run in one.runs} == {("airbench", "cifar10", "speed")}
    assert {(run.part_sizes, run.steps) for run in one.runs} == {((50_000, 0), 489)}
    assert set(values(one, "precision")) == {"float32", "tf32", "bfloat16"}
    assert all([how.views for how in one.evaluations[run.id]] == ["one", "mirrored"] for run in one.runs)


@pytest.mark.parametrize("name", ["data-efficiency", "resolution"])
def test_the_two_large_studies_are_what_was_asked_for(name: str) -> None:
    """Reference: the plan: CIFAR-10, 500 to 45,000 images; arms without augmentation, plain and strong; 16 to 64 px."""
    one = load_study(name)
    assert set(values(one, "dataset")) == {"cifar10"}
    assert {min(run.train_size for run in one.runs), max(run.train_size for run in one.runs)} == {500, 45_000}
    assert {run.recipe.name for run in one.runs} == {"none", "plain", "strong"}
    if name == "resolution":
        assert (one.test_resolutions[0], one.test_resolutions[-1]) == (16, 64)
        assert 32 in one.test_resolutions


@pytest.mark.parametrize("name", study_names())
@pytest.mark.usefixtures("imagenet")
def test_the_models_of_a_shipped_study_are_treated_alike(name: str) -> None:
    """The first rule of a fair comparison: the same draws, seeds, sizes, budgets and recipes for every model."""
    one = load_study(name)

    def treatment(run: Run) -> tuple[object, ...]:
        return (run.dataset, run.train_size, run.resolution, run.recipe, run.budget, run.draw, run.seed, run.validation)

    treatments = {
        cell: {treatment(run) for run in one.runs if (run.model, run.position) == cell} for cell in cells(one)
    }
    assert len({frozenset(each) for each in treatments.values()}) == 1
    assert {run.model for run in one.runs} <= set(models.model_names())


@pytest.mark.parametrize("name", ["a|b", "%j", "a\nb", ".hidden", "-rf", "a,b", "a:b", "a'b"])
def test_a_name_that_folders_and_jobs_cannot_have(name: str, tmp_path: Path) -> None:
    """A study's name goes into paths, job names and the lists that SLURM prints: refused where it is read."""
    path = tmp_path / f"{name}.toml"
    path.write_text('question = "?"\n')
    with pytest.raises(ConfigError, match="names folders and jobs: letters, digits"):
        load_study(str(path))


@pytest.mark.parametrize("name", ["study", "my study 2", "Größe_v1.2", "a+b-c"])
def test_a_name_that_they_can_have(name: str, tmp_path: Path) -> None:
    """What people call their files."""
    check_name(tmp_path / f"{name}.toml")
