"""Runs on photographs: a batch depends on data, seed and step, not on who decodes it or is killed meanwhile."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.transforms import functional as reference
from warm import Started

from benchmarks.data.dataset import Images, Places
from benchmarks.data.decoders import facts
from benchmarks.data.decoding import Decoding, Squares, decoded_by
from benchmarks.data.photographs import ROW, Photographs
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import InductiveError
from benchmarks.forecast import cost, memory
from benchmarks.forecast.memory import memory_of
from benchmarks.plan.evaluations import EvaluationTable, UnmetRequests, evaluations_of
from benchmarks.plan.evaluations import Request as ProbeRequest
from benchmarks.plan.probes import suited
from benchmarks.plan.run import Budget, Evaluation, Run, make_run
from benchmarks.records.record import read_record
from benchmarks.running.execute import execute
from benchmarks.running.prepare import data_set
from benchmarks.running.rerun import compare, prepare_rerun, rerun_root
from benchmarks.running.task import Settings
from benchmarks.training.evaluation import Measurer, evaluate
from benchmarks.training.images import batches_of
from benchmarks.training.probed import probes
from benchmarks.training.probed.probing import Probing
from benchmarks.training.ranks.rows import rows_of
from benchmarks.training.training import model_of

NAME = "folder:photos"
STRONG = {"name": "strong", "batch_size": 16, "rrc_scale": 0.2}


@pytest.fixture
def data(photographs: Path) -> Path:
    """A data folder with a packed set of 180 photographs."""
    return photographs


@pytest.fixture
def run(data: Path) -> Run:
    """Fourteen steps over a hundred photographs, with everything that is drawn for them."""
    return photographic(data)


def photographic(data: Path, **changes: Any) -> Run:
    usual = {
        "dataset": NAME, "model": "vit", "size": "pico", "train_size": 100, "resolution": 32, "recipe": STRONG,
        "options": {"scale": 32, "drop_path": 0.1}, "budget": {"steps": 14},
    }  # fmt: skip
    return make_run({**usual, **changes}, Places(data))


def members_of(run: Run, images: Images) -> Any:
    return draw_subset(images.train_labels, run.data.classes, run.draw, run.train_size, run.validation)


def batches(run: Run, data: Path, workers: int, order: list[int]) -> list[torch.Tensor]:
    images = load_images(NAME, data)
    assert isinstance(images.train, Photographs)
    with Decoding(images.train.store, "pillow", workers) as decoding:
        made = batches_of(run, decoded_by(images, decoding), members_of(run, images).train, torch.device("cpu"))
        found = [torch.cat([part.flatten() for part in made.batch(step)]) for step in order]
        made.close()
    return found


@pytest.mark.parametrize("recipe", [STRONG, "none", {"name": "plain", "crop_padding": 4, "batch_size": 16}])
def test_a_batch_depends_on_its_step_alone(recipe: Any, data: Path) -> None:
    """For 0, 1, 2 and 7 workers, and from whichever step one begins."""
    run = photographic(data, recipe=recipe)
    steps = list(range(14))
    expected = batches(run, data, 0, steps)
    assert len({tuple(one[:50].tolist()) for one in expected}) > 10
    for workers in (1, 2, 7) if recipe == STRONG else (2,):
        assert all(map(torch.equal, expected, batches(run, data, workers, steps)))
    assert all(map(torch.equal, expected[5:], batches(run, data, 2, steps[5:])))


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_have_their_rows_of_a_batch(ranks: int, data: Path) -> None:
    """Reference: the whole batches, by one process. Partners of other ranks are decoded by each who mixes with them."""
    run = photographic(data, recipe={**STRONG, "batch_size": 15})
    images = load_images(NAME, data)
    assert isinstance(images.train, Photographs)
    members, cpu = members_of(run, images).train, torch.device("cpu")
    whole = batches_of(run, images, members, cpu)
    parts = [batches_of(run, images, members, cpu, rows_of(rank, ranks, 15)) for rank in range(ranks)]
    for step in range(8):  # an epoch ends in step 5
        for part, expected in zip(
            zip(*(one.batch(step) for one in parts), strict=True), whole.batch(step), strict=True
        ):
            torch.testing.assert_close(torch.cat(part), expected, rtol=0, atol=1e-5)


def test_ranks_train_on_photographs(data: Path, start: Callable[..., Started], tmp_path: Path) -> None:
    """Reference: the same command without ranks. Two processes that decode for each of two ranks."""
    command = (
        *("train", "--model", "vit", "--size", "pico", "--dataset", NAME, "--data", str(data), "--train-size", "100"),
        *("--resolution", "32", "--recipe", "strong", "--set", "options.scale=32", "--set", "recipe.batch_size=16"),
        *("--steps", "14", "--workers", "2", "--device", "cpu"),
    )
    losses = []
    for name, more in (("one", ()), ("two", ("--gpus-per-run", "2"))):
        done = start("inductive", *command, "--runs", name, *more).wait()
        assert done.returncode == 0, done.stdout + done.stderr
        [path] = (tmp_path / name).glob("*/metrics.jsonl")
        losses.append([json.loads(line)["loss"] for line in path.read_text().splitlines()])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_resolutions_drawn_for_each_step(data: Path) -> None:
    run = photographic(data, recipe={**STRONG, "train_resolutions": [24, 32, 40]})
    steps = list(range(14))
    here, there = batches(run, data, 0, steps), batches(run, data, 2, steps)
    assert len({len(one) for one in here}) == 3
    assert all(map(torch.equal, here, there))


def test_an_image_is_shown_anew_in_each_epoch_and_by_each_seed(data: Path) -> None:
    """Windows depend on seed, image and epoch; the images themselves on the draw."""
    one, other = photographic(data), photographic(data, seed=1, draw=0)
    images = load_images(NAME, data)
    made = [batches_of(run, images, members_of(run, images).train, torch.device("cpu")) for run in (one, other)]
    views = [[each.views(step) for step in range(10)] for each in made]  # type: ignore[attr-defined]
    shown: dict[int, set[bytes]] = {}
    for view in views[0]:
        for image, window in zip(view.images, view.windows, strict=True):
            shown.setdefault(int(image), set()).add(window.tobytes())
    assert len(shown) == one.part_sizes[0] == 81
    assert sum(map(len, shown.values())) > 150  # of two epochs, but for two images
    assert set(views[1][0].images) != set(views[0][0].images)
    assert {int(image) for view in views[1] for image in view.images} == set(shown)


def test_an_evaluation_shows_photographs_as_torchvision_does(run: Run, data: Path) -> None:
    """Whole images, a share of them, published protocols, a canvas. Reference: torchvision's Resize and CenterCrop on
    Pillow's images, normalised by the moments of the training images so shown, through the same network."""
    from io import BytesIO

    from PIL import Image

    images, network = load_images(NAME, data), model_of(run)
    assert isinstance(images.test, Photographs) and isinstance(images.train, Photographs)
    subset = members_of(run, images)

    def shown(part: Photographs, shorter: int, side: int) -> torch.Tensor:
        files = [Image.open(BytesIO(part.store.read(int(row)))).convert("RGB") for row in part.rows]
        cut = [reference.center_crop(reference.resize(file, [shorter]), [side]) for file in files]
        return torch.stack([reference.to_tensor(one) for one in cut])

    train = shown(images.train.select(subset.train), 32, 32)
    mean, deviation = train.double().mean((0, 2, 3)), train.double().std((0, 2, 3), correction=0)
    measurer = Measurer(network, run, images, subset, channels_last=False)
    for how, (shorter, side) in {
        Evaluation(resolution=32): (32, 32),
        Evaluation(resolution=48): (48, 48),
        Evaluation(resolution=28, crop=0.875): (32, 28),
        Evaluation(resolution=32, crop=0.875): (36, 32),  # rounded down, as timm does
        Evaluation(resolution=24, resize_side=27): (27, 24),
    }.items():
        x = (shown(images.test, shorter, side) - mean.view(-1, 1, 1).float()) / deviation.view(-1, 1, 1).float()
        measurer.logits("test", how)  # carries positions to the size
        with torch.inference_mode():
            expected = network.eval()(x)
        torch.testing.assert_close(measurer.logits("test", how), expected, atol=2e-5, rtol=1e-4)


