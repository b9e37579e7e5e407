"""`inductive doctor` on a CPU: what it finds where all is well, what it tells where something is not."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

import models
from benchmarks.cli.doctor import COLUMNS
from benchmarks.cli.main import main
from benchmarks.doctor import examination, isolation, memory, networks, throughput
from benchmarks.doctor.as_runs_do import as_runs_do
from benchmarks.doctor.findings import Answer, Check, Finding, left_out, summary
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Run
from benchmarks.running.task import Settings
from benchmarks.speed.cases import write_images
from benchmarks.speed.tables import markdown_rows
from benchmarks.training.training import Training

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]

DRIFTING = '''
"""An encoding that never computes the same twice."""
import itertools

import torch
from torch import nn

from models import Encoding
from models.initial import normal
from models.positions.base import Position

calls = itertools.count(1)


class Drifting(Position):
    ways = ("recompute",)

    def __init__(self, **geometry):
        super().__init__(**geometry)
        self.table = nn.Parameter(torch.empty(self.width))

    def initial(self):
        return {"table": normal(0.02)}

    def add(self, tokens, grid):
        return tokens + self.table * next(calls)


DRIFTING = Encoding("drifting", "other numbers at each call", "Drifting", ways=("recompute",), additive=True)
'''


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the doctor's images."""
    folder = tmp_path_factory.mktemp("data")
    write_images(folder)
    return folder


