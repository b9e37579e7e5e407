"""`inductive evaluate`: published networks as they are. Reference: timm's own transforms and network, without ours."""

import subprocess
import tomllib
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from photographs import write_photographs
from PIL import Image
from timm.data import create_transform, resolve_data_config
from timm.data.imagenet_info import ImageNetInfo

from benchmarks.cli.evaluate import networks_of, own_resolutions_left_out, study_text
from benchmarks.data.catalogue import dataset
from benchmarks.data.dataset import Places
from benchmarks.data.decoding import Squares
from benchmarks.data.photographs import Photographs
from benchmarks.data.store import load_images
from benchmarks.data.subsets import part_sizes
from benchmarks.errors import ConfigError, ImpossibleError
from benchmarks.plan.evaluations import read_tables
from benchmarks.plan.run import Evaluation, default_evaluation, make_run
from benchmarks.plan.study import expand
from benchmarks.records.record import read_record
from benchmarks.running.prepare import data_set
from benchmarks.training.images import decoded
from benchmarks.training.training import model_of
from models.catalogue.ready_made import configuration
from models.libraries.published import places_in_head, share_of
from models.options import ModelError

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]
WNIDS = ImageNetInfo("imagenet-1k").label_names()
CLASSES = (WNIDS[700], WNIDS[3], WNIDS[21])  # whose folders come in another order than the classes of the head
NAME = "folder:photos"
SIZES = (96, 160)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a packed set of photographs of three classes of ImageNet, and one of other classes."""
    folder = tmp_path_factory.mktemp("data")
    write_photographs(folder / "photos", each=30, classes=CLASSES)
    write_photographs(folder / "others", each=20)
    for name in (NAME, "folder:others"):
        list(data_set(name, folder))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of 1,000 classes, as a library would have them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.save(timm.create_model("test_resnet", num_classes=1000).state_dict(), path)
    return path


def files_of(part: Photographs) -> list[Image.Image]:
    return [Image.open(BytesIO(part.store.read(int(row)))).convert("RGB") for row in part.rows]


def by_timm(name: str, weights: Path, part: Photographs, side: int, **changes: Any) -> torch.Tensor:
    """Logits (N, 1000) by timm alone."""
    network = timm.create_model(name, num_classes=1000)
    network.load_state_dict(torch.load(weights, weights_only=True))
    configured = resolve_data_config({}, model=network) | {"input_size": (3, side, side)} | changes
    shown = create_transform(**configured, is_training=False)
    with torch.inference_mode():
        return network.eval()(torch.stack([shown(image) for image in files_of(part)]))


def test_a_record_has_what_timm_computes(data: Path, weights: Path, tmp_path: Path, inductive: Inductive) -> None:
    """Logits and accuracy at two resolutions and two crops, cut to the classes of the data set; the command says
    how the page is made, does nothing twice, and a rerun gives the same."""
    given = ("--weights", str(weights), "--dataset", NAME, "--data", str(data), "--device", "cpu")
    verb = ("evaluate", "timm:test_resnet", *given, "--test-resolutions", "96,160", "--crop", "1", "--workers", "0")
    done = inductive(*verb)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "inductive report published-folder-photos.toml" in done.stdout
    [folder] = (path.parent for path in (tmp_path / "runs").glob("*/result.json"))
    record = read_record(folder)
    images = load_images(NAME, data)
    assert isinstance(images.test, Photographs)
    places = [WNIDS.index(name) for name in sorted(CLASSES)]
    arrays = np.load(next((folder / "evaluations").glob("*.npz")))
    assert len(record.evaluations) == 4
    for entry in record.evaluations:
        how = Evaluation(**entry["evaluation"])
        assert (
            how.interpolation == "bicubic" or how.interpolation == configuration("timm:test_resnet", {}).interpolation
        )
        logits = by_timm("test_resnet", weights, images.test, how.resolution, crop_pct=how.crop)[:, places]
        np.testing.assert_allclose(arrays[f"{how.id}.logits"], logits.numpy(), atol=2e-3, rtol=2e-3)
        accuracy = (logits.argmax(1).numpy() == images.test_labels).mean()
        assert entry["accuracy"] == pytest.approx(accuracy)
        assert f"{100 * accuracy:.2f} %" in done.stdout
    again = inductive(*verb)
    assert again.returncode == 0 and "0 to do" in again.stdout
    rerun = inductive("rerun", record.id, "--data", str(data))
    assert rerun.returncode == 0 and "equal" in rerun.stdout, rerun.stdout + rerun.stderr
    report = inductive("report", "published-folder-photos.toml", "--data", str(data), "--format", "markdown,csv")
    assert report.returncode == 0, report.stdout + report.stderr
    assert "No network can be told from chance (33 %)." in report.stdout  # random weights, three classes
    page = (tmp_path / "reports" / "published-folder-photos" / "report.md").read_text()
    assert "| model | 96 px | 160 px (trained) |" in page
    assert "loaded: resnet.pth, transforms and head as published" in page
    other = inductive(*verb[:-2], "--resize-side", "200")
    assert other.returncode == 2 and "published-folder-photos.toml holds another study" in other.stderr


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("side", "crop"), [(32, 0.875), (33, 0.9), (40, 0.95), (96, 1.0)])
@pytest.mark.parametrize("mode", ["center", "squash"])
def test_photographs_are_shown_as_timm_shows_them(
    mode: str, side: int, crop: float, interpolation: Any, data: Path
) -> None:
    """To the last bit of every pixel. Reference: timm's create_transform."""
    images = load_images(NAME, data)
    assert isinstance(images.test, Photographs)
    how = Evaluation(
        resolution=side, crop=crop, interpolation=interpolation, aspect="squashed" if mode == "squash" else "kept"
    )
    pixels, left = decoded(images.test, how, 224)
    assert isinstance(pixels, Squares) and left.crop == 1
    changes = {"crop_pct": crop, "crop_mode": mode, "interpolation": interpolation}
    shown = create_transform(input_size=(3, side, side), is_training=False, normalize=False, **changes)
    expected = np.stack([shown(image).numpy() for image in files_of(images.test)])
    np.testing.assert_array_equal(pixels[:], expected)


