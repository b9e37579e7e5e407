"""The tables on whole runs: what they compare is alike, their arithmetic is right, each comes about when tried."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from warm import Started

import models
from benchmarks.errors import InductiveError
from benchmarks.running.task import Settings
from benchmarks.speed import children, planning, precision, sweep
from benchmarks.speed.cases import CASES, TEST, TRAIN, Case, cases_of, network_of, run_of, write_images
from benchmarks.speed.clock import Plan, Summary, Turn
from benchmarks.speed.compilation import earned
from benchmarks.speed.loops import Elsewhere, Loop
from benchmarks.speed.scale import tiny
from benchmarks.speed.steps import CLASSES
from benchmarks.speed.tables import contention_words
from benchmarks.training.training import model_of

SMALLEST = CASES[-1]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The data folder of the timed runs."""
    write_images(tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_all_sides_train_the_same_network(case: Case, images: Path) -> None:
    """As many parameters, and as many of each shape. Reference: timm's networks, where it has them."""

    def shapes(network: torch.nn.Module) -> list[int]:
        return sorted(parameter.numel() for parameter in network.parameters())

    theirs, ours = network_of(case), model_of(run_of(case, batch=2, steps=1, data=images))
    assert shapes(theirs) == shapes(ours)
    assert theirs(torch.zeros(2, 3, 32, 32)).shape == (2, CLASSES)


def test_the_goals_are_all_there() -> None:
    """A share a network, lower for the two small ones; the networks are the named ones."""
    sizes = {case.name: sum(p.numel() for p in network_of(case).parameters()) for case in CASES}
    assert sizes["ResNet-20"] == pytest.approx(0.27e6, rel=0.02)  # He et al. (2016), table 6
    assert sizes["ResNet-18, CIFAR stem"] == pytest.approx(
        11.17e6, rel=0.01
    )  # torchvision's, its stem and head changed
    assert [case.share for case in CASES] == [0.85] * 3 + [0.7] * 2


def test_our_runs_have_the_same_task(images: Path) -> None:
    """Crop and flip are on (also for a folder of images), the batch is the one asked for, seeds differ in no more."""
    one, other = run_of(SMALLEST, 4, 3, images), run_of(SMALLEST, 4, 3, images, seed=1, precision="bfloat16")
    assert (one.recipe.crop_padding, one.recipe.flip and one.data.flips, one.recipe.batch_size) == (4, True, 4)
    assert (one.steps, one.part_sizes, one.data.test_count) == (3, (TRAIN * CLASSES, 0), TEST * CLASSES)
    assert one.settings() | {"seed": 1, "draw": 1, "precision": "bfloat16"} == other.settings()


@pytest.mark.parametrize("kind", ["plain", "timm"])
def test_their_loops_crop_and_flip_uint8_images(kind: str) -> None:
    """An epoch is as many full batches as asked for, of normalised float32 images that differ from epoch to epoch."""
    loop = Loop(kind, batch=4)
    loop.dataset.length = 8
    first, second = (list(loop.loader) for _ in range(2))
    assert [tuple(images.shape) for images, _ in first] == [(4, 3, 32, 32)] * 2
    assert {images.dtype for images, _ in first} == {torch.float32}
    seen = [torch.cat([images for images, _ in epoch]) for epoch in (first, second)]
    assert not torch.equal(*seen)
    assert all(abs(pixels.mean()) < 0.5 and 0.5 < pixels.std() < 2 for pixels in seen)  # uniform noise, about normal


@pytest.mark.parametrize(("kind", "precision"), sweep.THEIRS)
def test_their_loops_learn(kind: str, precision: str) -> None:
    """Their parameters move, in the float32 that autocast keeps them in."""
    loop = Loop(kind, batch=4)
    loop.train(SMALLEST, precision, 1)
    network = loop.known[SMALLEST.name][0]
    before = [parameter.detach().clone() for parameter in network.parameters()]
    loop.train(SMALLEST, precision, 2)
    assert not any(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_a_failing_run_fails_the_table(images: Path, tmp_path: Path) -> None:
    """A sweep in which a run ends otherwise than it should is no measurement."""
    run = run_of(SMALLEST, 2, 1, images)
    with pytest.raises(InductiveError, match=r"failed .*nowhere"):
        sweep.run_all([run], 1, Settings(tmp_path / "nowhere"), tmp_path / "runs")


def test_a_failing_loop_fails_the_table() -> None:
    """What went wrong in the other process is told here."""
    with Elsewhere("timm", 1) as loop, pytest.raises(RuntimeError, match="ValueError"):
        loop.train(SMALLEST, "float64?", -1)


def test_how_many_times_faster() -> None:
    """Other time over own, round by round where both are clean. Reference: numpy's percentiles."""
    ours = [Turn(1.0, 0.0), Turn(2.0, 0.0), Turn(1.0, 0.9), Turn(2.0, 0.1)]
    theirs = [Turn(3.0, 0.0), Turn(5.0, 0.0), Turn(9.0, 0.0), Turn(8.0, 0.0)]
    ratio, words = sweep.faster({"ours": ours, "theirs": theirs}, "ours", "theirs")
    assert sweep.faster({"ours": ours, "theirs": theirs}, "ours", "theirs", more=4)[0] == pytest.approx(4 * ratio)
    low, middle, high = np.percentile([3.0, 2.5, 4.0], [25, 50, 75])
    assert (ratio, words) == (middle, f"{middle:.2f} ({low:.2f} to {high:.2f})")
    assert sweep.faster({"ours": ours[2:3], "theirs": theirs[2:3]}, "ours", "theirs") == (0.0, "-")


def test_paired_interval() -> None:
    """Reference: scipy's paired t-test."""
    full, half = np.array([91.2, 90.1, 92.4, 90.8, 91.9]), np.array([91.0, 90.6, 92.1, 90.9, 91.4])
    low, high = stats.ttest_rel(half, full).confidence_interval(0.95)
    mean, reach = precision.interval(list(half - full))
    assert (mean - reach, mean + reach) == pytest.approx((low, high))


def test_runs_of_a_seed_differ_in_precision_alone() -> None:
    """Subset, initial weights, order and augmentation are functions of seed and draw (see randomness.py)."""
    one, other = (precision.digits_run("vit", name, 3, 500) for name in precision.PRECISIONS)
    assert one.settings() | {"precision": "bfloat16"} == other.settings()


def test_children_are_family(tmp_path: Path) -> None:
    """Reference: proc(5). 7 has the children 8 and 9, 8 has 10; 11 is another's, and 12 has gone meanwhile."""

    def process(pid: int, parent: int, *ticks: int) -> None:
        (tmp_path / str(pid)).mkdir()
        between = " ".join("0" * 9)  # fields 5 to 13
        line = f"{pid} (a (strange) name) S {parent} {between} {' '.join(map(str, ticks))} 20 0 1"
        (tmp_path / str(pid) / "stat").write_text(line)

    for pid, parent, ticks in ((7, 1, 1000), (8, 7, 100), (9, 7, 10), (10, 8, 1), (11, 1, 5000)):
        process(pid, parent, ticks, ticks, ticks, ticks)
    (tmp_path / "12").mkdir()
    expected = 4 * 111 / os.sysconf("SC_CLK_TCK")
    assert children.family_seconds(7, tmp_path) == pytest.approx(expected)


def test_the_grid_is_as_large_as_asked_for() -> None:
    """Nothing of it is left out, and every run is measured on two parts at three resolutions."""
    found = planning.planned(500)
    assert found["runs"] >= 500
    assert found["runs"] % ((len(models.position_names()) + 4) * planning.SIZES * planning.RESOLUTIONS) == 0
    assert found["evaluations"] == 6 * found["runs"]
    assert found["megabytes"] > 10


def test_the_smallest_are_tried() -> None:
    """A plan of no seconds tries the script."""
    assert cases_of(Plan()) == CASES
    tried = cases_of(Plan(seconds=0.0))
    assert 0 < len(tried) < len(CASES)
    assert all(case in CASES for case in tried)
    assert tiny(3).seed == 3


def test_a_table_without_times_says_so() -> None:
    assert contention_words({}) == "Nothing in this table is a time."


def test_the_tables_come_about(start: Callable[..., Started], tmp_path: Path) -> None:
    """`--quick`: all the way through real runs, processes and loops, tiny ones; nothing is left behind."""
    expected = {"sweep": (2, 18), "start": (2, 10), "scale": (4, 4), "planning": (1, 1)}  # rows, turns
    expected |= {"records": (5, 5), "bf16": (2, 0)}
    done = start("-m", "benchmarks.speed", *expected, "--quick", "--json", "speed.json").wait(600)
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "speed.json").read_text())["tables"]
    assert {table["name"]: (len(table["rows"]), len(table["turns"])) for table in kept} == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speed.json"]


@pytest.mark.parametrize(("ratio", "expected"), [(0.9, "200"), (1.0, "never"), (1.1, "never"), (None, "-")])
def test_steps_that_earn_a_compilation(ratio: float | None, expected: str) -> None:
    """By hand: 4 s are earned by 200 steps that each take 20 ms less than 200."""
    before = Summary(0.2, 1.0, 1.0, 1.0, 3, 3)
    assert earned(before, Summary(None, ratio, ratio, ratio, 3, 3), cost=4.0) == expected