def test_it_says_what_differs_and_goes_on(inductive: Inductive, tmp_path: Path) -> None:
    """Exit code 3 for an encoding that drifts from call to call: its gradients differ from the CPU's, and so does its
    resumed run; uninterrupted runs have a process each, and are equal. What --quick leaves out is said."""
    (tmp_path / "drifting.py").write_text(DRIFTING)
    done = inductive("doctor", "--device", "cpu", "--quick", "--only", "vit drifting", "--plugin", "drifting.py",
                     environment={"PYTHONWARNINGS": "error"})  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    kept = json.loads((tmp_path / "reports" / "doctor.json").read_text())
    found = {f"{one['part']}, {one['name']}": one for one in kept["findings"] if one["part"] != "speed"}
    assert {name: one["verdict"] for name, one in found.items()} == {
        "machine, software": "ok",
        "machine, GPU": "ok",
        "networks, vit drifting": "differs",
        "networks, loss in 3 steps": "left out",
        "runs, side by side": "ok",
        "runs, rerun: vit drifting, seed 0": "ok",
        "runs, rerun: vit drifting, seed 1": "ok",
        "runs, resumed: vit drifting, seed 0": "differs",
        "runs, resumed: vit drifting, seed 1": "differs",
        "compile, all": "left out",
        "memory, shortage": "left out",
    }
    assert found["networks, vit drifting"]["values"]["gradients"] > networks.GRADIENTS
    assert "allowed are 1e-04, 5e-04" in found["networks, vit drifting"]["words"]
    assert (kept["device"], kept["quick"], kept["wrong"]) == ("cpu", True, 3)
    for words in ("torch says: ", "left out by --quick", "not on a CPU", "equal to the bit", "3 checks wrong"):
        assert words in done.stdout


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("left out", 0), ("differs", 3), ("failed", 3)])
def test_exit_codes(
    verdict: Any, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Reference: benchmarks/errors.py. The table is also written into a document."""
    made = [Finding("machine", "GPU", Answer(verdict, "a card", {"name": "Card"}))]
    monkeypatch.setattr(examination, "examine", lambda request, tell: iter(made))
    document, kept = tmp_path / "performance.md", tmp_path / "kept" / "doctor.json"
    document.write_text("<!-- /gpus -->")
    arguments = ["doctor", "--device", "cpu", "--json", str(kept), "--write", str(document)]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == code
    assert json.loads(kept.read_text())["wrong"] == (code == 3)
    assert f"| machine, GPU | {verdict} | a card |" in document.read_text()
    said = capsys.readouterr().out
    assert ("all is as it should be" in said, "1 check wrong" in said) == (code == 0, code == 3)


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(inductive: Inductive) -> None:
    """Reference: what torch itself says when it is started."""
    done = inductive("doctor", "--device", "cuda")
    assert done.returncode == 2
    with pytest.raises((RuntimeError, AssertionError)) as raised:
        torch.cuda.init()
    assert " ".join(str(raised.value).split()) in " ".join(done.stderr.split())


def test_a_network_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no network is called 'resnett'; did you mean `resnet`"):
        networks.subjects("resnett")


def test_every_model_and_encoding_is_a_subject() -> None:
    """Reference: the registry."""
    named = {one.name for one in networks.subjects()}
    assert named == {*models.model_names()} - {"vit"} | {f"vit {name}" for name in models.position_names()}
    assert [one.name for one in networks.subjects("vit rope*")] == ["vit rope_axial", "vit rope_mixed"]


def changed(what: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
    """`networks.build_model`, whose weights are changed where the form of attention is a run's and not the plainest."""
    build, randomise = networks.build_model, networks.randomise

    def made(run: Run, execution: Any) -> Any:
        network = build(run, execution)
        network.changed = execution.get("linear") != "torch"
        return network

    def drawn(network: Any) -> Any:
        randomise(network)
        if network.changed:
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.copy_(what(parameter))
        return network

    return lambda patch: (patch.setattr(networks, "build_model", made), patch.setattr(networks, "randomise", drawn))


def rounded(values: Tensor) -> Tensor:
    """To the ten bits of mantissa that TF32 keeps."""
    return ((values.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize(
    ("what", "verdict", "words"),
    [
        (lambda x: x, "ok", "logits"),
        (rounded, "differs", "allowed are"),
        (lambda x: x * torch.nan, "differs", "not finite"),
    ],
)
def test_what_a_comparison_finds(
    what: Callable[[Tensor], Tensor], verdict: str, words: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights rounded as TF32 rounds them are found, and so is what is not a number; a run's own forms pass."""
    (subject,) = networks.subjects("vit bias_2d")
    changed(what)(monkeypatch)
    monkeypatch.setattr("benchmarks.training.kernels.onednn_pays", lambda: True)
    if not torch.backends.mkldnn.is_available():
        pytest.skip("a run's linear maps are torch's here")
    answer = networks.against_cpu(networks.run_of(subject, data, 3, dropout=False), data, "cpu", batches=2, steps=0)
    assert (answer.verdict, words in answer.words) == (verdict, True), answer.words


def test_without_a_deterministic_kernel(data: Path) -> None:
    """As a run does: once torch refuses an operation it is done without determinism, and told; other errors are raised.
    The words are torch's (Context.cpp)."""
    (subject,) = networks.subjects("mlp")
    run = networks.run_of(subject, data, 1)
    asked: list[Any] = []

    def refused(execution: Any) -> str:
        asked.append(execution.get("deterministic"))
        if asked[-1] is not False:
            raise RuntimeError("cumsum_cuda does not have a deterministic implementation, but you set 'torch....")
        return "computed"

    def check() -> Answer:
        return Answer("ok", as_runs_do(run, "cpu", refused))

    words = "computed; warning: cumsum_cuda does not have a deterministic implementation"
    assert isolation.answer_of(Check("part", "one", check)).words == words
    assert len(asked) == 2
    with pytest.raises(RuntimeError, match="another"):
        as_runs_do(run, "cpu", lambda execution: (_ for _ in ()).throw(RuntimeError("another")))


def test_errors_of_gradients() -> None:
    """By hand: a parameter of norm 5 that is off by 0.5; one of norm 0 counts as a hundredth of the whole."""
    expected = {"logits": torch.ones(1), "a": torch.tensor([3.0, 4.0]), "b": torch.zeros(2)}
    found = {"logits": torch.zeros(1), "a": torch.tensor([3.0, 4.5]), "b": torch.tensor([0.0, 0.01])}
    assert networks.gradient_errors(found, expected) == pytest.approx({"a": 0.1, "b": 0.2})


def test_no_check_stops_another() -> None:
    """One raises, one dies, one hangs: each is told in a line, and the others are made, in new processes."""
    calls = [
        partial(Answer, "ok", "first"),
        partial(int, "no\nnumber"),
        partial(os._exit, 7),
        partial(signal.raise_signal, signal.SIGKILL),
        partial(time.sleep, 60),
        partial(Answer, "ok", "last"),
    ]
    checks = [Check("part", str(number), call) for number, call in enumerate(calls)]
    list(isolation.answered(checks[:1]))  # the server is warm from here on
    found = [(one.answer.verdict, one.answer.words) for one in isolation.answered(checks, patience=8.0)]
    assert found == [
        ("ok", "first"),
        ("failed", "ValueError: invalid literal for int() with base 10: 'no\\nnumber'"),
        ("failed", "its process died (exit code 7)"),
        ("failed", "its process died (SIGKILL)"),
        ("failed", "no answer within 8 s"),
        ("ok", "last"),
    ]


def test_warnings_of_torch_are_told() -> None:
    """Added to the answer, once."""

    def warns() -> Answer:
        for _ in range(2):
            torch.warnings.warn("a kernel\nis not deterministic", stacklevel=1)  # type: ignore[attr-defined]
        return Answer("ok", "done")

    assert isolation.answer_of(Check("part", "one", warns)).words == "done; warning: a kernel is not deterministic"


def test_the_table_gathers_what_is_well() -> None:
    """Checks that compared something and found it well are a row, with the largest difference; others keep theirs."""

    def found(name: str, verdict: Any, difference: float, part: str = "networks") -> Finding:
        return Finding(part, name, Answer(verdict, f"off by {difference}", {"difference": difference}))

    rows = summary(
        [
            Finding("machine", "GPU", Answer("ok", "a card", {"name": "Card"})),
            found("a", "ok", 0.1),
            found("b", "ok", 0.3),
            found("c", "differs", 0.9),
            found("d", "ok", 0.0, "runs"),
            found("e", "ok", 0.0, "runs"),
            left_out("speed", "f", "why"),
        ]
    )
    assert rows == [
        ["machine, GPU", "ok", "a card"],
        ["networks, 2 checks", "ok", "the largest difference is that of b: off by 0.3"],
        ["networks, c", "differs", "off by 0.9"],
        ["runs, 2 checks", "ok", "off by 0.0"],
        ["speed, f", "left out", "why"],
    ]
    assert markdown_rows(list(COLUMNS), rows)[2] == "| machine, GPU | ok | a card |"


@pytest.mark.parametrize(
    ("device", "alone", "mps", "jobs", "words"),
    [
        ("cuda", False, False, 4, ""),
        ("cuda", True, False, 1, "need MPS"),
        ("cuda", True, True, 4, ""),
        ("mps", False, False, 1, "one process"),
    ],
)
def test_runs_side_by_side(
    device: str, alone: bool, mps: bool, jobs: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as cores, between two and four; one where the GPU takes one process and no MPS runs."""
    monkeypatch.setattr(examination, "mps_runs", lambda: mps)
    monkeypatch.setattr(examination, "slots", lambda device: 16)
    here = [Finding("machine", "GPU", Answer("ok", "", {"one_process_each": alone, "name": "Card"}))]
    found, why = examination.side_by_side(device, here)
    assert (found, words in why, bool(words) == bool(why)) == (jobs, True, True)
    assert examination.card(here) == "Card"
    monkeypatch.setattr(examination, "slots", lambda device: 1)
    assert examination.side_by_side("cpu", [])[0] == 2


def test_speed_is_images_over_seconds(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock of the test's own: steps of two images that take half a second each. Operations are six a
    multiply-accumulate (PaLM, appendix B), and the share is that of the card's peak."""
    ticks: Iterator[float] = iter([0.0, 0.5, 10.0, 11.5])
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: next(ticks))
    shape = throughput.Shape(32, "nano", (512, 2))
    run = throughput.run_of("resnet", shape, "float32", "cpu", data)
    monkeypatch.setattr(throughput, "peak", lambda name, precision: 1e-3)
    answer = throughput.rate(run, data, "cpu", 1.5)
    macs = 40_813_184  # of ResNet-20 as its description has it
    assert answer.values["images_per_second"] == pytest.approx(4.0)
    assert answer.values["tflops"] == pytest.approx(4 * 6 * macs / 1e12, rel=0.01)
    assert answer.values["share"] == pytest.approx(answer.values["tflops"] / 1e-3)


def test_what_speed_leaves_out(data: Path) -> None:
    """In full every network, size and precision of the device; quick, two small ones; what is left out is counted."""
    checks, missing = throughput.planned(data, "cpu", quick=False, only=None)
    assert len(checks) == 5 * 2 * 2
    assert [one.answer.words for one in missing] == ["no runs in tf32 on cpu"]
    assert missing[0].name == "vit tiny, 32 px, tf32 and 9 others"
    quick, missing = throughput.planned(data, "cpu", quick=True, only=None)
    assert [one.name for one in quick] == [
        f"{model} tiny, 32 px, {precision}" for model in ("vit", "resnet") for precision in ("float32", "bfloat16")
    ]
    assert {one.answer.words for one in missing} == {"no runs in tf32 on cpu", "left out by --quick"}
    chosen, _ = throughput.planned(data, "cpu", quick=True, only="resnet")
    assert len(chosen) == 2


@pytest.mark.parametrize(("fits", "verdict"), [(8, "ok"), (4, "differs")])
def test_a_shortage_of_memory(
    fits: int, verdict: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU stands in for the GPU: once the memory is limited, more than `fits` images at once have no room. The run
    ends with half its batch at once, as it should; with a quarter, the limit is not what it was meant to be."""
    limited: list[float] = []
    gradients = Training._gradients

    def short(self: Training, *batch: Tensor) -> Any:
        if limited and limited[-1] < 1 and self.micro_batch > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return gradients(self, *batch)

    monkeypatch.setattr(Training, "_gradients", short)
    monkeypatch.setattr(memory, "as_runs_do", lambda run, device, call: call({}))
    monkeypatch.setattr(memory, "_peak", lambda run, data, size, execution: size * 2**27)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=2**33))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limited.append)
    (subject,) = networks.subjects("vit none")
    run = networks.run_of(subject, data, 2)
    assert run.recipe.batch_size == 16
    answer = memory.halved(run, tmp_path, Settings(data))
    assert (answer.verdict, answer.values["micro_batch"]) == (verdict, fits), answer.words
    assert limited == [12 * 2**27 / 2**33, 1.0]
    assert "1,536 MiB for batches of 16" in answer.words
