"""Apple's GPUs, without one: torch's own table of kernels, what has no double precision, and what is refused.

The table is native_functions.yaml as it comes with torch: for each operation, the devices that have a kernel for it.
"""

import re
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torchgen
from torch.utils._python_dispatch import TorchDispatchMode

import models.resizing
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import InductiveError
from benchmarks.plan.run import Evaluation, make_run
from benchmarks.running import local
from benchmarks.training import batchnorm, operations
from benchmarks.training.evaluation import Measurer
from benchmarks.training.kernels import choose_device, execution_for
from benchmarks.training.training import Training
from models.resizing import interpolation_matrix

CASES = (
    *({"options": {"position": position}} for position in ("learned_2d", "relative_2d", "bias_2d", "rope_axial")),
    *({"model": model} for model in ("resnet", "swin_v2", "cct", "convit", "coatnet")),
    *({"recipe": {"name": recipe, "batch_size": 16}} for recipe in ("strong", "deit")),
)


@lru_cache
def table() -> dict[str, str]:
    """What the table says of each operation, by its name with overload."""
    path = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"
    blocks = path.read_text(encoding="utf-8").split("\n- func: ")[1:]
    return {block.partition("(")[0].strip(): block for block in blocks}


def has_kernel(name: str) -> bool:
    """Whether an operation has a kernel on mps: its own, one for all devices, or that of the form that writes `out`."""
    block = table()[name]
    devices = re.findall(r"^ {4}([\w, ]+):", block.partition("dispatch:")[2], re.MULTILINE)
    if any("MPS" in one.split(", ") or "Composite" in one for one in devices):
        return True
    delegate = re.search(r"structured_delegate: (\S+)", block)
    return has_kernel(delegate[1]) if delegate else not devices


class Operations(TorchDispatchMode):
    """Notes which operations are made."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._schema.name.removeprefix("aten::") + f".{func._overloadname}".removesuffix(".default"))
        return func(*args, **(kwargs or {}))


def test_the_table_is_read() -> None:
    """By hand, from the table: own kernel, delegate, composite; and one of CPUs alone."""
    assert has_kernel("_upsample_bilinear2d_aa") and has_kernel("add.Tensor") and has_kernel("reshape")
    assert not has_kernel("mkldnn_linear")


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_every_operation_of_a_run_has_a_kernel(changes: dict[str, Any]) -> None:
    """A step of training and an evaluation at another resolution, computed in the form that mps runs have."""
    run = make_run({"size": "pico", "recipe": "digits", "train_size": 100, **changes})
    images = load_images("digits", Path("data"))
    subset = draw_subset(images.train_labels, 10, run.draw, run.train_size, run.validation)
    training = Training(run, {**execution_for(run, "mps"), "device": "cpu"}, images, subset)
    measurer = Measurer(training.model, run, images, subset, training.channels_last)
    with Operations() as made:
        training.update()
        measurer.score("validation", Evaluation(part="validation", resolution=2 * run.resolution))
    assert {name for name in made.names if name in table() and not has_kernel(name)} == set()
    assert len(made.names) > 30


def test_double_precision_is_left_to_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device `meta`, which computes nothing, stands for mps. Reference: the matrix that a CPU has."""
    args = (5, 9, "bicubic", False, False)
    known = interpolation_matrix(*args, torch.device("cpu"))
    assert interpolation_matrix(*args, torch.device("meta")).device.type == "meta"
    assert models.resizing.WITHOUT_DOUBLES == ("mps",)
    monkeypatch.setattr(models.resizing, "WITHOUT_DOUBLES", ("meta",))
    assert torch.equal(interpolation_matrix(*args, torch.device("meta")), known)
    for file in (operations, batchnorm):
        assert file.device_of_doubles(torch.device("meta")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("built", "words"),
    [
        (False, "mps is for the GPUs of Macs with Apple silicon, and this torch is built without it"),
        (True, "this torch is built with mps, and finds no GPU of Apple's that this macOS lets it use"),
    ],
)
def test_where_there_is_none_it_says_why(built: bool, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither silently another device, nor torch's own words on some later operation."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: built)
    with pytest.raises(InductiveError, match=f"--device mps: there is none here; available are cpu.*; {words}"):
        choose_device("mps")


def test_auto_does_not_take_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here has been measured on one."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert (choose_device("auto"), choose_device("mps")) == ("cpu", "mps")


def test_its_runs_are_not_forked() -> None:
    """torch's own advice, https://github.com/pytorch/pytorch/pull/178037: a fresh interpreter for each."""
    assert type(local._context(metal=True)) is type(get_context("spawn"))