def test_torchvisions_sizes_come_out() -> None:
    """The share that stands for Resize(232), CenterCrop(224) gives 232 again, for every published pair of sizes.
    Reference: torchvision's own transforms."""
    for name in ("resnet50", "vit_b_16", "swin_v2_t", "efficientnet_b1", "regnet_y_400mf"):
        for weights in torchvision.models.get_model_weights(name):
            shown = weights.transforms()
            own = configuration(f"torchvision:{name}", {"weights": f"library:{weights.name}"})
            assert int(own.resolution / own.crop) == shown.resize_size[0] and own.resolution == shown.crop_size[0]
            assert (list(own.mean), own.interpolation) == (shown.mean, shown.interpolation.value)
    assert all(int(side / share_of(side, more)) == more for side in range(32, 600, 7) for more in range(side, 2 * side))


def test_which_classes_of_a_head_are_asked_for() -> None:
    """By WordNet ids, in the order of the data set; all of ImageNet, and a head of its own, are left alone."""
    assert places_in_head(WNIDS, 1000) is None
    assert places_in_head((WNIDS[5], WNIDS[2]), 1000) == [5, 2]
    assert places_in_head(("ape", "bear"), 2) is None
    with pytest.raises(ModelError, match=r"the 1,000 classes of ImageNet.*these are ape, bear ...* must be trained"):
        places_in_head(("ape", "bear"), 1000)
    with pytest.raises(ModelError, match=f"n01440765 is none of them; did you mean `{WNIDS[0]}`"):
        places_in_head((WNIDS[1], "n01440765"), 1000)
    with pytest.raises(ModelError, match="has 37 classes, and the data set 2"):
        places_in_head(("ape", "bear"), 37)


