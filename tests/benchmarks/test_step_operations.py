"""A whole training step on a CUDA device that is not there, operation by operation.

It never waits for the device, uses nothing whose gradient CUDA adds up in no fixed order or sorts first, and takes no
more operations than `step_operations.json` has. References: torch's fake tensors, its documentation of
`use_deterministic_algorithms`, and the recorded counts. To record them anew:

RECORD=1 python -m pytest tests/benchmarks/test_step_operations.py
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.utils._python_dispatch import TorchDispatchMode

import benchmarks.training.training as module
import models
from benchmarks.data.dataset import Images
from benchmarks.data.subsets import Subset
from benchmarks.plan.run import Run, make_run
from benchmarks.training.pixels import Selected, moments
from benchmarks.training.training import Training, build_model
from models.catalogue.ladder import MIXERS
from models.checks.fake_cuda import fake_cuda, on_fake_cuda

COUNTS = Path(__file__).with_name("step_operations.json")
RECORD = os.environ.get("RECORD") == "1"
TRAIN, BATCH, PIXELS = 100, 128, 32

WAITS = {"_local_scalar_dense", "item", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "unique_dim"}
# What `torch.use_deterministic_algorithms` refuses on CUDA, by the names of the operations that a step would call
# (https://docs.pytorch.org/docs/stable/generated/torch.use_deterministic_algorithms.html, second list).
REFUSED = {
    *(f"{kind}_backward" for kind in ("avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d")),
    *(f"{kind}_backward" for kind in ("adaptive_max_pool2d", "fractional_max_pool2d", "fractional_max_pool3d")),
    *(f"max_unpool{axes}d" for axes in (2, 3)),
    *(f"upsample_{mode}_backward" for mode in ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")),
    *(f"_upsample_{mode}_aa_backward" for mode in ("bilinear2d", "bicubic2d")),
    *(f"reflection_pad{axes}d_backward" for axes in (1, 2, 3)),
    *(f"grid_sampler_{axes}d_backward" for axes in (2, 3)),
    *("nll_loss_forward", "nll_loss2d_forward", "_ctc_loss_backward", "put_", "histc", "bincount", "median"),
}
# What it lets pass in another form, which sorts or goes one by one: the first list, as a gradient would call it.
SORTED = {
    *("index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put", "index_add", "index_add_", "index_copy"),
    *("index_copy_", "scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "cumsum"),
    *("embedding_dense_backward", "max_pool3d_with_indices_backward"),
    *(f"replication_pad{axes}d_backward" for axes in (1, 2, 3)),
}


class Watch(TorchDispatchMode):
    """Counts the operations that launch something, and notes those that wait for the device, or are in `forbidden`."""

    def __init__(self, forbidden: set[str]):
        super().__init__()
        self.forbidden, self.counts, self.wrong = forbidden, Counter[str](), list[str]()

    def __torch_dispatch__(self, operation: Any, types: Any, inputs: Any = (), options: Any = None) -> Any:
        space, name = operation._schema.name.split("::")
        if name in WAITS | self.forbidden or chosen_by_mask(name, inputs):
            self.wrong.append(name)
        result = operation(*inputs, **(options or {}))
        view = any(one.alias_info is not None and not one.alias_info.is_write for one in operation._schema.returns)
        if space == "aten" and not view and "empty" not in name:
            self.counts[name] += 1
        if to_host(name, inputs, result):
            self.wrong.append(name)
        return result


def to_host(name: str, inputs: Any, result: Any) -> bool:
    """Whether an operation copies from the device to the host."""
    if name not in ("_to_copy", "copy_", "_copy_from"):
        return False
    source = inputs[1] if name == "copy_" else inputs[0]
    return bool(source.device.type == "cuda" and result.device.type == "cpu")


def chosen_by_mask(name: str, inputs: Any) -> bool:
    """Whether an index is a mask, whose places CUDA counts for the host."""
    if name not in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return False
    return any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in inputs[1])


def run_of(name: str, recipe: str = "plain", precision: str = "float32", **options: Any) -> Run:
    """A run of a network of few layers on colour images of 32 px, as many as show every path."""
    size = models.default_size(name) if models.family(name).tiers else "nano"
    known = models.resolve_options(name, size=size, options=options)
    depth = 2 if name in ("swin", "swin_v2", "convit") or "window" in known else 1
    options |= {"depth": depth} if "depth" in known else {}
    options |= {"local_blocks": 1} if name == "convit" else {}
    options |= {"stages": str(depth) + "-1" * str(known["stages"]).count("-")} if "stages" in known else {}
    settings = {"dataset": "cifar10", "train_size": TRAIN, "validation": 0, "budget": {"steps": 10}}
    return make_run(
        {"model": name, "size": size, "recipe": recipe, "precision": precision, "options": options, **settings}
    )


@contextmanager
def on_device(run: Run) -> Iterator[Training]:
    """The training of a run as on a CUDA device: nothing in it has numbers but what is drawn on the host."""
    layout = models.family(run.model).layout
    execution = {"attention": "fused", "linear": "torch", "layout": layout}
    network = build_model(run, {**execution, "device": "cpu"})
    draw = np.random.default_rng(0)
    pixels, labels = draw.integers(0, 256, (TRAIN, 3, PIXELS, PIXELS), np.uint8), np.arange(TRAIN) % 10
    images = Images(pixels, labels, pixels[:1], labels[:1])
    moments(Selected(pixels, np.arange(TRAIN)))  # counted where numbers are, and remembered
    with fake_cuda(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "build_model", lambda run, execution: on_fake_cuda(network))
        subset = Subset(np.arange(TRAIN), np.arange(0))
        yield Training(run, {**execution, "device": "cuda"}, images, subset)


def no_more(counts: Mapping[str, int], name: str) -> None:
    """As many operations as are recorded under a name, or fewer; RECORD=1 records them."""
    known = json.loads(COUNTS.read_text()) if COUNTS.exists() else {}
    found = sum(counts.values())
    if RECORD:
        COUNTS.write_text(json.dumps({**known, name: found}, indent=2, sort_keys=True) + "\n")
    else:
        assert found <= known[name], f"{name}: {found} operations, {known[name]} recorded; {dict(counts)}"


@pytest.mark.parametrize("recipe", ["plain", "strong", "speed"])
def test_batch(recipe: str) -> None:
    """Order, augmentation and normalisation. No gradient passes them, so their sums may be of any order but refused."""
    with on_device(run_of("resnet", recipe)) as training, Watch(REFUSED) as watch:
        x, weights = training.batches.batch(0)
    assert x.device.type == weights.device.type == "cuda"
    assert watch.wrong == []
    no_more(watch.counts, f"recipe {recipe}")


NETWORKS: list[dict[str, Any]] = [
    *({"name": name} for name in models.model_names()),
    *({"name": "vit", "position": position} for position in models.position_names() if position != "learned_1d"),
    *({"name": "ladder", "mixer": mixer} for mixer in MIXERS if mixer != "attention"),
    {"name": "vit", "position": "relative_2d", "relative_values": True, "relative_clip": 2},
    *({"name": name, "precision": "bfloat16"} for name in ("vit", "resnet", "swin")),
]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: " ".join(map(str, network.values())))
def test_network(network: dict[str, Any]) -> None:
    """Forward, loss, backward and update, of a batch that is there."""
    with on_device(run_of(**network)) as training:
        batch = torch.empty(BATCH, 3, PIXELS, PIXELS, device="cuda"), torch.empty(BATCH, 10, device="cuda")
        training.batches.batch = lambda step: batch  # type: ignore[method-assign]
        with Watch(REFUSED | SORTED) as watch:
            assert training.update(read=False) == {}
    assert watch.wrong == []
    no_more(watch.counts, " ".join(map(str, network.values())))


GRIDS: list[dict[str, Any]] = [
    *({"name": "vit", "position": position} for position in ("learned_1d", "learned_2d", "bias_2d", "relative_2d")),
    *({"name": name} for name in ("coatnet", "swin", "swin_v2")),
    {"name": "vit", "position": "relative_1d"},
]


@pytest.mark.parametrize("network", GRIDS, ids=lambda network: " ".join(network.values()))
def test_another_grid(network: dict[str, Any]) -> None:
    """The same on another grid than the one that positions are learned for, as with several `train_resolutions`.
    `relative_1d` alone picks by an index there, which CUDA sorts."""
    sorts = network.get("position") == "relative_1d"
    with on_device(run_of(**network)) as training:
        side = PIXELS + PIXELS // 2
        batch = torch.empty(BATCH, 3, side, side, device="cuda"), torch.empty(BATCH, 10, device="cuda")
        training.batches.batch = lambda step: batch  # type: ignore[method-assign]
        with Watch(REFUSED if sorts else REFUSED | SORTED) as watch:
            assert training.update(read=False) == {}
    assert watch.wrong == []


@pytest.mark.parametrize("recipe", ["plain", "strong"])
@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_whole_step(name: str, recipe: str) -> None:
    """Batch and network together, with what of a recipe is the network's: dropped branches in `strong`."""
    with on_device(run_of(name, recipe)) as training, Watch(REFUSED) as watch:
        assert training.update(read=False) == {}
    assert watch.wrong == []
    no_more(watch.counts, f"{name}, recipe {recipe}")


def test_what_waits_or_sorts_is_found() -> None:
    """Otherwise the tests above say nothing: metrics that are read, masks as indices, copies to the host, gradients of
    an index, and of interpolation by torch itself."""
    with on_device(run_of("vit")) as training:
        with Watch(set()) as watch, pytest.raises(DataDependentOutputException):
            training.update(read=True)
        assert watch.wrong == ["_local_scalar_dense"]
        values = torch.empty(4, device="cuda", requires_grad=True)
        index = torch.empty(9, dtype=torch.long, device="cuda")
        with Watch(REFUSED | SORTED) as watch, pytest.raises(DynamicOutputShapeException):
            values[index > 0]
        assert watch.wrong == ["index"]
        with Watch(REFUSED | SORTED) as watch:
            values.detach().cpu()
            values[index].sum().backward()
            torch._C._nn.upsample_linear1d(values[None, None], [9], False).sum().backward()
        assert watch.wrong == ["_to_copy", "index_put", "upsample_linear1d_backward"]
