"""What a GPU is forecast to take: names, launches, and what records made there say. Nothing is timed."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import models
from benchmarks.forecast import cost, gpu_speed
from benchmarks.forecast.cost import Slot, Speeds, cell_names, measured, run_seconds, step_seconds
from benchmarks.forecast.gpu_speed import flops, kind_of, peak
from benchmarks.forecast.launches import forward_operations
from benchmarks.plan.run import Run, default_evaluation, make_run
from benchmarks.plan.study import Study, expand, load_study, single
from benchmarks.records.attempts import claim
from benchmarks.records.record import write_config

Make = Callable[..., Run]
OPTIONS = {"width": 192, "depth": 6, "heads": 3, "patch_size": 4, "position": "learned_1d"}
VIT = {"model": "vit", "options": OPTIONS, "dataset": "cifar10", "precision": "bfloat16"}
H100 = "NVIDIA H100 80GB HBM3"


def vit(**changes: Any) -> Run:
    return make_run({**VIT, "recipe": {"name": "plain", "batch_size": 128}, "budget": {"steps": 1000}, **changes})


# --- names ---


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("NVIDIA A100-SXM4-80GB", "A100-PCIE-40GB", "a100", "a100_80gb"), "A100"),
        (("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "a100_3g.20gb"), "A100 3/7"),
        (("NVIDIA H100 80GB HBM3", "h100", "NVIDIA H200", "NVIDIA GH200 480GB"), "H100"),
        (("NVIDIA H100 PCIe", "h100_pcie"), "H100 PCIe"),
        (("NVIDIA B200", "NVIDIA GB200"), "B200"),
        (("NVIDIA A30", "a30", "a30_4g.24gb"), "A30"),
        (("NVIDIA A30 MIG 2g.12gb",), "A30 2/4"),
        (("NVIDIA A10G", "NVIDIA A10", "a10"), "A10"),
        (("NVIDIA L40S", "l40s"), "L40S"),
        (("NVIDIA L4", "l4"), "L4"),
        (("Tesla T4", "t4", "tesla_t4"), "T4"),
        (("Tesla V100-SXM2-16GB", "v100", "v100s"), "V100"),
        (("NVIDIA GeForce RTX 3090", "rtx3090", "geforce_rtx_3090", "3090"), "RTX 3090"),
        (("rtx4090", "NVIDIA GeForce RTX 4090"), "RTX 4090"),
        (("NVIDIA RTX A4000",), "NVIDIA RTX A4000"),
        (("large",), "large"),
        (("",), ""),
    ],
)
def test_a_gpu_by_any_name(names: tuple[str, ...], expected: str) -> None:
    """Reference: what torch calls them, and types as SLURM's sites write them."""
    assert {kind_of(name) for name in names} == {expected}


def test_the_speeds_assumed() -> None:
    """Reference: dense peaks of NVIDIA's data sheets, times the precision's share; a seventh for 1g; V100, which
    computes bfloat16 as float32, for the unknown."""
    assert flops(H100, "bfloat16") == pytest.approx(0.08 * 989.4e12)
    assert flops("a100", "float32") == pytest.approx(0.3 * 19.5e12)
    assert flops("a100_1g.5gb", "tf32") == pytest.approx(0.12 * 156e12 / 7)
    assert flops("gtx1080", "bfloat16") == flops("", "float32") == pytest.approx(0.3 * 15.7e12)
    for gpu in gpu_speed.GPUS:
        assert kind_of(gpu.name) == gpu.name
        assert gpu.float32 <= (gpu.tf32 or gpu.float32) <= (gpu.bfloat16 or gpu.float32)