def test_probes_change_photographs_as_they_are_shown_in_training(run: Run, data: Path) -> None:
    """What is asked for fits the training resolution. Reference: the same squares as a data set in memory."""
    images, network = load_images(NAME, data), model_of(run)
    assert isinstance(images.test, Photographs) and isinstance(images.train, Photographs)
    subset = members_of(run, images)
    squares = {part: Squares(getattr(images, part), 32, 32)[:] for part in ("train", "test")}
    decoded = replace(images, **squares)
    alike = run.model_copy()
    alike._data = replace(run.data, photographs=False, native_resolution=32)
    here = Probing(Measurer(network, run, images, subset, channels_last=False))
    there = Probing(Measurer(network, alike, decoded, subset, channels_last=False))
    for probe in ("patch_shuffle", "blur", "occlusion"):
        asked = list(suited(probe, None, run.probed_side("resize", 32), "probe"))
        assert asked
        one = Evaluation(resolution=32, probe=probe, strength=asked[-1][1])
        (found, arrays), (expected, reference_arrays) = (each.evaluate(one, "", "logits") for each in (here, there))
        assert found == expected
        assert arrays.keys() == reference_arrays.keys()
        np.testing.assert_array_equal(arrays[f"{one.id}.logits"], reference_arrays[f"{one.id}.logits"])


