"""What only a CUDA GPU can show; skipped without one. `make gpu` runs these beside `inductive doctor`."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import models
from benchmarks.doctor import examination, machine, memory, networks
from benchmarks.doctor.findings import Check
from benchmarks.doctor.isolation import answered
from benchmarks.plan.run import Run
from benchmarks.running.attempt_log import Outcome
from benchmarks.running.task import Settings
from benchmarks.speed.cases import write_images


def cuda() -> bool:
    """Whether torch has a GPU; that its driver is too old is no error here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.cuda.is_available()


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not cuda(), reason="no CUDA GPU"),
    pytest.mark.filterwarnings("ignore:.*deterministic"),  # what has no deterministic kernel; bits are compared here
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_images(tmp_path / "data")
    return tmp_path / "data"


def test_a_forked_run_has_cuda() -> None:
    """In a child of the server that runs are forked from. Reference: the GPU's name, asked of torch here."""
    (finding,) = answered([Check("machine", "GPU", partial(machine.gpu, "cuda"))])
    assert finding.answer.verdict == "ok", finding.line
    assert finding.answer.values["name"] == torch.cuda.get_device_name()


@pytest.mark.parametrize("name", [one.name for one in networks.subjects()])
def test_every_network_computes_what_a_cpu_does(name: str, data: Path) -> None:
    """Reference: the CPU's plainest arithmetic, in float32."""
    (subject,) = networks.subjects(name)
    answer = networks.against_cpu(networks.run_of(subject, data, 3, dropout=False), data, "cuda", batches=3, steps=3)
    assert answer.verdict == "ok", answer.words


@pytest.mark.parametrize("position", ["learned_1d", "bias_2d", "relative_2d", "rope_axial"])
@pytest.mark.parametrize(("precision", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 5e-2)])
def test_both_forms_of_attention_agree(position: str, precision: torch.dtype, bound: float) -> None:
    """64 tokens of a batch of 128, with a bias and without: cuDNN's backward pass has given NaN there. Reference: the
    explicit form."""
    images = torch.randn(128, 3, 32, 32, generator=torch.Generator().manual_seed(0)).cuda()
    labels = torch.arange(128, device="cuda") % 10
    found = {}
    for form in ("explicit", "fused"):
        network = models.create_model("vit", image_size=32, in_channels=3, num_classes=10, position=position).cuda()
        network.set_attention(form)
        with torch.autocast("cuda", precision, enabled=precision != torch.float32):
            logits = network(images).float()
        F.cross_entropy(logits, labels).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
        found[form] = logits.detach()
    assert networks.relative(found["fused"], found["explicit"]) < bound


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "changes",
    [{"options": {"position": "bias_2d"}}, {"model": "resnet"}, {"model": "swin"}],
    ids=["vit", "resnet", "swin"],
)
def test_a_resumed_run_has_the_same_bits(
    changes: dict[str, object],
    precision: str,
    tiny: Callable[..., Run],
    perform: Callable[..., Outcome],
    tmp_path: Path,
) -> None:
    """Reference: the same run uninterrupted."""
    run = tiny(**changes, precision=precision)
    assert perform(run, root=tmp_path / "whole", device="cuda").state == "finished"
    assert perform(run, root=tmp_path / "parts", device="cuda", stop_at=5).state == "interrupted"
    assert perform(run, root=tmp_path / "parts", device="cuda").state == "finished"
    for name in ("weights.safetensors", "metrics.jsonl", "result.json"):
        assert (tmp_path / "whole" / run.id / name).read_bytes() == (tmp_path / "parts" / run.id / name).read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"options": {"position": "rope_axial"}, "validate_every": 4},  # its tables are read by all steps
        {"model": "resnet", "recipe": {"name": "digits", "batch_size": 20, "batch_norm_group": 10}},
    ],
    ids=["validated between steps", "groups of BatchNorm"],
)
def test_recorded_steps_have_the_losses_of_plain_ones(
    changes: dict[str, object], tiny: Callable[..., Run], perform: Callable[..., Outcome], tmp_path: Path
) -> None:
    """What a recording keeps is there at every replay, and nothing in it comes from the host. Reference: the weights of
    the same run without recordings."""
    run = tiny(**changes)
    found = {}
    for form in ("off", "graphs"):
        root = tmp_path / form
        assert perform(run, root=root, device="cuda", compiling=form).state == "finished"
        found[form] = load_file(root / run.id / "weights.safetensors")
    for name, expected in found["off"].items():
        torch.testing.assert_close(found["graphs"][name], expected, rtol=1e-3, atol=1e-4)


def test_a_shortage_of_memory_halves_the_micro_batch(data: Path, tmp_path: Path) -> None:
    """In a process that holds nothing else on the GPU. Reference: the losses of the same run with room."""
    call = partial(memory.halved, examination.short_run(data), tmp_path, Settings(data, "cuda"))
    (finding,) = answered([Check("memory", "shortage", call)])
    assert finding.answer.verdict == "ok", finding.line
