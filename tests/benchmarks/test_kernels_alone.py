"""The kernels of a training step, alone: which are recorded, that they compute the same again, and what share is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.cases import CASES, Case, run_of, training_of, write_images
from benchmarks.speed.clock import Plan
from benchmarks.speed.kernels_alone import Call, copy_of, recorded, replay, share_cells, step_and_kernels, take_both
from benchmarks.training.kernels import execution_for

BATCH = 2
SMALL_VIT = Case("one block", {"model": "vit", "options": {"width": 64, "depth": 1, "heads": 2, "patch_size": 8}}, 1, 0)
RESNET_8 = CASES[-1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of the timed runs."""
    folder = tmp_path_factory.mktemp("data")
    write_images(folder)
    return folder


def step_of(case: Case, precision: str, data: Path, **changes: Any) -> Callable[[], object]:
    """The second step of a training on a CPU, and those after it."""
    run = run_of(case, BATCH, 4, data, precision=precision)
    training = training_of(run, data, execution_for(run, "cpu", "off") | changes)
    training.update()
    return training.update


def described(call: Call) -> tuple[str, list[tuple[int, ...]]]:
    """Name and shapes of a call."""
    name = call.operation._schema.name.removeprefix("aten::")
    return name, [tuple(x.shape) for x in call.inputs if isinstance(x, Tensor)]


def test_the_kernels_of_a_block(data: Path) -> None:
    """By hand: B 2, N 16, D 64, h 2, d 32, hidden 256, 10 classes. Images need no gradient, and biases have shapes."""
    calls = [described(call) for call in recorded(step_of(SMALL_VIT, "bfloat16", data))]
    image, patches = (2, 3, 32, 32), (64, 3, 8, 8)
    queries, keys, logits = (4, 16, 32), (4, 32, 16), (4, 16, 16)

    def linear(rows: int, inputs: int, outputs: int) -> tuple[str, list[tuple[int, ...]]]:
        return "addmm", [(outputs,), (rows, inputs), (inputs, outputs)]

    def gradients(rows: int, inputs: int, outputs: int) -> list[tuple[str, list[tuple[int, ...]]]]:
        of_inputs = ("mm", [(rows, outputs), (outputs, inputs)])
        return [of_inputs, ("mm", [(outputs, rows), (rows, inputs)])]

    forward = [
        ("convolution", [image, patches, (64,)]),
        linear(32, 64, 192),
        ("bmm", [queries, keys]),
        ("bmm", [logits, queries]),
        *(linear(32, 64, 64), linear(32, 64, 256), linear(32, 256, 64), linear(2, 64, 10)),
    ]
    backward = [
        *(*gradients(2, 64, 10), *gradients(32, 256, 64), *gradients(32, 64, 256), *gradients(32, 64, 64)),
        *(("bmm", [logits, queries]), ("bmm", [queries, keys])),
        *(("bmm", [keys, logits]), ("bmm", [logits, queries])),
        *gradients(32, 64, 192),
        ("convolution_backward", [(2, 64, 4, 4), image, patches]),
    ]
    assert calls[: len(forward)] == forward
    assert sorted(calls[len(forward) :]) == sorted(backward)


def test_linear_maps_by_onednn_count_whole(data: Path) -> None:
    """By hand: four maps of the block and the classifier, each with one backward pass; attention's products as above;
    what goes into oneDNN's layout and out of it does not count."""
    names = [described(call)[0] for call in recorded(step_of(SMALL_VIT, "float32", data, linear="onednn"))]
    forward = ["convolution", "mkldnn_linear", "bmm", "bmm", *["mkldnn_linear"] * 4]
    assert names[: len(forward)] == forward
    backward = ["bmm"] * 4 + ["convolution_backward"] + ["mkldnn_linear_backward"] * 5
    assert sorted(names[len(forward) :]) == backward


def test_fused_attention_counts_whole(data: Path) -> None:
    """Reference: torch's names for its fused attention on a CPU, once forward and once backward, and no product left.
    On CUDA they begin alike (`torch.utils.flop_counter` lists them)."""
    names = [described(call)[0] for call in recorded(step_of(SMALL_VIT, "bfloat16", data, attention="fused"))]
    fused = "_scaled_dot_product_flash_attention_for_cpu"
    assert [name for name in names if name.startswith("_")] == [fused, f"{fused}_backward"]
    assert "bmm" not in names


