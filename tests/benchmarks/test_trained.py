"""A run loaded again: its network, its images and its predictions are those that its record was made with."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

from benchmarks.data.catalogue import DATASETS
from benchmarks.data.class_names import class_names
from benchmarks.data.dataset import Places
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import ConfigError, RecordError, StaleError
from benchmarks.files import read_json, write_json
from benchmarks.plan.run import Run, default_evaluation, make_run
from benchmarks.records.record import opened_pass
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings
from benchmarks.trained import load_run

Trained = tuple[Run, Path]


def test_predictions_are_those_of_the_record(finished: Trained) -> None:
    """Reference: the logits in the record, in 16 bits, of every evaluation on the test and the validation part."""
    run, root = finished
    trained = load_run(run.id[:-3], root)
    assert not trained.network.training
    for part in ("test", "validation"):
        for side in (8, 12):
            how = default_evaluation(run, part, side)  # type: ignore[arg-type]
            with opened_pass(root / run.id / "evaluations" / "0001.npz") as arrays:
                recorded, labels = arrays[f"{how.id}.logits"], arrays[f"labels.{part}"]
            logits = trained.predict(part, side)
            np.testing.assert_allclose(logits.numpy(), recorded.astype(np.float32), rtol=2e-3, atol=2e-3)
            images, truth = trained.images(part, side)
            assert truth.tolist() == labels.tolist()
            assert torch.equal(trained.predict(images), logits)
            assert images.shape[-2:] == (side, side)


@pytest.mark.parametrize("published", [False, True])
def test_photographs_are_those_of_the_record(published: bool, photographs: Path, tmp_path: Path) -> None:
    """They are decoded to the size that is shown, by the share of each that is shown: published weights show less than
    all. Reference: the logits in the record, at the training resolution and at another."""
    asked: dict[str, Any] = {"dataset": "folder:photos", "train_size": 100, "resolution": 32, "budget": {"steps": 3}}
    if published:
        torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
        options = {"weights": f"file:{tmp_path}/w.pth", "tag": "r160_in1k", "transforms": "weights"}
        asked |= {"model": "timm:test_resnet", "options": options}
    else:
        asked |= {"model": "vit", "size": "pico", "options": {"scale": 32}}
    run = make_run({**asked, "recipe": {"name": "none", "batch_size": 16}}, Places(photographs))
    evaluations = [default_evaluation(run, "test", side) for side in (32, 48)]
    execute(run, tmp_path, evaluations, Settings(photographs), lambda: False)
    trained = load_run(run.id, tmp_path, photographs)
    for how in evaluations:
        with opened_pass(tmp_path / run.id / "evaluations" / "0001.npz") as arrays:
            recorded = arrays[f"{how.id}.logits"].astype(np.float32)
        np.testing.assert_allclose(trained.predict("test", how.resolution).numpy(), recorded, rtol=2e-3, atol=2e-3)
    few, labels = trained.images("test", first=5)
    assert torch.equal(few, trained.images("test")[0][:5]) and len(labels) == 5
    bright = trained.bright(few)
    assert bright.min() >= 0 and bright.max() <= 1 and bright.std() > 0.05


def test_images_are_normalised_as_in_training(finished: Trained) -> None:
    """Reference: numpy's mean and deviation of the run's own training images."""
    run, root = finished
    trained = load_run(run.id, root)
    whole = load_images("digits", Path("data"))
    subset = draw_subset(whole.train_labels, 10, run.draw, run.train_size, run.validation)
    own = whole.train[subset.train] / 255
    shown = ((whole.test / 255) - own.mean()) / own.std()
    np.testing.assert_allclose(trained.images("test")[0].numpy(), shown, atol=1e-5)
    np.testing.assert_array_equal(trained.pixels("test").numpy(), whole.test)
    assert trained.images("train")[1].tolist() == whole.train_labels[subset.train].tolist()
    torch.testing.assert_close(trained.shown(trained.pixels("test")[:3]), trained.images("test")[0][:3])


def test_what_is_not_there_is_said_with_the_way_out(finished: Trained, tmp_path: Path) -> None:
    run, root = finished
    with pytest.raises(RecordError, match=f"no run 'vit-leaned.*did you mean `{run.id}`"):
        load_run(run.id.replace("learned", "leaned"), root)
    with pytest.raises(RecordError, match="no part 'tests'; there are train, validation, test"):
        load_run(run.id, root).images("tests")
    copy = shutil.copytree(root, tmp_path / "runs")
    (copy / run.id / "weights.safetensors").unlink()
    with pytest.raises(RecordError, match=f"there are no weights.*inductive rerun {run.id}"):
        load_run(run.id, copy)
    (copy / run.id / "result.json").unlink()
    with pytest.raises(RecordError, match="is interrupted, so there is no trained network"):
        load_run(run.id, copy)


@pytest.mark.parametrize(
    ("pixels", "resolution", "said"),
    [
        (torch.zeros(2, 1, 8, 8), 0, r"resolution: is 0; allowed are 1 pixel and more \(default: 8\)"),
        (torch.zeros(2, 1, 8, 8), -4, "resolution: is -4; allowed"),
        (torch.zeros(2, 3, 8, 8), None, r"pixels: of shape \(2, 3, 8, 8\); digits needs \(B, 1, H, H\)"),
        (torch.zeros(2, 1, 8, 9), None, "pixels: of 8 x 9; only squares are shown: cut out their middle"),
        (torch.zeros(1, 8, 8), None, r"pixels: of shape \(1, 8, 8\); digits needs"),
        (torch.full((2, 1, 8, 8), 255.0), None, "pixels: are float32 from 255 to 255; allowed are 0 to 1, or uint8"),
        (torch.full((2, 1, 8, 8), float("nan")), None, "pixels: are float32 from nan to nan; allowed are 0 to 1"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.int64), None, "pixels: are torch.int64; allowed are uint8, or float32"),
    ],
)
def test_images_that_cannot_be_shown_are_refused(
    pixels: torch.Tensor, resolution: int | None, said: str, finished: Trained
) -> None:
    run, root = finished
    with pytest.raises(ConfigError, match=said):
        load_run(run.id, root).shown(pixels, resolution)


@pytest.mark.parametrize("device", ["tpu", "auto", "cuda", "cuda:one", "cpu:1"])
def test_a_device_that_is_not_there_is_refused(device: str, finished: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    run, root = finished
    there = "available are cpu" if device == "cuda" else r"none of cpu, cuda \(cuda:1 is the second GPU\), mps"
    with pytest.raises(ConfigError, match=f"device: .*{there}"):
        load_run(run.id, root, device=device)


def test_a_run_of_other_sources_is_loaded_when_that_is_accepted(finished: Trained, tmp_path: Path) -> None:
    run, root = finished
    copy = shutil.copytree(root, tmp_path / "runs")
    path = copy / run.id / "execution.json"
    execution = read_json(path)
    execution["sources"]["benchmarks.training.training:Training"] = "00000000"
    write_json(path, execution)
    with pytest.raises(StaleError, match=r"benchmarks.training.training:Training \(changed\).*accept_code=True"):
        load_run(run.id, copy)
    assert load_run(run.id, copy, accept_code=True).record.state == "stale"


def test_other_images_are_refused(finished: Trained, tmp_path: Path) -> None:
    """Reference: the digests of the data in the record."""
    run, root = finished
    copy = shutil.copytree(root, tmp_path / "runs")
    path = copy / run.id / "execution.json"
    write_json(path, read_json(path) | {"data": {"train": "0" * 64, "test": "0" * 64}})
    trained = load_run(run.id, copy)
    with pytest.raises(RecordError, match="made with other images"):
        trained.predict()


def test_the_three_lines_of_the_documents(finished: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They work as they stand, with the folders of the command, for a run that is there."""
    run, root = finished
    text = (Path(__file__).parents[2] / "docs" / "report.md").read_text(encoding="utf-8")
    [lines] = [block for block in text.split("```") if block.startswith("python\nfrom benchmarks.trained")]
    monkeypatch.setenv("INDUCTIVE_RUNS", str(root))
    found: dict[str, Any] = {}
    exec(lines.removeprefix("python\n").replace("vit-rope_axial-digits-n1000-r8-d0-s0", run.id[:-4]), found)  # noqa: S102
    assert found["logits"].shape == (len(found["labels"]), 10)


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist", "mnist", "emnist_letters"])
def test_class_names_are_those_of_torchvision(name: str) -> None:
    """Reference: the classes of torchvision's class, shortened here where they are long."""
    from torchvision import datasets

    kind = getattr(datasets, DATASETS[name].kind)
    theirs = kind.classes if name != "emnist_letters" else sorted("abcdefghijklmnopqrstuvwxyz")
    ours = class_names(DATASETS[name], Places())
    assert len(ours) == len(theirs)
    assert all(one.lower() in other.lower() for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("name", DATASETS)
def test_every_class_has_a_name_of_its_own(name: str) -> None:
    names = class_names(DATASETS[name], Places())
    assert len(set(names)) == len(names) == DATASETS[name].classes


def test_classes_of_a_folder_are_its_subfolders(tmp_path: Path) -> None:
    """Also once its images are gone: then by the index under the runs folder."""
    from PIL import Image

    from benchmarks.data.catalogue import dataset
    from benchmarks.data.folders import keep_copy

    for label in ("cat", "ape"):
        (tmp_path / "data" / "pets" / label).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), number).save(tmp_path / "data" / "pets" / label / f"{number}.png")
    places = Places(tmp_path / "data", tmp_path / "runs")
    spec = dataset("folder:pets", places)
    assert class_names(spec, places) == ("ape", "cat")
    keep_copy("folder:pets", tmp_path / "data", tmp_path / "runs")
    assert class_names(spec, Places(None, tmp_path / "runs")) == ("ape", "cat")
