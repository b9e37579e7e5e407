"""Several ranks: the training of one process, whatever their number. Everything is in float64, by gloo."""

import dataclasses
import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from ranks import Case, Ranks

import models
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.plan.run import make_run
from benchmarks.training import batches
from benchmarks.training.ranks.batches import ResidentRows
from benchmarks.training.ranks.draws import ByPlace, axes_of_draws
from benchmarks.training.ranks.normalisation import Groups, check_groups
from benchmarks.training.ranks.recomputing import recomputable, recomputed
from benchmarks.training.ranks.rows import Rows, rows_of
from models.network import Network

STRONG = {
    "name": "digits",
    "batch_size": 24,
    "crop_padding": 1,
    "randaugment_operations": 2,
    "erasing": 0.25,
    "mixup": 0.8,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
}


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    started = Ranks()
    yield started
    started.end()


def case(model: str, steps: int = 5, micro_batch: int | None = None, **settings: Any) -> Case:
    recipe = {**STRONG, **settings.pop("recipe", {})}
    usual = {"size": "pico", "train_size": 100, "budget": {"steps": steps}}
    return Case({**usual, "model": model, "recipe": recipe, **settings}, steps, micro_batch)


CASES = {
    "BatchNorm": case("resnet", 10),
    "drop path": case("vit", 10, recipe={"drop_path": 0.5}),
    "attention dropout": case("cct", options={"attention_dropout": 0.3}),
    "dropout everywhere": case("course_vit", size="course", options={"dropout": 0.3}),
    "windows": case("swin", recipe={"drop_path": 0.3}),
    "airbench": case("airbench", 3, size="airbench94", recipe={"optimizer": "sgd", "learning_rate": 0.05}),
    "last layers alone": case("resnet", recipe={"trained": "last_norm_and_head", "ema": 0.9}),
    "averaged": case("vit", recipe={"ema": 0.9, "optimizer": "sgd", "learning_rate": 0.1}),
}


@pytest.mark.parametrize("name", CASES)
def test_one_two_and_four_ranks_are_one_training(name: str, ranks: Ranks) -> None:
    """Reference: one process that knows nothing of ranks. Loss and accuracy of every step, and the final weights; all
    ranks end with the same bits."""
    [alone] = ranks.train(CASES[name], 1)
    for count in (2, 4) if name in ("BatchNorm", "drop path") else (4,):
        found = ranks.train(CASES[name], count)
        assert len({one.digest for one in found}) == 1
        assert found[0].losses == pytest.approx(alone.losses, rel=1e-5)
        assert found[0].accuracies == pytest.approx(alone.accuracies, abs=1e-6)


@pytest.mark.parametrize(
    ("count", "size"), [(1, 7), (2, 5), (3, 24), (4, 1)], ids=["one rank", "two ranks", "uneven rows", "one image"]
)
def test_micro_batches_draw_by_place(count: int, size: int, ranks: Ranks) -> None:
    """Reference: one process that has the whole batch at once. Gradients of micro-batches are added up, and each image
    has the drop path of its place; 25 images are 8, 8 and 9. One process draws otherwise, as ever: none here."""
    recipe = {"drop_path": 0.0 if count == 1 else 0.5, "batch_size": 25}
    [alone] = ranks.train(case("vit", 4, recipe=recipe), 1)
    found = ranks.train(case("vit", 4, size, recipe=recipe), count)
    assert found[0].losses == pytest.approx(alone.losses, rel=1e-5)


@pytest.mark.parametrize("size", [3, 6, 12, 24])
def test_groups_of_batch_norm_are_the_same_for_any_ranks(size: int, ranks: Ranks) -> None:
    """Reference: one process; and for it torch's own BatchNorm of each group by itself. Three images are a part of what
    a rank has, six are what each of four has, twelve are of two of them. Running statistics are the same, too."""
    grouped = case("resnet", 4, recipe={"batch_norm_group": size})
    [alone] = ranks.train(grouped, 1)
    [whole] = ranks.train(case("resnet", 4), 1)
    assert (alone.losses == pytest.approx(whole.losses, rel=1e-5)) == (size == 24)
    for count in (2, 4):
        found = ranks.train(grouped, count)
        assert found[0].losses == pytest.approx(alone.losses, rel=1e-5)
        assert len({one.digest for one in found}) == 1
        for name, value in alone.state.items():
            torch.testing.assert_close(found[0].state[name], value, rtol=1e-5, atol=1e-6)
    if size == 3:
        parts = ranks.train(case("resnet", 4, 6, recipe={"batch_norm_group": size}), 2)
        assert parts[0].losses == pytest.approx(alone.losses, rel=1e-5)


