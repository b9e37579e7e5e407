"""Sources: what a run depends on is noticed, and nothing else is."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import models
from benchmarks import slices
from benchmarks.plan.run import Run, make_run
from benchmarks.records import sources
from models.catalogue.registry import load

ROOT = Path(__file__).resolve().parents[2]
ChangedBy = Callable[[Run, str, str], tuple[str, ...]]  # run, file, definition -> what has changed

ROPE = make_run({"options": {"position": "rope_axial"}})
STRONG = make_run({"model": "resnet", "dataset": "cifar10", "recipe": "strong"})


class Copy:
    """The packages as a test has edited them: files under `folder` stand in for the real ones."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, file: str) -> str:
        edited = self.folder / file
        return (edited if edited.exists() else ROOT / file).read_text(encoding="utf-8")

    def write(self, file: str, text: str) -> None:
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / file).write_text(text, encoding="utf-8")
        forget()

    def edit(self, file: str, old: str, new: str) -> None:
        """Replaces a text that is there exactly once."""
        assert self.read(file).count(old) == 1, f"{old!r} is {self.read(file).count(old)} times in {file}"
        self.write(file, self.read(file).replace(old, new))

    def change(self, file: str, name: str) -> None:
        """Changes what a class or function of a file is: a statement more at its end."""
        lines = self.read(file).splitlines(keepends=True)
        kinds = (ast.ClassDef, ast.FunctionDef)
        nodes = [node for node in ast.parse("".join(lines)).body if isinstance(node, kinds) and node.name == name]
        assert len(nodes) == 1, f"{file} defines {name} {len(nodes)} times"
        lines.insert(nodes[0].end_lineno or 0, "    added = 1\n")
        self.write(file, "".join(lines))


def forget() -> None:
    for one in [*vars(sources).values(), *vars(slices).values()]:
        if hasattr(one, "cache_clear") and one.__name__ != "_module":
            one.cache_clear()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Copy]:
    """A copy of the packages that a test may edit, and that the slices are then taken of."""
    real_path, real_module = slices._path, slices._module

    def path(module: str) -> Path | None:
        found = real_path(module)
        edited = found and tmp_path / found.relative_to(ROOT)
        return edited if edited and edited.exists() else found

    def parsed(module: str) -> Any:
        return (real_module if path(module) == real_path(module) else real_module.__wrapped__)(module)

    monkeypatch.setattr(slices, "_path", path)
    monkeypatch.setattr(slices, "_module", parsed)
    yield Copy(tmp_path)
    forget()


@pytest.fixture
def changed_by(copy: Copy) -> ChangedBy:
    """What of a run's sources changes when a definition in a file does."""

    def change(run: Run, file: str, name: str) -> tuple[str, ...]:
        before = sources.run_sources(run)
        copy.change(file, name)
        return slices.changes(before, sources.run_sources(run))

    return change