def test_peaks_by_name() -> None:
    """Reference: NVIDIA's datasheets. A part of a card (MIG) and an unknown card have none, nor a card a precision that
    it lacks."""
    assert peak("NVIDIA A100-SXM4-80GB", "bfloat16") == 312.0
    assert peak(H100, "tf32") == pytest.approx(989.4 / 2)  # the datasheet's 989 are with sparsity
    assert peak("NVIDIA H200", "float32") == 66.9 and peak("NVIDIA H200 NVL", "float32") == 60.0
    assert peak("NVIDIA RTX 6000 Ada Generation", "tf32") == 182.1 and peak("NVIDIA RTX A6000", "float32") == 38.7
    assert peak("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "bfloat16") is None
    assert peak("Tesla T4", "bfloat16") is None and peak("Abacus", "float32") is None


# --- launches ---


def on_meta(run: Run) -> Any:
    with torch.device("meta"):
        return models.create_model(
            run.model, image_size=32, in_channels=3, num_classes=10, size=run.size, **run.options
        )  # fmt: skip


def test_operations_of_a_pass() -> None:
    """By hand: a block is two norms, four linear maps, a scale, attention, GELU and two sums; before are patches, their
    order and positions; after norm, mean and head."""
    assert forward_operations(on_meta(vit()), 32) == 6 * 11 + 3 + 3


class Written(TorchDispatchMode):
    """Counts operations by what they do: those whose result is memory of its own, filled."""

    kernels = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.kernels += not (
            operation.is_view or operation.name().split(".")[0] in ("aten::empty", "aten::_unsafe_view")
        )
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["resnet", "convnext", "mixer", "vit"])
def test_a_step_launches_about_three_times_as_much_as_its_pass(name: str) -> None:
    """Reference: every operation of a whole pass and its gradients on the CPU. A GPU has some more, as the gradients of
    one operation are several kernels there."""
    network = models.create_model(name, image_size=32, in_channels=3, num_classes=10, size="nano")
    with Written() as counted:
        network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert 1.8 < counted.kernels / forward_operations(network, 32) < 4


@pytest.mark.parametrize("name", ["cct", "swin_v2", "coatnet", "course_vit", "locally_connected", "timm:resnet18"])
def test_operations_of_other_networks(name: str) -> None:
    """At least an operation for each of their layers with weights."""
    options = {"size": "nano"} if name == "coatnet" else {}
    with torch.device("meta"):
        network = models.create_model(name, image_size=32, in_channels=3, num_classes=10, **options)
    layers = sum(1 for module in network.modules() if getattr(module, "weight", None) is not None)
    assert forward_operations(network, 32) >= layers


def test_a_small_network_waits_for_launches() -> None:
    """The ViT of 192 x 6 on an H100 in bfloat16: about 400 launches, which take more than its 138 GFLOP."""
    run, slot = vit(), Slot("cuda", H100)
    assert cost._operations(cost.built_of(run)) == (72, 27)
    assert gpu_speed.launches(72, 27, "bfloat16", "off") == 3 * 72 + 4 * 27 + 60 == 384
    arithmetic = 6 * cost.facts(run).macs * 128
    assert arithmetic == pytest.approx(138e9, rel=0.02)
    assert step_seconds(run, slot) == pytest.approx(384 * 35e-6 + arithmetic / (0.08 * 989.4e12))


def test_steps_on_an_h100_are_forecast_within_three_times() -> None:
    """Reference: milliseconds of a ViT's and a ResNet's steps of 512 images of 32 px, measured on an H100
    (docs/performance.md), by precision and form."""
    for model, precision, form, measured_ms in (
        ("vit", "bfloat16", "off", 36.6),
        ("vit", "bfloat16", "graphs", 20.5),
        ("vit", "float32", "graphs", 46.8),
        ("resnet", "bfloat16", "graphs", 11.6),
        ("resnet", "float32", "graphs", 69.5),
    ):
        run = make_run(
            {
                "model": model,
                "size": "tiny",
                "dataset": "cifar10",
                "precision": precision,
                "recipe": {"name": "plain", "batch_size": 512},
            }
        )
        slot = Slot("cuda", H100, form=lambda run, form=form: form)  # type: ignore[misc]
        assert 1 / 3 < step_seconds(run, slot) * 1e3 / measured_ms < 3, (model, precision, form)


