"""The studies of ImageNet: their networks against timm's, their train sizes and protocols against what was published,
and a share of each trained and reported on generated photographs of varied sizes."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from imagenet import CLASSES, IMAGES, class_counts, declare_imagenet, write_imagenet

import models
from analysis.report import write_report
from benchmarks.cli.main import main
from benchmarks.data.dataset import Places
from benchmarks.data.store import load_images
from benchmarks.errors import UnpreparedError
from benchmarks.plan.run import Run
from benchmarks.plan.study import FOLDER, Study, expand, load_study
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings

NAMES = ("imagenet-fractions", "imagenet-positions", "imagenet-resolution")
MINIVAL = IMAGES // 100 + 1  # 1 %, rounded up


# --- what they are ---


@pytest.mark.parametrize(
    ("label", "reference", "more"),
    [
        ("resnet", "resnet50", 0),
        ("convnext", "convnext_tiny", 0),
        ("swin", "swin_tiny_patch4_window7_224", 0),
        ("vit", "deit_small_patch16_224", 0),
        # absolute positions, a bias of each head's offsets; and no bias of queries, keys and values
        ("convit", "convit_small", 196 * 432 + 10 * 9 - 12 * 3 * 432),
    ],
)
@pytest.mark.usefixtures("imagenet")
def test_the_networks_are_as_published(label: str, reference: str, more: int) -> None:
    """Reference: timm's networks of these names, parameter for parameter, and the numbers in the file's comments."""
    timm = pytest.importorskip("timm")
    text = (FOLDER / "imagenet-fractions.toml").read_text(encoding="utf-8")
    run = next(run for run in load_study("imagenet-fractions").runs if run.model == label)
    with torch.device("meta"):
        ours = models.create_model(
            run.model, image_size=224, in_channels=3, num_classes=CLASSES, size=run.size, **run.options
        )
        theirs = timm.create_model(reference)
    parameters = [sum(weight.numel() for weight in one.parameters()) for one in (ours, theirs)]
    assert parameters[0] + more == parameters[1]
    assert f"{parameters[0]:,}" in text


@pytest.mark.usefixtures("imagenet")
def test_fractions_are_convits_protocol() -> None:
    """Reference: d'Ascoli et al., 2021: 5 to 100 % of ImageNet, 300 epochs; of the authors' rule, the first
    int(n_c * share) files of each class, a share differs by less than an image a class."""
    one = load_study("imagenet-fractions")
    arms = {kind: {run.train_size for run in one.runs if run.budget.kind == kind} for kind in ("epochs", "images")}
    sizes = sorted(arms["epochs"])
    for size, share in zip(sizes, (0.05, 0.1, 0.3, 0.5, 1.0), strict=True):
        assert 0 <= size - sum(int(count * share) for count in class_counts()) < CLASSES
    assert arms["images"] == set(sizes[:-1])  # at 100 % both are one training
    assert {run.budget.amount for run in one.runs} == {300, 300 * IMAGES}
    assert {run.part_sizes for run in one.runs if run.train_size == IMAGES} == {(IMAGES, 0)}
    assert {run.model for run in one.runs} == {"resnet", "convnext", "vit", "swin", "convit"}
    assert {how.crop for run in one.runs for how in one.evaluations[run.id]} == {1.0, 0.875}


@pytest.mark.usefixtures("imagenet")
def test_positions_are_every_encoding_on_big_visions_vit() -> None:
    """Reference: big_vision's vit_s16_i1k: 90 epochs of 99 % of ImageNet, batches of 1,024, sizes of ViT-S/16."""
    one = load_study("imagenet-positions")
    assert {run.position for run in one.runs} == set(models.position_summaries())
    assert {run.part_sizes for run in one.runs} == {(IMAGES - MINIVAL, MINIVAL)}
    assert {(run.recipe.name, run.budget.amount) for run in one.runs} == {("better-vit", 90)}
    shapes = {tuple(run.options[key] for key in ("width", "depth", "mlp_ratio", "patch_size")) for run in one.runs}
    assert shapes == {(384, 12, 4.0, 16)}
    assert (one.test_resolutions[0], one.test_resolutions[-1]) == (96, 1024)


@pytest.mark.usefixtures("imagenet")
def test_resolution_has_the_axes_of_fixres() -> None:
    """Reference: Touvron et al., 2019: train and test resolution, the crop, the statistics behind it; and ways of
    carrying positions."""
    one = load_study("imagenet-resolution")
    assert {run.resolution for run in one.runs} == {128, 160, 224}
    assert (one.test_resolutions[0], one.test_resolutions[-1]) == (96, 512)
    assert {run.part_sizes for run in one.runs} == {(IMAGES - MINIVAL, MINIVAL)}
    hows = [how for run in one.runs for how in one.evaluations[run.id]]
    assert {how.crop for how in hows} == {1.0, 0.875}
    assert {how.resize_side for how in hows} == {0, 256}
    assert {how.batchnorm for how in hows} == {"kept", "reestimated"}
    learned = {how.carry for run in one.runs if run.position == "learned_1d" for how in one.evaluations[run.id]}
    assert len(learned) > 2


# --- before ImageNet is there ---