def test_text_that_means_nothing_changes_no_digest(copy: Copy) -> None:
    """Comments, blank lines, line breaks, quotes, docstrings and annotations: a formatter must make nothing stale."""
    runs = (ROPE, STRONG, make_run({"model": "swin"}), make_run({"model": "conv_stem_vit"}))
    before = [sources.run_sources(run) for run in runs]
    for path in (path for package in slices.PACKAGES for path in (ROOT / package).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
                node.body[0] = ast.Expr(ast.Constant("Other words."))
            if isinstance(node, ast.FunctionDef):
                node.returns = ast.Constant("Other")
                for argument in node.args.args:
                    argument.annotation = ast.Constant("Other")
        text = "# a comment\n\n\n" + ast.unparse(ast.fix_missing_locations(tree))  # all formatting is lost as well
        copy.write(str(path.relative_to(ROOT)), text.replace("\n    def ", "\n\n    # a comment\n    def "))
    after = [sources.run_sources(run) for run in runs]
    assert [slices.changes(one, other) for one, other in zip(before, after, strict=True)] == [()] * len(runs)


def test_an_annotated_name_is_the_same_name(copy: Copy) -> None:
    """An annotation may be added to or taken from a variable without making a run stale."""
    before = sources.run_sources(STRONG)
    copy.edit("benchmarks/training/augment.py", "\nOPERATIONS: tuple[Operation, ...] =", "\nOPERATIONS =")
    copy.edit("benchmarks/training/operations.py", "    ratio = x.shape[2]", "    count: int\n    ratio = x.shape[2]")
    assert slices.changes(before, sources.run_sources(STRONG)) == ("benchmarks.training.operations:rotate (changed)",)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("models/positions/rotary.py", "RopeMixed"),
        ("models/positions/absolute.py", "Learned1d"),
        ("models/positions/biases.py", "Alibi2d"),
        ("models/resnet.py", "ResNet"),
        ("models/swin.py", "Swin"),
        ("models/conv_stem_vit.py", "ConvStemViT"),
        ("models/catalogue/registry.py", "position_summaries"),
        ("models/catalogue/registry.py", "resolve_options"),
        ("models/hints.py", "did_you_mean"),
        ("benchmarks/data/readers.py", "read_cifar"),
        ("benchmarks/data/store.py", "load_images"),
        ("benchmarks/training/augment.py", "crop"),
        ("benchmarks/training/augment.py", "randaugment"),
        ("benchmarks/training/augment.py", "_inside"),
        ("benchmarks/plan/recipes.py", "augmentations"),
        ("benchmarks/plan/recipes.py", "Recipe"),
        ("benchmarks/plan/run.py", "Evaluation"),
        ("benchmarks/plan/run.py", "make_run"),
        ("benchmarks/data/subsets.py", "part_sizes"),
        ("benchmarks/training/evaluation.py", "evaluate"),
        ("benchmarks/running/execute.py", "execute"),
        ("benchmarks/records/record.py", "read_record"),
        ("benchmarks/plan/study.py", "expand"),
        ("benchmarks/cli/run.py", "run"),
    ],
)
def test_a_change_elsewhere_touches_nothing(file: str, name: str, changed_by: ChangedBy) -> None:
    """A run of a ViT with rotary positions on digits, without augmentation, has nothing to do with these."""
    assert changed_by(ROPE, file, name) == ()


def test_a_new_augmentation_touches_no_recorded_run(copy: Copy) -> None:
    """A recipe gains a switch and augment.py a function: no run made before knows of it."""
    before = [sources.run_sources(run) for run in (ROPE, STRONG)]
    copy.edit(
        "benchmarks/plan/recipes.py",
        '        "erase": recipe.erasing > 0,\n',
        '        "blur": recipe.blur > 0,\n        "erase": recipe.erasing > 0,\n',
    )
    copy.edit("benchmarks/plan/recipes.py", "    erasing: Share", "    blur: Share = Field(0.0)\n    erasing: Share")
    added = "\n\ndef blur(x, weights, draw, recipe):\n    return x, weights\n"
    copy.write("benchmarks/training/augment.py", copy.read("benchmarks/training/augment.py") + added)
    after = [sources.run_sources(run) for run in (ROPE, STRONG)]
    assert after == before


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("models/positions/rotary.py", "RopeAxial"),
        ("models/positions/base.py", "Position"),
        ("models/vit.py", "Block"),
        ("models/vit.py", "PatchEmbedding"),
        ("models/network.py", "attend"),
        ("models/initial.py", "normal"),
        ("models/catalogue/registry.py", "create_model"),
        ("models/catalogue/registry.py", "constructor_arguments"),
        ("benchmarks/training/training.py", "Training"),
        ("benchmarks/training/training.py", "learning_rate"),
        ("benchmarks/training/training.py", "make_optimizer"),
        ("benchmarks/training/training.py", "build_model"),
        ("benchmarks/plan/run.py", "Budget"),
        ("benchmarks/training/batches.py", "Batches"),
        ("benchmarks/training/batches.py", "Normaliser"),
        ("benchmarks/training/batches.py", "resize"),
        ("benchmarks/randomness.py", "hashes"),
        ("benchmarks/data/readers.py", "read_digits"),
        ("benchmarks/data/subsets.py", "class_sequence"),
        ("benchmarks/data/subsets.py", "validation_mask"),
        ("benchmarks/data/subsets.py", "draw_subset"),
    ],
)
def test_a_change_of_what_a_run_is_made_of_is_named(file: str, name: str, changed_by: ChangedBy) -> None:
    """What breaks otherwise: a run would be continued by other code than it was begun with, unnoticed."""
    module = file.removesuffix(".py").replace("/", ".")
    assert changed_by(ROPE, file, name) == (f"{module}:{name} (changed)",)