@pytest.mark.parametrize(
    "shown",
    [
        {"crop": 0.875},
        {"resize_side": 36},
        {"resolution": 48, "interpolation": "bicubic"},
        {"resolution": 48, "images": "canvas", "crop": 0.75},
        {"aspect": "squashed", "crop": 0.875, "batchnorm": "reestimated", "views": "mirrored"},
    ],
)
def test_a_probe_that_changes_nothing_shows_what_is_shown_without(
    shown: dict[str, Any], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the evaluation without the probe, to the bit, which a test above holds against torchvision."""
    run = photographic(data, model="resnet", options={"scale": 32})
    images, network = load_images(NAME, data), model_of(run)
    measurer = Measurer(network, run, images, members_of(run, images), channels_last=False)
    monkeypatch.setattr(probes, "blur", lambda x, value, scene: x)
    one = Evaluation(**{"resolution": 32, **shown, "probe": "blur", "strength": 1})
    [found], arrays = Probing(measurer).evaluate(one, "", "logits")
    [expected], reference_arrays = evaluate(measurer, [one.unprobed], "", "logits")
    numbers = ("count", "accuracy", "nll", "calibration")
    assert [found[name] for name in numbers] == [expected[name] for name in numbers]
    assert found["consistency"] == 1.0
    np.testing.assert_array_equal(arrays[f"{one.id}.logits"], reference_arrays[f"{one.unprobed.id}.logits"])


def test_probes_suit_the_size_of_the_photographs_that_they_change(data: Path) -> None:
    """A grid of 8 x 8 divides 32 pixels and not 36; on a canvas an image has the pixels of training."""
    run, unmet = photographic(data), UnmetRequests()

    def strengths(**how: Any) -> list[int]:
        table = EvaluationTable("", (ProbeRequest(probe="patch_shuffle", **how),))
        found = evaluations_of(run, (table,), [run.resolution], run.measured_parts, unmet)
        return [one.strength for one in found if isinstance(one, Evaluation)]

    assert strengths() == strengths(resolution=36, images="canvas") == [1, 2, 3]
    assert strengths(resolution=36) == [1, 2]


def weights(root: Path, run: Run) -> dict[str, torch.Tensor]:
    return load_file(root / run.id / "weights.safetensors")


def logits(root: Path, run: Run) -> dict[str, Any]:
    """Of every evaluation; and the predicted classes, and the labels."""
    with np.load(next((root / run.id / "evaluations").glob("*.npz"))) as arrays:
        return {name: arrays[name].tobytes() for name in arrays.files if "." in name}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


EVALUATIONS = [Evaluation(resolution=32), Evaluation(resolution=32, crop=0.875)]


def test_a_run_is_the_same_for_any_number_of_workers_and_after_a_stop(run: Run, data: Path, tmp_path: Path) -> None:
    """Weights and what was measured, bit for bit; the record says what decoded, and how long training waited."""
    execute(run, tmp_path / "0", EVALUATIONS, Settings(data), lambda: False)
    execute(run, tmp_path / "2", EVALUATIONS, Settings(data, workers=2), lambda: False)
    polls = iter(range(100))
    stopped = execute(run, tmp_path / "stopped", EVALUATIONS, Settings(data, workers=1), lambda: next(polls) == 6)
    assert stopped.state == "interrupted"
    execute(run, tmp_path / "stopped", EVALUATIONS, Settings(data, workers=3), lambda: False)
    expected = weights(tmp_path / "0", run)
    for root in ("2", "stopped"):
        assert same(expected, weights(tmp_path / root, run)), root
        assert logits(tmp_path / root, run) == logits(tmp_path / "0", run)
    assert f"{EVALUATIONS[1].id}.logits" in logits(tmp_path / "0", run)
    folder = tmp_path / "2" / run.id
    execution = json.loads((folder / "execution.json").read_text())
    assert execution["decoder"]["name"] == "pillow"
    assert {"version", "libjpeg", "orientation", "colour"} <= execution["decoder"].keys()
    ended = json.loads((folder / "attempts" / "0001" / "ended.json").read_text())
    assert 0 < ended["seconds"]["waiting"] <= ended["seconds"]["training"]


def test_the_decoder_that_a_run_was_begun_with_is_kept(run: Run, data: Path, tmp_path: Path) -> None:
    execute(run, tmp_path, [], Settings(data, decoder="pillow"), iter([False] * 3 + [True]).__next__)
    execute(run, tmp_path, [], Settings(data, decoder="torchcodec"), lambda: False)
    execute(run, tmp_path / "whole", [], Settings(data), lambda: False)
    assert same(weights(tmp_path, run), weights(tmp_path / "whole", run))
    other = tmp_path / "torchcodec"
    execute(run, other, [], Settings(data, decoder="torchcodec"), lambda: False)
    assert json.loads((other / run.id / "execution.json").read_text())["decoder"]["name"] == "torchcodec"


def test_a_rerun_on_another_device_decodes_as_the_run_did(run: Run, data: Path, tmp_path: Path) -> None:
    """Reference: the record, made here by the decoder that is not the usual one, and said to be another device's."""
    execute(run, tmp_path, EVALUATIONS, Settings(data, decoder="pillow-reduced"), lambda: False)
    path = tmp_path / run.id / "execution.json"
    ours = json.loads(path.read_text())
    path.write_text(json.dumps(ours | {"device": "mps"}))
    record = read_record(tmp_path / run.id)
    wanted = prepare_rerun(record, run, device="cpu")
    execute(run, rerun_root(tmp_path), wanted, Settings(data), lambda: False)
    assert json.loads((rerun_root(tmp_path) / run.id / "execution.json").read_text()) == ours
    found = compare(record, None)
    assert (found.verdict, found.conditions) == ("equal", ("device: mps then, cpu now",))


def test_a_run_at_reduced_scale_learns_from_the_same_windows_and_labels(data: Path, tmp_path: Path) -> None:
    """Reference: the batches of the same run by Pillow. Its execution.json and each evaluation name the decoder."""
    run, taken = photographic(data, resolution=16), {}
    images = load_images(NAME, data)
    assert isinstance(images.train, Photographs)
    for name in ("pillow", "pillow-reduced"):
        with Decoding(images.train.store, name) as decoding:
            made = batches_of(run, decoded_by(images, decoding), members_of(run, images).train, torch.device("cpu"))
            views, (x, labels) = made.views(0), made.batch(0)  # type: ignore[attr-defined]
            taken[name] = (views.images, views.windows, labels, x)
            made.close()
    one, other = taken.values()
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(one[:3], other[:3], strict=True))
    assert not torch.equal(one[3], other[3])
    execute(run, tmp_path, [Evaluation(resolution=16)], Settings(data, decoder="pillow-reduced"), lambda: False)
    execution = json.loads((tmp_path / run.id / "execution.json").read_text())
    assert execution["decoder"] == facts("pillow-reduced")
    assert {entry["decoder"]["name"] for entry in read_record(tmp_path / run.id).evaluations} == {"pillow-reduced"}