def test_an_unprepared_study_is_read_and_its_runs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is listed and says its question, cost and expectation; the command that is missing is named, and works."""
    monkeypatch.setenv("INDUCTIVE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "200")
    study = tmp_path / "few.toml"
    study.write_text(
        'question = "Which?"\ncost = "Nothing"\nexpect = "None"\ndataset = "imagenet"\ntrain_size = 32\n[[models]]\n'
        'name = "resnet"\nsize = "pico"\nscale = 32\n'
    )
    assert called("list", "studies") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in NAMES)
    assert "inductive prepare --dataset imagenet" in listed
    write_imagenet(tmp_path / "data", monkeypatch, each=12)
    assert called("plan", str(study)) == 0
    said = capsys.readouterr().out
    assert said.split()[:3] == ["Which?", "Nothing", "None"]
    assert (
        "1 run in 1 cell" in said and "resnet pico, imagenet n=32 r=224, none" in said and "to do: 1 run, about" in said
    )
    assert "before running: 'imagenet' is not prepared under" in said and "the sizes are those published" in said
    assert "inductive prepare --dataset imagenet" in said
    assert called("run", str(study)) == 2
    assert "inductive prepare --dataset imagenet" in capsys.readouterr().err
    assert called("prepare", str(study)) == 0
    assert called("plan", str(study), "--gpu", "h100") == 0
    assert "warning: decoding is the bottleneck in 1 of 1 cell: 1 worker a run" in capsys.readouterr().out
    assert called("plan", str(study), "--gpu", "h100", "--workers", "1000") == 0
    assert "decoding is the bottleneck" not in capsys.readouterr().out


def test_an_unprepared_study_is_forecast_as_if_it_were_prepared(tmp_path: Path) -> None:
    """Reference: the same study of an ImageNet that is declared with its true counts, whose classes are not of one
    size: the same runs, steps and evaluations."""
    nowhere = Places(tmp_path / "data", tmp_path)
    with pytest.raises(UnpreparedError):
        load_study("imagenet-fractions", nowhere)
    forecast = load_study("imagenet-fractions", replace(nowhere, as_published=True))
    prepared = load_study("imagenet-fractions", Places(None, declare_imagenet(tmp_path / "there")))
    assert [run.id for run in forecast.runs] == [run.id for run in prepared.runs]
    assert [run.steps for run in forecast.runs] == [run.steps for run in prepared.runs]
    assert forecast.evaluations == prepared.evaluations
    assert forecast.runs[0].data.test_count == prepared.runs[0].data.test_count == 50_000


def called(*arguments: str) -> int:
    """The exit code of `inductive ...`, in this process."""
    with pytest.raises(SystemExit) as end:
        main([*arguments])
    return int(end.value.code or 0)


# --- a share of each ---


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with four classes of photographs as an ImageNet, prepared by the command."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        write_imagenet(folder, patch)
        assert called("prepare", "--dataset", "imagenet", "--data", str(folder)) == 0
    return folder


TRAIN, PART = 144, 8  # training images of this ImageNet, and its validation part


def smaller(study: str, places: Places) -> Study:
    """A shipped study with the same arms, axes and evaluations, an eighth of its pixels, the smallest networks, two
    steps of training at most, and train sizes that are the same shares of a smaller ImageNet."""
    table = tomllib.loads((FOLDER / f"{study}.toml").read_text(encoding="utf-8"))
    table |= {"size": "pico", "recipe": {"name": table["recipe"], "batch_size": 64}, "precision": "float32"}
    table["models"] = [
        {key: value for key, value in one.items() if key not in ("width", "heads")} for one in table["models"]
    ]
    if table["validation"]:
        table["validation"] = PART
    least = 0.5 * TRAIN
    for one in (table, *table.get("arms", []), *table.get("expects", []), *table.get("evaluations", [])):
        for key in ("resolution", "test_resolutions", "test_resolution", "resize_side"):
            scale(one, key, lambda pixels: pixels // 8)
        scale(one, "train_size", lambda count: min(round(count / IMAGES * TRAIN), TRAIN - table["validation"]))
        if "budget" in one:
            one["budget"] = {"epochs": 0.5} if "epochs" in one["budget"] else {"images": int(least)}
    return expand(table, study, places)


def scale(table: dict[str, Any], key: str, rule: Any) -> None:
    if key in table:
        value = table[key]
        table[key] = [rule(one) for one in value] if isinstance(value, list) else rule(value)


SHARES: Mapping[str, Callable[[Run], bool]] = {  # what is trained of each: every family of networks, every arm
    "imagenet-fractions": lambda run: run.train_size == 7 and (run.budget.kind == "epochs" or run.model == "vit"),
    "imagenet-positions": lambda run: run.position in ("none", "learned_1d", "lookhere"),
    "imagenet-resolution": lambda run: run.resolution == (16 if run.model in ("resnet", "vit") else 28),
}
SIDES = (12, 16, 28, 40)  # at which they are measured


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("imagenet")
def test_a_share_of_each_is_trained_measured_and_reported(name: str, data: Path, tmp_path: Path) -> None:
    """Whatever such a study asks of data, networks and evaluations is asked here, on photographs of varied sizes."""
    shipped, one = load_study(name), smaller(name, Places(data, tmp_path))
    assert len(one.runs) == len(shipped.runs)
    ways = [[(how.carry, how.crop, how.batchnorm) for how in each.evaluations[each.runs[-1].id]]
            for each in (shipped, one)]  # fmt: skip
    assert ways[0] == ways[1]
    load_images.cache_clear()
    chosen = [run for run in one.runs if run.seed == 0 and SHARES[name](run)]
    for run in chosen:
        assert finished(run, one, data, tmp_path)
    once = replace(one, runs=tuple(run for run in one.runs if run.seed == 0))
    report = write_report(once, tmp_path, tmp_path / "report", ("markdown", "csv"), data=data)
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert one.question in page
    assert f"{len(chosen)} of {len(once.runs)}" in page
    assert not report.warnings


def finished(run: Run, study: Study, data: Path, root: Path) -> bool:
    wanted = [how for how in study.evaluations[run.id] if how.resolution in SIDES]
    return execute(run, root, wanted, Settings(data), lambda: False).state == "finished"