IN_USE = [
    *(("augment", name, "changed") for name in ("crop", "flip", "randaugment", "erase", "mix")),
    *(("augment", name, "new") for name in ("_inside", "_one_of")),  # as they are, they are left out (slices.SAME)
    *(("operations", name, "changed") for name in ("posterize", "affine", "grey")),
]


@pytest.mark.parametrize(("module", "name", "how"), IN_USE)
def test_an_augmentation_in_use_is_noticed_with_all_it_is_made_of(
    module: str, name: str, how: str, changed_by: ChangedBy
) -> None:
    """The strong recipe's slice must hold the helpers too: an operation of RandAugment decides weights."""
    assert changed_by(STRONG, f"benchmarks/training/{module}.py", name) == (
        f"benchmarks.training.{module}:{name} ({how})",
    )


@pytest.mark.parametrize(
    ("module", "name"), [("augment", "jitter"), ("augment", "resized_crop"), ("operations", "hue")]
)
def test_an_augmentation_that_is_off_is_no_part_of_a_run(module: str, name: str, changed_by: ChangedBy) -> None:
    """What breaks otherwise: a change of one augmentation makes every run stale."""
    assert changed_by(STRONG, f"benchmarks/training/{module}.py", name) == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "symbol"),
    [
        ("benchmarks/data/readers.py", "TEST = 597", "TEST = 598", "benchmarks.data.readers:DIGITS_TEST"),
        (
            "benchmarks/training/training.py",
            "0.5 * (1 + math.cos",
            "0.6 * (1 + math.cos",
            "benchmarks.training.training:learning_rate",
        ),
        ("benchmarks/plan/run.py", "max(1, math.ceil(images", "max(2, math.ceil(images", "benchmarks.plan.run:Budget"),
        ("benchmarks/randomness.py", "0x9E3779B97F4A7C15", "0x9E3779B97F4A7C17", "benchmarks.randomness:_GAMMA"),
    ],
)
def test_a_changed_number_is_noticed(copy: Copy, file: str, old: str, new: str, symbol: str) -> None:
    """One digit in an expression, or in a constant of the module, is a change like any other."""
    before = sources.run_sources(ROPE)
    copy.edit(file, old, new)
    assert slices.changes(before, sources.run_sources(ROPE)) == (f"{symbol} (changed)",)


def test_new_and_gone_symbols_are_named(copy: Copy) -> None:
    """A function that is renamed is one gone and one new, and its user has changed."""
    before = sources.run_sources(ROPE)
    text = copy.read("benchmarks/training/training.py")
    copy.write("benchmarks/training/training.py", text.replace("make_optimizer", "optimizer_for"))
    assert slices.changes(before, sources.run_sources(ROPE)) == (
        "benchmarks.training.training:Training (changed)",
        "benchmarks.training.training:make_optimizer (gone)",
        "benchmarks.training.training:optimizer_for (new)",
    )


def test_definitions_that_are_declared_to_change_no_run_are_no_change(
    copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the three that the test above names: one keeps its digest, one is known to be gone, one is left out."""
    before = sources.run_sources(ROPE)
    text = copy.read("benchmarks/training/training.py")
    copy.write("benchmarks/training/training.py", text.replace("make_optimizer", "optimizer_for"))
    now = sources.run_sources(ROPE)
    home = "benchmarks.training.training"
    monkeypatch.setattr(slices, "GONE", {("make_optimizer", before[f"{home}:make_optimizer"])})
    same = {
        ("Training", now[f"{home}:Training"]): before[f"{home}:Training"],
        ("optimizer_for", now[f"{home}:optimizer_for"]): "",
    }
    monkeypatch.setattr(slices, "SAME", {**slices.SAME, **same})
    forget()
    assert slices.changes(before, sources.run_sources(ROPE)) == ()


def test_what_has_left_a_slice_may_stay_in_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A definition that is known to be gone is no change where it has gone, nor where it is still used."""
    monkeypatch.setattr(slices, "GONE", {("offsets", "00000000")})
    forget()
    used, unused = {"a:offsets": "00000000", "a:user": "11111111"}, {"a:user": "11111111"}
    assert slices.changes(used, unused) == slices.changes(used, used) == ()
    assert slices.changes(unused, used) == ("a:offsets (new)",)


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({"model": "vit", "options": {"position": "relative_2d"}}, False),
        ({"model": "vit", "options": {"position": "relative_2d", "relative_clip": 2}}, True),
        ({"model": "vit", "options": {"position": "relative_2d", "relative_values": True}}, True),
        ({"model": "coatnet"}, False),
        ({"model": "coatnet", "recipe": {"train_resolutions": (8, 16)}}, True),
        ({"model": "vit", "options": {"position": "bias_2d"}, "recipe": {"train_resolutions": (8, 16)}}, True),
        ({"model": "vit", "options": {"position": "rope_axial"}, "recipe": {"train_resolutions": (8, 16)}}, False),
        ({"model": "resnet", "recipe": {"train_resolutions": (8, 16)}}, False),
    ],
)
def test_runs_whose_gradients_are_added_up_anew_are_stale(changes: dict[str, Any], stale: bool) -> None:
    """Only tables resized in training, and clipped or mixed offsets: all others have had the same bits since, compared
    network by network when the sums changed."""
    now = sources.run_sources(make_run({"train_size": 100, "size": "pico", **changes}))
    fact = "gradients of positions"
    before = {name: digest for name, digest in now.items() if name != fact}
    assert slices.changes(before, now) == ((f"{fact} (new)",) if stale else ())