def test_a_group_is_torchs_batch_norm() -> None:
    """References: nn.BatchNorm2d on each group by itself, its gradients and the mean of its running statistics."""
    torch.manual_seed(0)
    x = torch.randn(12, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    norm, expected = (torch.nn.BatchNorm2d(3).double() for _ in range(2))
    groups = Groups(4, 12, None)
    with groups:
        out = norm(x)
    groups.move(groups.sums())
    out.square().sum().backward()
    gradient, x.grad = x.grad, None
    fresh = [torch.nn.BatchNorm2d(3).double() for _ in range(3)]
    by_hand = torch.cat([one(part) for one, part in zip(fresh, x.split(4), strict=True)])
    by_hand.square().sum().backward()
    torch.testing.assert_close(out, by_hand)
    torch.testing.assert_close(gradient, x.grad)
    for name in ("running_mean", "running_var"):
        mean = torch.stack([one.get_buffer(name) for one in fresh]).mean(0)
        torch.testing.assert_close(norm.get_buffer(name), mean)
    assert (norm.eval()(x) != expected.eval()(x)).any()


@pytest.mark.parametrize(
    ("group", "batch", "count", "micro", "words"),
    [
        (
            5,
            24,
            2,
            12,
            "5: 2 ranks with 12 of 24 images each cannot normalise so many together; allowed: 1, 2, 3",
        ),
        (24, 24, 4, 3, "24: 4 ranks with 6 of 24 images each, 3 at once, cannot"),
        (0, 24, 2, 6, "a rank has room for 6 of its 12 at once; what helps: more ranks"),
        (5, 25, 2, 13, "25 images are not as many on each of 2 ranks"),
    ],
)
def test_groups_that_cannot_be_say_what_can(group: int, batch: int, count: int, micro: int, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        check_groups(group, batch, count, micro)


@pytest.mark.parametrize("recipe", ["strong", "deit", "speed", "course", "better-vit"])
@pytest.mark.parametrize("block", [1, 3])
def test_rows_are_those_of_the_batch(recipe: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: the whole batches of random images, of which every rank has its rows, partners of other ranks and
    epochs that end inside a batch included; also where several steps are made at once."""
    monkeypatch.setattr(batches, "block_steps", lambda run, device: block)
    run = make_run({"dataset": "cifar10", "train_size": 100, "recipe": {"name": recipe, "batch_size": 30}})
    images = np.random.default_rng(0).integers(0, 256, (80, 3, 32, 32), np.uint8)
    labels, cpu = np.arange(80) % 10, torch.device("cpu")
    whole = batches.Batches(run, images, labels, cpu)
    parts = [ResidentRows(rows_of(rank, 4, 30), run, images, labels, cpu) for rank in range(4)]
    for step in (0, 2, 3, 8):
        x, weights = whole.batch(step)
        found = [part.batch(step) for part in parts]
        assert [len(one) for one, _ in found] == [7, 8, 7, 8]
        torch.testing.assert_close(torch.cat([one for one, _ in found]), x, rtol=0, atol=1e-5)
        torch.testing.assert_close(torch.cat([one for _, one in found]), weights)


class Odd(Network):
    """Draws what no rank can: numbers whose amount says nothing of images."""

    in_channels = 1

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.head = how, torch.nn.Linear(4, 2)

    def run(self, images: torch.Tensor, parts: Any) -> torch.Tensor:
        drawn = torch.rand(len(images) + 1) if self.how == "one more" else torch.randint(2, (len(images), 1))
        return self.head(images.flatten(1)) * drawn.sum()

    def grid(self, height: int, width: int) -> Any:
        return 1, 1


def test_what_cannot_be_drawn_by_place_is_refused() -> None:
    """No image may be treated otherwise than on one GPU without a word."""
    with pytest.raises(InductiveError, match="no dimension of it is the images"):
        axes_of_draws(Odd("one more"), (1, 2, 2))
    network = Odd("integers")
    with (
        pytest.raises(InductiveError, match=r"aten.randint.* draws by itself"),
        ByPlace(Rows(0, 2, 4), (0,)),
    ):
        network(torch.zeros(2, 1, 2, 2))


def test_all_ranks_begin_where_rank_0_is(ranks: Ranks) -> None:
    """Reference: one process that makes all ten steps. Rank 0 has made four, the others none."""
    one = dataclasses.replace(CASES["BatchNorm"], start=4)
    [alone] = ranks.train(CASES["BatchNorm"], 1)
    found = ranks.train(one, 2)
    assert found[0].losses == pytest.approx(alone.losses[4:], rel=1e-5)
    assert found[0].digest == found[1].digest


RECOMPUTED = {"checkpoint_activations": True}


@pytest.mark.parametrize("name", ["BatchNorm", "drop path", "dropout everywhere", "windows", "averaged"])
def test_what_is_computed_again_is_the_same(name: str, ranks: Ranks) -> None:
    """Reference: the bits of the same training that keeps its activations, by one process and by two; with groups of
    BatchNorm, too. Running statistics have followed once."""
    one = dataclasses.replace(CASES[name], steps=3)
    cases = [one]
    if name == "BatchNorm":
        cases.append(case("resnet", 3, 6, recipe={"batch_norm_group": 3}))
    for kept in cases:
        again = dataclasses.replace(kept, more=RECOMPUTED)
        for count in (1, 2):
            assert ranks.train(again, count)[0].digest == ranks.train(kept, count)[0].digest


@pytest.mark.parametrize("model", models.model_names())
def test_blocks_are_found_in_every_network(model: str) -> None:
    """Reference: what autograd keeps of a pass (torch's own hook on saved tensors): less than 80 % of it in bytes, or
    the network says that it has no blocks."""
    sizes = models.family(model).sizes
    size = next((one for one in ("nano", "pico") if one in sizes), models.default_size(model))
    network = models.create_model(model, image_size=32, in_channels=3, num_classes=10, size=size, seed=0).train()
    images = torch.randn(4, 3, 32, 32)

    def kept(context: Any) -> int:
        sizes: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            if not any(tensor is one or tensor._base is one for one in network.parameters()):
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), context:
            network(images)
        return sum(sizes.values())

    if model in ("mlp", "simple_cnn"):
        with pytest.raises(InductiveError, match="has no blocks in a ModuleList or Sequential"):
            recomputable(network)
        return
    whole, again = kept(nullcontext()), kept(recomputed(recomputable(network), None, None))
    assert again < (0.95 if model == "attention_mlp" else 0.8) * whole  # that one has a block, and tokens enter it
    assert not any("forward" in module.__dict__ for module in network.modules())