def test_options_count_only_where_they_are_used(weights: Path, data: Path) -> None:
    """Ids of runs and evaluations of before stay what they were (literal ids); the usual way of showing images is the
    published one where a run says so, and a table of evaluations may name another."""
    places = Places(data)
    usual = {"model": "timm:test_resnet", "dataset": NAME, "resolution": 96, "train_size": 30, "budget": {"steps": 0}}
    plain = make_run({**usual, "options": {"weights": "file:weights.pth"}}, places)
    explicit = {"weights": "file:weights.pth", "tag": "", "transforms": "data", "head": "fitted"}
    assert plain.id == make_run({**usual, "options": explicit}, places).id
    assert plain.delta["options"] == {"weights": "file:weights.pth"}
    assert Evaluation(resolution=96).id == "961d700a"
    assert default_evaluation(plain, "test", 96) == Evaluation(resolution=96)
    published = make_run({**usual, "options": {**explicit, "transforms": "weights"}}, places)
    assert default_evaluation(published, "test", 96) == Evaluation(resolution=96, crop=0.95)
    assert read_tables([{"crop": 1.0}], "")[0].each[0].interpolation is None
    with pytest.raises(ConfigError, match=r"options.head: 'kept' is of weights, and there are none"):
        make_run({**usual, "options": {"head": "kept"}}, places)
    with pytest.raises(ImpossibleError, match="images of 3 channels, and those of digits have 1"):
        make_run({**usual, "dataset": "digits", "train_size": 100, "options": {**explicit, "transforms": "weights"}})
    with pytest.raises(ImpossibleError, match="the data set 3: these are ape, bear, cat"):
        make_run({**usual, "dataset": "folder:others", "options": {"weights": "library", "head": "kept"}}, places)


def test_what_is_refused(data: Path, weights: Path, tmp_path: Path, inductive: Inductive) -> None:
    """Each in one line, before anything is written, with the nearest that is possible."""
    with pytest.raises(ConfigError, match=r"NAME: no model 'timm:test_resnt'.*did you mean `test_resnet`"):
        networks_of(["timm:test_resnt"], [])
    with pytest.raises(ConfigError, match=r"NAME: 'tim:resnet18' is of no library.*did you mean `timm`"):
        networks_of(["tim:resnet18"], [])
    with pytest.raises(ConfigError, match=r"has no weights 'r160_in2k'.*did you mean `r160_in1k`"):
        networks_of(["timm:test_resnet.r160_in2k"], [])
    with pytest.raises(ConfigError, match=r"--weights: there is no file nowhere.pth"):
        networks_of(["timm:test_resnet"], [Path("nowhere.pth")])
    with pytest.raises(ConfigError, match="--weights: are 1 for 2 networks"):
        networks_of(["timm:test_resnet", "timm:test_vit"], [weights])
    given = ("evaluate", "timm:test_vit", "--weights", str(weights), "--data", str(data), "--dataset")
    for arguments, words in (
        ((NAME, "--test-resolutions", "100"), "100"),
        ((NAME,), "not of this network"),
        (("folder:othrs",), "folder:othrs"),
        ((NAME, "--crop", "wide"), "no list of numbers such as 0.875,1"),
    ):
        done = inductive(*given, *arguments)
        assert done.returncode == 2 and words in done.stderr, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.glob("*.toml"))
    wrong = ("evaluate", "timm:test_resnet", *given[2:], "folder:others")
    done = inductive(*wrong)
    assert done.returncode == 2 and "--weights: the head of the weights has the 1,000 classes" in done.stderr


def test_the_study_that_is_written(data: Path) -> None:
    """Each network at the resolutions of its weights where none are given; the library's own download by its tag."""
    networks = networks_of(["timm:resnet18.a1_in1k", "torchvision:resnet50"], [])
    assert [one.options for one in networks] == [{"weights": "library:a1_in1k"}, {"weights": "library"}]
    text = study_text(networks, dataset(NAME, Places(data)), [], {"crop": [0.875, 1.0], "resize_side": []})
    assert "test_resolutions = [224, 288]" in text and "test_resolutions = [224]" in text
    assert "evaluations = [{ crop = [0.875, 1.0] }]" in text and "train_size = 72" in text
    rare = replace(dataset(NAME, Places(data)), train_counts=(5000, 5000, 3))  # of which 1,000 lack a class
    size = int(study_text(networks, rare, [], {}).partition("train_size = ")[2].split()[0])
    assert part_sizes(rare.train_counts, 0, size, 0) == (size, 0) and size > 1000
    with pytest.raises(ImpossibleError, match=f"the nearest possible is {size}"):
        part_sizes(rare.train_counts, 0, size - 1, 0)