def test_a_byte_that_flips_costs_nothing_that_was_trained(photographs: Path, tmp_path: Path) -> None:
    """The run fails and names shard and image; `prepare` mends the shard from the files, and the run goes on."""
    data = shutil.copytree(photographs, tmp_path / "data")
    run = photographic(data)
    execute(run, tmp_path / "whole", [], Settings(data), lambda: False)
    images = load_images(NAME, data)
    assert isinstance(images.train, Photographs)
    store = images.train.store
    last = batches_of(run, images, members_of(run, images).train, torch.device("cpu")).views(7 * 1)  # type: ignore[attr-defined]
    row, shard = store.index[int(last.images[0])], store.folder / store.manifest.shards[0].file
    good = bytearray(shard.read_bytes())
    place = int(row["offset"]) + int(row["bytes"]) // 2
    polls = iter([False] * 2 + [True])
    execute(run, tmp_path / "runs", [], Settings(data), lambda: next(polls))
    bad = bytearray(good)
    bad[place] ^= 16
    shard.write_bytes(bytes(bad))
    load_images.cache_clear()
    with pytest.raises(InductiveError, match="other bytes than were put there"):
        execute(run, tmp_path / "runs", [], Settings(data, workers=2), lambda: False)
    list(data_set(NAME, data))
    assert shard.read_bytes() == bytes(good)
    load_images.cache_clear()
    assert execute(run, tmp_path / "runs", [], Settings(data), lambda: False).state == "finished"
    assert same(weights(tmp_path / "whole", run), weights(tmp_path / "runs", run))