def test_facts_of_the_run_are_digested() -> None:
    """What follows from declarations: the data set's counts, the augmentations that apply, images and steps."""
    one, other = (sources.run_sources(make_run({"train_size": n, "recipe": "plain"})) for n in (500, 600))
    assert slices.changes(one, other) == ("images and steps (changed)",)
    assert {"data set digits", "augmentations", "images and steps"} <= one.keys()
    assert "benchmarks.training.augment:crop" in one
    assert "benchmarks.training.augment:flip" not in one  # digits are not mirrored


def test_the_measuring_code_is_noticed(copy: Copy) -> None:
    """Evaluations made by other measuring code are done again; training is not."""
    before, trained = sources.evaluation_code(), sources.run_sources(ROPE)
    for name in ("evaluate", "Measurer"):
        copy.change("benchmarks/training/evaluation.py", name)
        assert sources.evaluation_code() != before
        before = sources.evaluation_code()
    copy.change("benchmarks/training/training.py", "logits_of")
    assert sources.evaluation_code() != before
    assert sources.run_sources(ROPE) == trained


@pytest.mark.parametrize("model", models.model_names())
def test_a_slice_holds_the_model_and_no_other(model: str) -> None:
    """References: the model's declared class and, by Python's own account, the families whose classes it extends.

    Another family's file in the slice would make the model's runs stale for nothing.
    """
    run = make_run({"model": model})
    found = sources.run_sources(run)
    entry = models.family(model).entry
    assert entry in found
    others = {models.family(other).entry for other in models.model_names()} - {entry}
    bases = {f"{base.__module__}:{base.__qualname__}" for base in load(entry).__mro__}
    assert not (others - bases) & found.keys()
    assert not {name for name in found if name.partition(":")[0] == "benchmarks.training.augment"}


@pytest.mark.parametrize("position", models.position_names())
def test_a_slice_holds_the_encoding(position: str) -> None:
    """Reference: the encoding's declared class."""
    from models.positions.encodings import ENCODINGS

    found = sources.run_sources(make_run({"model": "vit", "options": {"position": position}, "size": "base"}))
    assert ENCODINGS[position].entry in found


def test_a_definition_has_the_same_text_in_every_python() -> None:
    """Reference: written out by hand. Python 3.12 gave functions a new field, mostly empty, which no digest may see."""
    node = ast.parse("def f(x=1):\n    pass").body[0]
    assert slices._text(node) == (
        "FunctionDef(name='f',args=arguments(args=[arg(arg='x')],defaults=[Constant(value=1)]),body=[Pass()])"
    )


@pytest.mark.parametrize("name", sorted(slices.REGISTRIES))
def test_what_is_not_followed_is_there(name: str) -> None:
    """A name in REGISTRIES that no longer exists would be followed under its new name, unnoticed."""
    module, _, symbol = name.partition(":")
    definitions, _ = slices._module(module)
    assert not symbol or symbol in definitions


def test_taking_a_slice_imports_nothing_heavy() -> None:
    """Status and plan take slices of every run; with torch imported they would take seconds before a word appears."""
    code = (
        "import sys; from benchmarks.plan.run import make_run; "
        "from benchmarks.records.sources import run_sources, evaluation_code;"
        "run_sources(make_run({'recipe': 'strong'})); evaluation_code(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "timm", "pandas", "sklearn"} & set(done.stdout.split())
