"""Trainers side by side: the same images, initial weights, steps and rates for all three; the table's numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from benchmarks.data import official
from benchmarks.data.store import make_ready
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import InductiveError
from benchmarks.peers import plain, timm_train
from benchmarks.peers.alike import MOMENTS, check_alike, timm_network
from benchmarks.peers.tables import table
from benchmarks.peers.trainings import TRAINERS, key_of, trainings
from benchmarks.plan.run import Run, make_run
from benchmarks.plan.study import load_study
from benchmarks.speed.cases import training_of
from benchmarks.speed.children import FamilyClock
from benchmarks.training.kernels import execution_for
from benchmarks.training.training import model_of

STUDY = Path(__file__).parents[2] / "docs" / "results" / "side-by-side.toml"
IMAGES = {"train": 60_000, "t10k": 10_000}
NUMBERED = 3  # bytes of an image that say which one it is


def pixels_of(part: str) -> NDArray[np.uint8]:
    """N 28 28, each image with its number in its first bytes."""
    found = np.random.default_rng(len(part)).integers(0, 256, (IMAGES[part], 28 * 28), dtype=np.uint8)
    for byte in range(NUMBERED):
        found[:, byte] = np.arange(IMAGES[part]) >> 8 * byte & 255
    return found.reshape(-1, 28, 28)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with Fashion-MNIST's files: other images, as many of them."""
    folder = tmp_path_factory.mktemp("data")
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in IMAGES.items():
        labels = (np.arange(count) % 10).astype(np.uint8)
        for name, values in (("images-idx3", pixels_of(part)), ("labels-idx1", labels)):
            head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
            (raw / f"{part}-{name}-ubyte").write_bytes(head + values.tobytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(official.UNPACKED, "fashion_mnist", {})  # their MD5 sums, which made images cannot have
        make_ready("fashion_mnist", folder)
    return folder


def run_with(steps: int = 6, **changes: Any) -> Run:
    recipe = {"name": "plain", "batch_size": 4, "warmup": 0.5, **changes.pop("recipe", {})}
    settings = {"model": "vit", "options": {"position": "learned_1d"}, "size": "pico", "dataset": "fashion_mnist"}
    given = {"train_size": 12_000, "validation": 0, "budget": {"steps": steps}, "seed": 1}
    return make_run({**settings, **given, "recipe": recipe, **changes})


def resnet(steps: int = 6, **changes: Any) -> Run:
    return run_with(steps, model="resnet", options={}, **changes)


def ours(run: Run, data: Path, **kernels: str) -> Any:
    return training_of(run, data, execution_for(run, "cpu") | kernels)


def batches_of(trainer: str, run: Run, data: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """The training batches of a trainer, its normalisation undone: bytes B 1 28 28, classes B."""
    if trainer == "ours":
        batches = ours(run, data).batches
        for step in range(run.steps):
            x, weights = batches.batch(step)
            yield (x * batches.normalise.deviation + batches.normalise.mean) * 255, weights.argmax(1)
        return
    (mean,), (deviation,) = MOMENTS["fashion_mnist"]
    for x, labels in {"plain": plain, "timm": timm_train}[trainer].loaders(run, data)[0]:
        yield (x * deviation + mean) * 255, labels


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_same_training_images(trainer: str, data: Path) -> None:
    """Without augmentation a trainer's network is given images of the file, byte by byte, with their labels, and none
    twice. Reference: the arrays that the file was written from."""
    written, seen = pixels_of("train"), []
    run = run_with(recipe={"crop_padding": 0, "batch_size": 500})
    for _, (x, labels) in zip(range(3), batches_of(trainer, run, data), strict=False):
        images = x.round().to(torch.uint8).numpy()[:, 0]
        assert x.sub(x.round()).abs().max() < 1e-2
        number = sum(images.reshape(-1, 28 * 28)[:, byte].astype(np.int64) << 8 * byte for byte in range(NUMBERED))
        np.testing.assert_array_equal(images, written[number])
        np.testing.assert_array_equal(labels, number % 10)
        seen += list(number)
    labels = (np.arange(IMAGES["train"]) % 10).astype(np.int64)
    members = draw_subset(labels, 10, run.draw, run.train_size, 0).train
    assert len(set(seen)) == 1500 and set(seen) <= set(members.tolist())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_same_windows(trainer: str, data: Path) -> None:
    """A crop is a window of the image in a frame of four zeros on each side: every place occurs, none beyond.
    Reference: the arrays that the file was written from."""
    written, places = pixels_of("train"), set()
    x, _ = next(batches_of(trainer, run_with(recipe={"batch_size": 500}), data))
    for image in x.round().to(torch.uint8).numpy()[:, 0]:
        rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
        places.add((28 - len(rows), rows[0] > 0, 28 - len(columns), columns[0] > 0))
    assert {down for down, *_ in places} == set(range(5))
    assert {across for *_, across, _ in places} == set(range(5))
    assert written.any(2).all() and written.any(1).all()  # no row or column of zeros of its own


@pytest.mark.parametrize("trainer", ["plain", "timm"])
def test_whole_test_images_in_order(trainer: str, data: Path) -> None:
    """Reference: the arrays that the file was written from."""
    loader = {"plain": plain, "timm": timm_train}[trainer].loaders(run_with(), data)[1]
    (mean,), (deviation,) = MOMENTS["fashion_mnist"]
    images = torch.cat([x for x, _ in loader]) * deviation + mean
    np.testing.assert_array_equal(images.mul(255).round().to(torch.uint8).numpy()[:, 0], pixels_of("t10k"))
    assert torch.cat([labels for _, labels in loader]).tolist() == [number % 10 for number in range(10_000)]


@pytest.fixture
def watched() -> Iterator[list[tuple[list[float], dict[float, Tensor]]]]:
    """At each update of whichever optimiser: the rates of its groups; its parameters by weight decay, sorted."""
    seen: list[tuple[list[float], dict[float, Tensor]]] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        groups = optimizer.param_groups
        values = {g["weight_decay"]: torch.cat([p.detach().flatten() for p in g["params"]]).sort()[0] for g in groups}
        seen.append(([float(group["lr"]) for group in groups], values))

    handle = register_optimizer_step_pre_hook(note)
    yield seen
    handle.remove()


@pytest.mark.parametrize("make", [run_with, resnet])
def test_the_same_start_steps_and_rates(
    make: Callable[..., Run], data: Path, tmp_path: Path, watched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every trainer makes as many updates, of the same initial weights to the bit, the same of them decayed. Reference:
    our own training. Rates are equal but in timm's warm-up, which begins at 1e-5 and is a step behind."""
    monkeypatch.setattr(plain, "accuracy", lambda *given: 0.5)
    monkeypatch.setattr(timm_train, "validate", lambda *given: {"loss": 1.0, "top1": 50.0})
    run = make()
    training = ours(run, data)
    for _ in range(run.steps):
        training.update()
    wanted = list(watched)
    for trainer in (plain, timm_train):
        watched.clear()
        trained = trainer.train(run, data, tmp_path)
        assert (trained.steps, len(watched), trained.test_accuracy) == (run.steps, len(wanted), 0.5)
        assert watched[0][1].keys() == wanted[0][1].keys() == {0.05, 0.0}
        for decay, values in wanted[0][1].items():
            torch.testing.assert_close(watched[0][1][decay], values, rtol=0, atol=0)
        for step, (rates, _) in enumerate(watched):
            late = trainer is timm_train and step < 3
            expected = 1e-5 + step * (1e-3 - 1e-5) / 3 if late else wanted[step][0][0]
            assert rates == pytest.approx([expected] * len(rates), rel=1e-6), step


@pytest.mark.parametrize("make", [run_with, resnet])
def test_the_same_batches_make_the_same_network(
    make: Callable[..., Run], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given our batches, the other loops train a network whose logits are those of ours, to 1e-4. Reference: our own
    training, by the kernels of a plain module: others round otherwise, and Adam's first steps are signs of gradients.
    Without warm-up, in which timm's rates differ."""
    run = make(recipe={"warmup": 0.0, "batch_size": 50})
    training = ours(run, data, layout="contiguous", linear="torch", attention="fused")
    batches = [(x, weights.argmax(1)) for x, weights in map(training.batches.batch, range(run.steps))]
    x = batches[0][0]
    with torch.no_grad():
        before = training.model.eval()(x)
    for _ in range(run.steps):
        training.update()
    monkeypatch.setattr(plain, "accuracy", lambda *given: 0.5)
    monkeypatch.setattr(timm_train, "validate", lambda *given: {"loss": 1.0, "top1": 50.0})
    for trainer, file in ((plain, "weights.pt"), (timm_train, "last.pth.tar")):
        monkeypatch.setattr(trainer, "loaders", lambda *given: (batches, None))
        trainer.train(run, data, tmp_path)
        state = torch.load(tmp_path / file)
        network = model_of(run) if trainer is plain else timm_network(run)
        network.load_state_dict(state.get("state_dict", state))
        with torch.no_grad():
            expected, found = training.model.eval()(x), network.eval()(x)
        assert (expected - before).abs().mean() > 1e-2
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [run_with, resnet])
def test_the_same_network(make: Callable[..., Run]) -> None:
    """Equal logits in float32, whoever's class computes them. Reference: ours."""
    run = make()
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(timm_network(run).eval()(x), model_of(run).eval()(x), rtol=1e-5, atol=1e-5)


def test_runs_that_cannot_be_given_to_all_are_refused() -> None:
    """With every reason; the study's own runs are none of them."""
    for run in load_study(str(STUDY)).runs:
        check_alike(run)
    changed = {"ema": 0.99, "batch_size": 7, "clip": 0.0}
    with pytest.raises(InductiveError) as found:
        check_alike(resnet(recipe=changed, validation=0.2, resolution=14, precision="bfloat16"))
    reasons = ("recipe.ema = 0.99", "batch_size = 7", "clip = 0", "validation = 0.2", "resolution = 14", "bfloat16")
    assert [reason for reason in reasons if reason not in str(found.value)] == []
    with pytest.raises(InductiveError, match="allowed: fashion_mnist, cifar10"):
        check_alike(run_with(dataset="mnist"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "vit", "options": {"attention_window": 1}}, "attention_window = 1, allowed: 0"),
        ({"model": "vit", "options": {"drop_path": 0.5}}, "drop_path = 0.5, allowed: 0.0"),
        ({"model": "vit", "options": {"position": "rope_axial"}}, "position = 'rope_axial', allowed: 'learned_1d'"),
        ({"model": "vit", "options": {"class_token": True}}, "class_token = True, allowed: False"),
        ({"model": "swin"}, "recipe.weight_decay, which timm's path has on .*bias_table, too; allowed: 0"),
        ({"init_from": "w.pth"}, "init_from: the others' networks are drawn"),
    ],
)
def test_networks_that_are_not_the_same_there_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InductiveError, match=said):
        check_alike(run_with(**{"model": "resnet", "options": {}, **changes}))