def test_a_run_that_is_killed_resumes_with_the_same_bits(
    run: Run, data: Path, start: Callable[..., Started], tmp_path: Path
) -> None:
    """SIGKILL of the process that trains, at two steps, each time with another number of workers; none is left."""
    execute(run, tmp_path / "whole", [], Settings(data), lambda: False)
    for kill_at, workers in ((4, 2), (9, 1)):
        order = (json.dumps(run.settings()), str(data), str(tmp_path / "runs"), str(kill_at), str(workers))
        started = start("-c", KILLED, *order)
        assert started.wait().returncode == -signal.SIGKILL
    execute(run, tmp_path / "runs", [], Settings(data, workers=2), lambda: False)
    assert same(weights(tmp_path / "whole", run), weights(tmp_path / "runs", run))


KILLED = """
import json, os, signal, sys
from pathlib import Path
from benchmarks.data.dataset import Places
from benchmarks.records.record import read_record
from benchmarks.running.execute import execute
from benchmarks.running.task import Settings
from benchmarks.plan.probes import suited
from benchmarks.plan.run import make_run

data, root, last = Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
run = make_run(json.loads(sys.argv[1]), Places(data))

def progress(step, steps, rate):
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)

execute(run, root, [], Settings(data, checkpoint_seconds=1e-9, workers=int(sys.argv[5])), lambda: False, progress)
"""


def test_memory_is_forecast_without_decoding_the_whole_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index row for each of the images, and a ring of batches; a row is ROW, a ring three batches."""
    taken = memory_of(run, [Evaluation(resolution=32)])
    images = sum(run.data.train_counts) + run.data.test_count
    assert taken.images == images * ROW.itemsize
    monkeypatch.setattr(memory, "AHEAD", 0)
    assert taken.step - memory_of(run, [Evaluation(resolution=32)]).step == 3 * 16 * 3 * 32**2
    assert taken.evaluation - memory_of(run, [Evaluation(resolution=32)]).evaluation == 3 * 256 * 3 * 32**2


def test_a_forecast_takes_the_slower_of_decoding_and_training(run: Run) -> None:
    """With many workers training is slower, with few decoding; what was measured has waited already."""
    fast = cost.Slot("cuda", "h100", workers=1000)
    slow = replace(fast, workers=1)
    images = run.steps * 16
    trained = cost.run_seconds(run, [], fast)
    assert trained > images * cost.DECODE_SECONDS / 1000
    long = photographic_like(run, steps=10**6)
    assert cost.run_seconds(long, [], slow) - cost.run_seconds(run, [], slow) == pytest.approx(
        10**6 * 16 * cost.DECODE_SECONDS - cost.run_seconds(run, [], slow), rel=0.01
    )
    measured = cost.Speeds({cost.speed_key(long): 1e6}, start=0.0)
    assert cost.run_seconds(long, [], slow, measured) == pytest.approx(16.0)


def photographic_like(run: Run, steps: int) -> Run:
    """The run with another number of steps."""
    other = run.model_copy(update={"budget": Budget(steps=steps)})
    other._data = run.data
    return other