@pytest.mark.parametrize("case", [RESNET_8, SMALL_VIT], ids=["resnet", "vit"])
def test_nothing_with_arithmetic_is_missed(case: Case, data: Path) -> None:
    """Reference: torch's own counter of FLOPs finds as many in the kernels alone as in the step."""
    step = step_of(case, "bfloat16", data)
    kernels = replay(recorded(step))
    with FlopCounterMode(display=False) as whole:
        step()
    with FlopCounterMode(display=False) as alone:
        kernels()
    assert whole.get_total_flops() == alone.get_total_flops() > 0


class Results(TorchDispatchMode):
    """What the named operations return within it, as it is at once."""

    def __init__(self, names: set[str]):
        super().__init__()
        self.names, self.tensors = names, list[Tensor]()

    def __torch_dispatch__(self, operation: Any, types: Any, inputs: Any = (), options: Any = None) -> Any:
        results = operation(*inputs, **(options or {}))
        if operation._schema.name in self.names:
            found = [x for x in tree_leaves(results) if isinstance(x, Tensor)]
            self.tensors += [(x.to_dense() if x.is_mkldnn else x).detach().clone() for x in found]
        return results


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", [RESNET_8, SMALL_VIT], ids=["resnet", "vit"])
def test_the_kernels_compute_the_same_again(case: Case, precision: str, data: Path) -> None:
    """Reference: what the recorded step's own operations returned, to the bit, though it has since overwritten what
    some were given. Strides are the step's, too: the ResNet's in channels last."""
    step, twin = (step_of(case, precision, data) for _ in range(2))
    calls = recorded(twin)
    names = {call.operation._schema.name for call in calls}
    with Results(names) as expected:
        step()
    for _ in range(2):
        with Results(names) as found:
            replay(calls)()
        assert len(found.tensors) == len(expected.tensors) >= len(calls)
        for mine, theirs in zip(found.tensors, expected.tensors, strict=True):
            assert torch.equal(mine, theirs)
            assert mine.stride() == theirs.stride()


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24.0).view(2, 3, 4).transpose(0, 2),
        torch.arange(24.0).view(2, 3, 4)[:, 1:, ::2],
        torch.arange(3.0)[:, None].expand(3, 5),
        torch.tensor(7),
    ],
    ids=["transposed", "with gaps", "repeated", "a number"],
)
def test_a_copy_lies_as_its_original(tensor: Tensor) -> None:
    """Values and strides of torch's own views, in memory that the original does not share."""
    copy = copy_of(tensor)
    assert torch.equal(copy, tensor)
    assert (copy.shape, copy.stride(), copy.dtype) == (tensor.shape, tensor.stride(), tensor.dtype)
    assert copy.untyped_storage().data_ptr() != tensor.untyped_storage().data_ptr()


class CallClock:
    """Time passes in the calls alone, in each as it is said."""

    def __init__(self) -> None:
        self.time, self.made = 0.0, list[str]()

    def call(self, name: str, seconds: float) -> Callable[[], None]:
        def make() -> None:
            self.made.append(name)
            self.time += seconds

        return make

    def now(self) -> float:
        return self.time

    def others(self) -> float | None:
        return 0.0

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing to wait for")


def test_share_is_kernels_over_step() -> None:
    """By hand: kernels of 30 ms in a step of 40, in turns."""
    clock = CallClock()
    plan = Plan(rounds=3, most=3, warmup=1, seconds=0.0)
    step, kernels = clock.call("step", 0.04), clock.call("kernels", 0.03)
    turns = take_both("tiny", step, kernels, plan, clock, lambda text: None)
    assert clock.made == ["step", "kernels"] * 4
    cells, summary = share_cells(turns, "tiny", 0.7)
    assert cells == ["30.0", "0.750 (0.750 to 0.750); goal 0.70"]
    assert (summary.clean, summary.taken) == (3, 3)


def test_a_run_is_set_up_as_it_is(data: Path) -> None:
    """The kernels are those of the execution that the rule gives the run: linear maps by oneDNN where they are."""
    run = run_of(SMALL_VIT, BATCH, 4, data)
    step, kernels = step_and_kernels(run, data, "cpu")
    assert step() == {}
    linear = "mkldnn_linear" if execution_for(run, "cpu")["linear"] == "onednn" else "addmm"
    names = {f"aten::{name}" for name in ("convolution", linear, "bmm")}
    with Results(names) as found:
        kernels()
    assert len(found.tensors) >= 1 + 5 + 6