@pytest.mark.parametrize(("sides", "expected"), [([96], "160"), ([96, 160], ""), ([], "")])
def test_a_network_that_is_not_tested_at_its_own_resolution(sides: list[int], expected: str, data: Path) -> None:
    """The page's main table would be empty, so the command names what is lacking."""
    text = study_text(networks_of(["timm:test_resnet"], []), dataset(NAME, Places(data)), sides, {})
    assert own_resolutions_left_out(expand(tomllib.loads(text), "x", Places(data))) == expected


@pytest.mark.parametrize(("name", "make"), [("timm:test_vit", timm.create_model), ("torchvision:squeezenet1_1", None)])
def test_a_kept_head_gives_the_librarys_logits(name: str, make: Any, data: Path, tmp_path: Path) -> None:
    """Of the classes asked for, and with all of its weights. Reference: the library's network."""
    torch.manual_seed(0)
    inner = name.partition(":")[2]
    network = (make or torchvision.models.get_model)(inner, num_classes=1000).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    options = {"weights": f"file:{tmp_path / 'weights.pth'}", "head": "kept"}
    settings = {"model": name, "dataset": NAME, "resolution": 160, "train_size": 43, "budget": {"steps": 0}}
    ours = model_of(make_run({**settings, "options": options}, Places(data))).eval()
    images = torch.randn(2, 3, 160, 160)
    with torch.inference_mode():
        expected = network(images)[:, [WNIDS.index(one) for one in sorted(CLASSES)]]
        torch.testing.assert_close(ours(images), expected)
    assert {f"net.{key}" for key in network.state_dict()} == set(ours.state_dict())


def test_nothing_is_kept_where_the_weights_cannot_be_had(data: Path, tmp_path: Path, inductive: Inductive) -> None:
    """No study and no record: what is tried again with a file, or once `prepare` has got them, is as if it were the
    first. Reference: the folder's contents; torchvision's own cache."""
    name, cache = "torchvision:squeezenet1_1", tmp_path / "cache"
    hub = {"TORCH_HOME": str(cache), "https_proxy": "http://127.0.0.1:9", "HF_HUB_OFFLINE": ""}  # nobody answers there
    verb = ("evaluate", name, "--dataset", NAME, "--data", str(data), "--device", "cpu", "--workers", "0")
    verb += ("--test-resolutions", "64")
    for command in ((*verb[:-1], "96"), verb):
        done = inductive(*command, environment=hub)
        assert done.returncode == 2 and "downloads are off here" in done.stderr
        assert f"`inductive prepare {name}` downloads them, or give a file: --weights FILE" in done.stderr
        assert not list(tmp_path.glob("*.toml")) and not (tmp_path / "runs").exists()
    tried = inductive("prepare", name, environment=hub)
    assert tried.returncode == 2 and "could not be had from https://download.pytorch.org/" in tried.stderr
    file = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1().state_dict(), file)
    done = inductive(*verb, "--weights", str(file), "--study", "file.toml", environment=hub)
    assert done.returncode == 0 and "64 px" in done.stdout, done.stdout + done.stderr
    kept = cache / "hub" / "checkpoints" / Path(torchvision.models.SqueezeNet1_1_Weights.DEFAULT.url).name
    kept.parent.mkdir(parents=True, exist_ok=True)
    file.rename(kept)
    done = inductive("prepare", name, environment=hub)
    assert done.returncode == 0 and f"{name}: the library's weights are there" in done.stdout
    done = inductive(*verb, environment=hub)
    assert done.returncode == 0 and "64 px" in done.stdout, done.stdout + done.stderr
    nearest = inductive("prepare", "torchvision:squeezenet1_2", environment=hub)
    assert nearest.returncode == 2 and "did you mean `squeezenet1_1`" in nearest.stderr