@pytest.mark.parametrize(
    ("slot", "expected"),
    [
        (Slot("cuda", H100, 4), 384 * 35e-6 + 4 * 138e9 / (0.08 * 989.4e12)),
        (Slot("cuda", "a100", 2, tflops=10.0), 384 * 35e-6 + 138e9 / 10e12),  # of the slot, as the user says
        (Slot("cuda", H100, form=lambda run: "graphs"), 0.1 * 384 * 35e-6 + 138e9 / (0.08 * 989.4e12)),
    ],
)
def test_what_a_step_depends_on(slot: Slot, expected: float) -> None:
    """By hand: runs that share a GPU have their part of its arithmetic, and each its own launches."""
    assert step_seconds(vit(), slot) == pytest.approx(expected, rel=0.02)


# --- whole runs ---


def test_a_run_with_its_evaluations() -> None:
    """By hand: the start, 1,000 steps, and 10,000 test images forward in batches of 256."""
    run = vit()
    [evaluation] = single(run).evaluations[run.id][:1]
    assert (evaluation.part, evaluation.resolution) == ("test", 32)
    passes = 10_000 * (72 * 35e-6 / 256 + 2 * cost.facts(run).macs / flops(H100, "bfloat16"))
    expected = 3.0 + 1000 * step_seconds(run, Slot("cuda", H100)) + passes
    assert run_seconds(run, [evaluation], Slot("cuda", H100)) == pytest.approx(expected)
    longer = Speeds(longer={"bfloat16": 2.0, "float32": 9.0}, start=4.0)
    assert run_seconds(run, [evaluation], Slot("cuda", H100), longer) == pytest.approx(4.0 + 2 * (expected - 3.0))
    known = Speeds({cost.speed_key(run): 50_000.0}, {"bfloat16": 2.0}, 4.0)
    assert run_seconds(run, [evaluation], Slot("cuda", H100), known) == pytest.approx(
        4.0 + (128_000 + 10_000 / 3) / 5e4
    )


def test_a_cpu_is_forecast_by_arithmetic_and_operations() -> None:
    """By hand: 25 GFLOP/s a core and 0.11 ms for each operation forward of a step, a third in an evaluation of 256."""
    run = vit(precision="float32")
    macs, operations = cost.facts(run).macs, cost._operations(cost.built_of(run))[0]
    fixed = 0.00011 * operations
    assert run_seconds(run, []) == pytest.approx(1000 * (fixed + 6 * macs * 128 / 25e9))
    assert run_seconds(run, [], Slot(tflops=0.05)) == pytest.approx(1000 * (fixed + 6 * macs * 128 / 50e9))
    there = cost.evaluation_seconds(run, [default_evaluation(run, "test", run.resolution)])
    assert there == pytest.approx(run.data.test_count * (2 * macs / 25e9 + fixed / 3 / 256))
    assert run_seconds(run, [], speeds=Speeds({cost.speed_key(run): 64.0}, {"float32": 9.0}, 5.0)) == 2000.0


# --- records ---


def recorded(
    root: Path, run: Run, rate: float, *, device: str, gpu: str, form: str = "off", shared: int | None
) -> None:
    """A record of an attempt with this speed, as execute writes it."""
    from benchmarks.data.store import load_images
    from benchmarks.data.subsets import draw_subset

    labels = load_images("digits", Path("data")).train_labels
    folder = root / run.id
    folder.mkdir(parents=True)
    write_config(folder, run, draw_subset(labels, 10, run.draw, run.train_size, run.validation))
    execution = {"device": device, "capability": gpu, "compile": form, "sources": {}}
    (folder / "execution.json").write_text(json.dumps(execution))
    seconds = {"total": 30.0, "start": 2.0, "first_steps": 1.5, "training": 20.0, "evaluation": 1.0}
    end = {"state": "interrupted", "step": 5, "seconds": seconds, "images_per_second": rate, "error": None}
    claim(folder).end(**end, runs_per_gpu=shared)


@pytest.fixture
def study(tiny: Make, tmp_path: Path) -> Study:
    """Two runs: of one there is a record that two runs on an A100 made, compiled by nothing."""
    one, other = tiny(), tiny(model="resnet")
    recorded(tmp_path, one, 1000.0, device="cuda", gpu="NVIDIA A100-SXM4-40GB", shared=2)
    return Study(**{**single(one).__dict__, "runs": (one, other)})