def test_each_is_trained_in_a_process_of_its_own(data: Path, tmp_path: Path) -> None:
    """All three, and none that is known; a training that fails says why."""
    run = run_with(2, model="mlp", size="nano", options={})
    rows = dict(trainings([run], data, tmp_path / "runs", {}, FamilyClock()))
    assert list(rows) == [key_of(run, trainer) for trainer in TRAINERS]
    for row in rows.values():
        assert (row["steps"], row["images"], row["seed"]) == (2, 8, 1)
        assert 0 < row["training_seconds"] < row["whole_seconds"]
        assert 0 <= row["test_accuracy"] <= 1
    assert (tmp_path / "runs" / run.id / "result.json").exists()
    assert list(trainings([run], data, tmp_path / "runs", rows, FamilyClock())) == []
    with pytest.raises(InductiveError, match=f"{run.id} timm: NotADirectoryError"):
        next(trainings([run], Path("/dev/null/nowhere"), tmp_path, {}, FamilyClock()))


def test_numbers_of_the_table() -> None:
    """Reference: scipy's intervals, numpy's medians."""
    runs = [run_with(10, seed=seed) for seed in range(3)]
    accuracy = {"timm": [0.90, 0.91, 0.905], "ours": [0.91, 0.915, 0.912]}
    seconds = {"timm": [2.0, 4.0, 3.0], "ours": [1.0, 1.0, 2.0]}
    rows = [
        {"network": "net", "trainer": trainer, "seed": seed, "images": 40, "others": 0.1 * seed}
        | {"test_accuracy": accuracy[trainer][seed], "training_seconds": seconds[trainer][seed]}
        | {"whole_seconds": 2 * seconds[trainer][seed]}
        for trainer in accuracy
        for seed in range(3)
    ]
    machine = dict.fromkeys(("date", "torch", "torchvision", "timm", "python", "cores", "cpu", "capability"), "x")
    text = table(rows, runs, machine | {"memory_gib": 1, "threads": 1})
    theirs, mine = 100 * np.array(accuracy["timm"]), 100 * np.array(accuracy["ours"])
    low, high = stats.ttest_1samp(theirs, 0).confidence_interval()
    assert f"| `net` | timm | {theirs.mean():.2f} ({low:.2f} to {high:.2f})" in text
    low, high = stats.ttest_rel(mine, theirs).confidence_interval()
    ratio = np.median(np.array(seconds["timm"]) / np.array(seconds["ours"]))
    assert f"| {(mine - theirs).mean():+.2f} ({low:+.2f} to {high:+.2f}) | 13 | {ratio:.2f} | 7 | {ratio:.2f} |" in text
    assert "| - | 40 | - | 20 | - |" in text
    assert "Others used 0.1 cores meanwhile (median; at most 0.2)." in text