@pytest.mark.parametrize(
    ("slot", "known"),
    [
        (Slot("cuda", "a100", 2), True),
        (Slot("cuda", "", 2), True),  # any GPU
        (Slot("cuda", "a100_80gb", 2), True),
        (Slot("cuda", "h100", 2), False),
        (Slot("cuda", "a100_1g.5gb", 2), False),
        (Slot("cuda", "a100", 1), False),
        (Slot("cuda", "a100", 2, form=lambda run: "network"), False),
        (Slot(), False),
    ],
)
def test_speeds_count_where_they_were_measured(slot: Slot, known: bool, study: Study, tmp_path: Path) -> None:
    """By device, kind of GPU, runs that share it, and form of compiling."""
    one = study.runs[0]
    speeds = measured(tmp_path, study, slot)
    assert speeds.rates == ({cost.speed_key(one): 1000.0} if known else {})
    assert speeds.start == (3.5 if known else gpu_speed.START_SECONDS)
    longer = one.recipe.batch_size / 1000.0 / step_seconds(one, slot) if known else None
    assert speeds.longer.get("float32") == (pytest.approx(longer) if known else None)


def test_other_networks_take_as_much_longer(study: Study, tmp_path: Path) -> None:
    """By hand: a network that nobody has measured there takes what is forecast times what the other took of its own."""
    one, other = study.runs
    slot = Slot("cuda", "a100", 2)
    factor = one.recipe.batch_size / 1000.0 / step_seconds(one, slot)
    expected = 3.5 + factor * other.steps * step_seconds(other, slot)
    assert run_seconds(other, [], slot, measured(tmp_path, study, slot)) == pytest.approx(expected)


def test_a_record_of_a_cpu_serves_a_cpu(tiny: Make, tmp_path: Path) -> None:
    """And no GPU."""
    run = tiny()
    recorded(tmp_path, run, 700.0, device="cpu", gpu="AVX512", shared=None)
    assert measured(tmp_path, single(run)).rates == {cost.speed_key(run): 700.0}
    assert measured(tmp_path, single(run), Slot("cuda")).rates == {}


def test_the_assumption_is_said() -> None:
    """In words, of each kind of slot."""
    words = "assumed A100 (TFLOP/s in training: float32 5.85, tf32 18.7, bfloat16 25) and 35 µs a launch"
    assert Slot("cuda", "a100").assumption == words
    assert Slot("cuda", "a100", 2).assumption == f"{words}, shared by 2 runs"
    assert "an unnamed GPU, taken for a V100" in Slot("cuda").assumption
    assert Slot("cuda", "a100", tflops=3.0).assumption == "assumed 3 TFLOP/s a slot (cuda)"
    each = "0.11 ms for each operation of a step's forward pass"
    assert Slot().assumption == f"assumed 25 GFLOP/s a CPU core and {each}"


def test_cells_that_share_their_words_are_told_apart() -> None:
    """By hand: what differs between arms, or between models of one mixer, is named, and neither what they share nor, in
    a search, what it draws."""
    text = """
        dataset = "digits"
        size = "pico"
        train_size = 60
        budget = { steps = 3 }
        test_resolutions = [8]
        models = [{ name = "resnet" }, { name = "ladder", mixer = "depthwise_conv", kernels = [0, 4] }]
        [[arms]]
        recipe = { name = "digits", batch_size = 16 }
        [[arms]]
        recipe = { name = "digits", batch_size = 16, rrc_scale = 0.5 }
        [[arms]]
        recipe = "none"
    """
    study = expand(tomllib.loads(text), "study")
    names = cell_names(study, with_train_size=False)
    recipes = ("digits (rrc_scale=1.0)", "digits (rrc_scale=0.5)", "none")
    words = ("resnet", *(f"ladder depthwise_conv learned_1d kernels={number}" for number in (0, 4)))
    assert set(names.values()) == {f"{model} pico, digits r=8, {recipe}" for model in words for recipe in recipes}
    tuning = load_study("tuning")
    assert len(set(cell_names(tuning).values())) == 12
    assert not any(" (" in name for name in cell_names(tuning).values())
