"""What decides bits on a GPU: determinism, backends of attention, TF32, versions; as far as a CPU can show it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.cli.run import work_through
from benchmarks.console import terminal
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import InductiveError
from benchmarks.files import read_json, write_json
from benchmarks.plan.run import Run, make_run
from benchmarks.records import environment
from benchmarks.records.evaluation_files import pass_paths, read_entries, write_evaluations
from benchmarks.records.metrics import read_metrics
from benchmarks.records.record import read_record
from benchmarks.records.sources import SAME_CODE
from benchmarks.running import execute
from benchmarks.running.attempt_log import Outcome
from benchmarks.running.rerun import (
    MEASURED_OTHERWISE,
    NONDETERMINISTIC,
    _evaluation_differences,
    compare,
    prepare_rerun,
    rerun_root,
)
from benchmarks.running.task import Task
from benchmarks.speed.synthetic import write_record
from benchmarks.training import kernels, training
from benchmarks.training.evaluation import Measurer
from benchmarks.training.kernels import apply_execution, execution_for, platform_bits
from benchmarks.training.training import Training, arithmetic, build_model, images_together

Make = Callable[..., Run]
Perform = Callable[..., Outcome]

DIGITS = load_images("digits", Path("data"))
EXECUTION = {"attention": "explicit", "layout": "contiguous", "device": "cpu"}
KEPT = ("weights.safetensors", "metrics.jsonl", "result.json")


@pytest.fixture(autouse=True)
def torch_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a run sets for its process must not reach other tests."""
    cuda = torch.backends.cuda
    before = cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    yield
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    for allow in (cuda.enable_flash_sdp, cuda.enable_mem_efficient_sdp, cuda.enable_math_sdp, cuda.enable_cudnn_sdp):
        allow(True)


def begin(run: Run) -> Training:
    subset = draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, run.validation)
    return Training(run, EXECUTION, DIGITS, subset)


def left(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in KEPT}


# --- determinism ---


class Putting:
    """Makes networks with an operation that has no deterministic kernel on a CPU either, `Tensor.put_`: real networks,
    whose logits or their gradients it leaves as they are, but for `noise`. The `first` passes are without it."""

    def __init__(self, where: str, first: int = 0, noise: float = 0.0):
        self.where, self.first, self.noise, self.passes = where, first, noise, 0

    def __call__(self, run: Run, execution: Any) -> Any:
        model = build_model(run, execution)
        model.register_forward_hook(self.after)
        return model

    def after(self, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        self.passes += module.training
        if not module.training or self.passes <= self.first:
            return out
        if self.where == "backward":
            out.register_hook(put)
            return out
        return put(out) * (1 + self.noise)


def put(x: Tensor) -> Tensor:
    """The same numbers, the first of them put where it was."""
    first = x.flatten()[:1].clone()
    return x.clone().put_(torch.tensor([0]), first)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a CPU begin strictly deterministic, as those of a GPU do."""

    def chosen(*what: Any) -> dict[str, Any]:
        return execution_for(*what) | {"deterministic": True}

    monkeypatch.setattr(execute, "execution_for", chosen)


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_operation_without_deterministic_kernel_is_recorded(
    where: str, strict: None, tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference for the bits: the run that never had the operation. It meets it at step 6, after a checkpoint, and
    starts again from step 0; a later attempt obeys what is written and starts nothing again."""
    run = tiny()
    perform(run, root=tmp_path / "without")
    assert read_json(tmp_path / "without" / run.id / "execution.json")["deterministic"] is True
    monkeypatch.setattr(training, "build_model", Putting(where, first=5))
    assert perform(run, stop_at=3).state == "interrupted"
    assert perform(run, stop_at=9).state == "interrupted"
    assert read_json(tmp_path / run.id / "execution.json")["deterministic"] is False
    assert perform(run).state == "finished"
    logs = [(tmp_path / run.id / "attempts" / f"000{n}" / "log.txt").read_text() for n in (1, 2, 3)]
    said = "put_ has no deterministic kernel on cpu: from step 0 again without determinism"
    assert [said in log for log in logs] == [False, True, False]
    assert [attempt["start_step"] for attempt in read_record(tmp_path / run.id).attempts] == [0, 0, 7]
    assert [row["step"] for row in read_metrics(tmp_path / run.id / "metrics.jsonl")] == list(range(1, 13))
    assert left(tmp_path / run.id) == left(tmp_path / "without" / run.id)


def test_without_the_word_nothing_is_given_up(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU's run, which is not strict, meets the operation in peace; another RuntimeError is a failure in any case."""
    run = tiny()
    monkeypatch.setattr(training, "build_model", Putting("forward"))
    assert perform(run).state == "finished"
    assert "deterministic" not in read_json(tmp_path / run.id / "execution.json")
    assert not torch.are_deterministic_algorithms_enabled()

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("another error")

    monkeypatch.setattr(Training, "update", broken)
    with pytest.raises(RuntimeError, match="another error"):
        perform(tiny(seed=1))


@pytest.mark.parametrize(("noise", "verdict"), [(0.0, "equal"), (1e-6, "within tolerance"), (0.1, "different")])
def test_a_rerun_is_within_tolerance_for_this_reason_alone(
    noise: float,
    verdict: str,
    strict: None,
    tiny: Make,
    perform: Perform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reference: the noise put on the rerun's logits, which stands for the order in which a GPU adds up."""
    run = tiny()
    monkeypatch.setattr(training, "build_model", Putting("forward"))
    perform(run)
    record = read_record(tmp_path / run.id)
    evaluations = prepare_rerun(record, run)
    monkeypatch.setattr(training, "build_model", Putting("forward", noise=noise))
    perform(run, root=rerun_root(tmp_path), evaluations=evaluations)
    found = compare(record, None)
    assert (found.verdict, found.conditions) == (verdict, (NONDETERMINISTIC,))


def test_a_strict_record_promises_bits(strict: None, tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """A rerun that differs by a last digit is different, and no condition excuses it."""
    run = tiny()
    perform(run)
    record = read_record(tmp_path / run.id)
    perform(run, root=rerun_root(tmp_path), evaluations=prepare_rerun(record, run))
    rows = (tmp_path / run.id / "metrics.jsonl").read_text().splitlines()
    first = json.loads(rows[0])
    rows[0] = json.dumps(first | {"loss": first["loss"] * (1 + 1e-9)})
    (tmp_path / run.id / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    found = compare(record, None)
    assert (found.verdict, found.conditions) == ("different", ())


@pytest.mark.parametrize(("consistency", "apart"), [(0.9, None), (0.89, False), (0.8, True)])
def test_a_rerun_compares_the_consistency_of_probes(consistency: float, apart: bool | None) -> None:
    """Three binomial standard errors of a difference of shares of 0.9 among 500 images are 5.7 points."""
    how = {"part": "test", "resolution": 8, "probe": "shift", "strength": 2}
    entry = {"id": "a", "evaluation": how, "count": 500, "accuracy": 0.7, "nll": 0.5, "consistency": 0.9}
    then, now = (f"accuracy 0.7000, likelihood 0.5, consistency {share:.4f}" for share in (0.9, consistency))
    expected = [] if apart is None else [(f"test at 8 px, probe shift 2: {then} then, {now} now", apart)]
    assert _evaluation_differences([entry], [{**entry, "consistency": consistency}]) == expected
    plain = {key: value for key, value in entry.items() if key != "consistency"}
    assert _evaluation_differences([plain], [plain]) == []


# --- a GPU that is not there ---


@pytest.fixture
def h100(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What torch and the driver say on a machine with a GPU."""
    about = SimpleNamespace(name="NVIDIA H100 80GB HBM3", total_memory=85_000_000_000, uuid="8f6d-1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: about)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: about.name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91300)
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build  (x@y)"
    (tmp_path / "driver").write_text(f"{text}\nGCC version:  gcc version 12.2.0\n")
    monkeypatch.setattr(environment, "DRIVER", tmp_path / "driver")


def test_all_that_decides_bits_on_cuda_is_written(h100: None, tiny: Make) -> None:
    """Reference: what the machine says, and the rules of docs/records.md. It is JSON, and nothing of it on a CPU."""
    chosen = execution_for(tiny(), "cuda")
    settings = {"deterministic": True, "attention_backends": ["flash", "efficient", "math"], "tf32": False}
    versions = {"cuda": "13.0", "cudnn": "91300", "driver": "580.82.07", "capability": "NVIDIA H100 80GB HBM3"}
    assert chosen == json.loads(json.dumps(chosen))
    assert {key: chosen[key] for key in settings | versions} == settings | versions
    assert execution_for(tiny(precision="tf32"), "cuda")["tf32"] is True
    assert not (settings | versions).keys() - {"capability"} & execution_for(tiny(), "cpu").keys()


@pytest.mark.parametrize(("capability", "linear"), [("AVX512", "onednn"), ("AVX2", "torch"), ("DEFAULT", "torch")])
def test_linear_maps_go_where_they_are_fast(
    capability: str, linear: str, tiny: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the two processors of docs/performance.md; what was measured on neither computes as torch does."""
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    found = execution_for(tiny(), "cpu")
    assert (found["linear"], found["capability"]) == (linear, capability)


def test_a_record_of_cuda_is_obeyed(h100: None, tiny: Make) -> None:
    """Reference: torch's own switches, for three records; what is another here is said."""
    execution = execution_for(tiny(), "cuda")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    assert apply_execution(execution) == []
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    assert not (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert backends() == {"flash", "efficient", "math"}
    then = execution | {"attention_backends": ["math"], "deterministic": False, "driver": "535.1", "cudnn": "90100"}
    differences = apply_execution(then)
    assert differences == ["cudnn: 90100 then, 91300 now", "driver: 535.1 then, 580.82.07 now"]
    assert torch.is_deterministic_algorithms_warn_only_enabled()
    assert backends() == {"math"}
    early = {name: execution[name] for name in ("device", "threads", *platform_bits("cpu"))}
    assert apply_execution(early)[0] == "cuda: unknown then, 13.0 now"
    assert torch.is_deterministic_algorithms_warn_only_enabled()  # as they were made
    assert "cudnn" not in backends()
    apply_execution(execution_for(tiny(), "cpu"))
    assert not torch.are_deterministic_algorithms_enabled()


def backends() -> set[str]:
    """The backends of fused attention that torch may choose."""
    cuda = torch.backends.cuda
    allowed = {
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
        "cudnn": cuda.cudnn_sdp_enabled(),
    }
    return {name for name, there in allowed.items() if there}


@pytest.mark.parametrize(
    ("code", "nll", "verdict", "conditions"),
    [
        ("00000000", 1e-9, "within tolerance", (MEASURED_OTHERWISE,)),
        ("00000000", 0.0, "equal", (MEASURED_OTHERWISE,)),
        (next(iter(SAME_CODE)), 1e-9, "different", ()),
    ],
)
def test_a_rerun_by_other_measuring_code_promises_no_bits(
    code: str, nll: float, verdict: str, conditions: tuple[str, ...], tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """Reference: the code and the last digits written into the record; code of before that measures the same is no
    excuse."""
    run = tiny()
    perform(run)
    [path] = pass_paths(tmp_path / run.id)
    entries = [{**one, "code": code, "nll": one["nll"] + nll} for one in read_entries(path)]
    write_evaluations(tmp_path / run.id, 1, entries, {})
    record = read_record(tmp_path / run.id)
    perform(run, root=rerun_root(tmp_path), evaluations=prepare_rerun(record, run))
    found = compare(record, None)
    assert (found.verdict, found.conditions) == (verdict, conditions)


def test_an_attempt_says_on_which_gpu_it_is(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Reference: what the machine says. A run of a CPU has none; the attempt of a GPU notes it and then fails here,
    where no tensor can go there."""
    run = tiny()
    perform(run, device="cpu")
    request.getfixturevalue("h100")
    place = tmp_path / run.id / "attempts" / "0001" / "environment.json"
    assert read_json(place)["gpu"] is None
    other = tiny(seed=1)
    monkeypatch.setattr(execute._Work, "training", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        perform(other, device="cuda")
    noted = read_json(tmp_path / other.id / "attempts" / "0001" / "environment.json")
    about = {"name": "NVIDIA H100 80GB HBM3", "memory": 85_000_000_000, "driver": "580.82.07"}
    assert (noted["gpu"], noted["gpu_uuid"]) == (about, "8f6d-1")
    assert noted["python"] == read_json(place)["python"]
    monkeypatch.setattr(environment, "DRIVER", tmp_path / "none")
    assert environment.driver_version() == "-"


def test_a_rerun_elsewhere_has_nothing_of_the_gpu(
    tiny: Make, perform: Perform, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Reference: the execution of the run on a CPU."""
    run = tiny()
    perform(run)
    request.getfixturevalue("h100")
    path = tmp_path / run.id / "execution.json"
    ours = read_json(path)
    write_json(path, ours | execution_for(run, "cuda") | {"micro_batch": 8})
    prepare_rerun(read_record(tmp_path / run.id), run, device="cpu")
    assert read_json(rerun_root(tmp_path) / run.id / "execution.json") == ours
    prepare_rerun(read_record(tmp_path / run.id), run)
    assert read_json(rerun_root(tmp_path) / run.id / "execution.json") == read_json(path)


@pytest.mark.parametrize(("device", "ranks"), [(None, 1), ("cpu", None)])
def test_a_rerun_elsewhere_still_computes_activations_again(
    device: str | None, ranks: int | None, h100: None, tiny: Make, tmp_path: Path
) -> None:
    """Of a run of two GPUs with --checkpoint-activations. Reference: the execution that such a run is begun with on one
    GPU, and on a CPU."""
    run = tiny()
    folder = write_record(tmp_path, run, [])
    write_json(folder / "execution.json", execution_for(run, "cuda", ranks=2, recompute=True) | {"sources": {}})
    prepare_rerun(read_record(folder), run, device=device, ranks=ranks)
    found = read_json(rerun_root(tmp_path) / run.id / "execution.json")
    del found["sources"]
    assert found == execution_for(run, device or "cuda", recompute=True)
    assert (found["checkpoint_activations"], found["compile"]) == (True, "off")


# --- TF32 ---


def switches() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def test_tf32_is_of_passes_alone(tiny: Make) -> None:
    """Torch's switches as seen by the forward and the backward pass, in training and in evaluation, by the making of a
    batch and by the optimiser. Reference for the numbers: float32, which a CPU computes in either case."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    run = tiny(precision="tf32")
    one, exact = begin(run), begin(tiny())
    seen: dict[str, set[Any]] = {name: set() for name in ("batch", "forward", "backward", "optimiser", "evaluation")}

    def forward(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        seen["forward" if module.training else "evaluation"].add((switches(), out.dtype))
        if out.requires_grad:
            out.register_hook(lambda _: seen["backward"].add(switches()))

    make = one.batches.batch
    one.batches.batch = lambda step: (seen["batch"].add(switches()), make(step))[1]  # type: ignore[method-assign]
    one.optimizer.register_step_pre_hook(lambda *_: seen["optimiser"].add(switches()))
    for module in one.model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(forward)
    assert [one.update() for _ in range(2)] == [exact.update() for _ in range(2)]
    subset = draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, run.validation)
    measurer = Measurer(one.model, run, DIGITS, subset, False)
    measurer.score("validation", execute.Evaluation(part="validation", resolution=8))
    on, off = (True, True), (False, False)
    assert seen == {
        **{"batch": {off}, "optimiser": {off}, "forward": {(on, torch.float32)}, "backward": {on}},
        "evaluation": {(on, torch.float32)},
    }
    assert switches() == off


def test_tf32_leaves_switches_as_they_were() -> None:
    """Also after an error; and autocast is off within."""
    for before in ((True, False), (False, True)):
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
        with pytest.raises(ZeroDivisionError), arithmetic(torch.device("cpu"), "tf32"):
            assert switches() == (True, True)
            assert not torch.is_autocast_enabled("cpu")
            raise ZeroDivisionError
        assert switches() == before


def test_tf32_is_part_of_a_runs_identity_and_moves_no_other() -> None:
    """Reference for the ids of float32 and bfloat16: those of earlier versions."""
    ids = {precision: make_run({"precision": precision}).id for precision in ("float32", "bfloat16", "tf32")}
    assert make_run({}).id == ids["float32"]
    assert len(set(ids.values())) == 3
    assert ids["float32"].endswith("93cb497d") and ids["bfloat16"].endswith("36196bd0")


@pytest.mark.parametrize(("device", "allowed"), [("cpu", "float32, bfloat16"), ("mps", "float32")])
def test_tf32_needs_cuda(device: str, allowed: str, tiny: Make, tmp_path: Path) -> None:
    """Refused, with what is allowed; by the commands before anything starts."""
    run, said = tiny(precision="tf32"), f"precision tf32 on {device} is not supported; allowed: {allowed}$"
    with pytest.raises(InductiveError, match=said):
        execution_for(run, device)
    task = Task(run, [], tmp_path, execute.Settings(Path("data"), device))
    with pytest.raises(InductiveError, match=said):
        work_through([task], 1, terminal())
    assert not any(tmp_path.iterdir())


def test_tf32_needs_a_gpu_that_has_it(h100: None, tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of before Ampere computes in float32 and says nothing."""
    monkeypatch.setattr(kernels.torch.cuda, "get_device_capability", lambda: (7, 0))
    with pytest.raises(InductiveError, match=r"has no TF32 .*; allowed: float32$"):
        execution_for(tiny(precision="tf32"), "cuda")
    assert execution_for(tiny(), "cuda")["tf32"] is False


# --- evaluation ---


def test_more_images_at_once_on_a_gpu_alone() -> None:
    """Reference: 2,048 images of 32 px, or their pixels; never fewer than on a CPU."""
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert {images_together(cpu, side) for side in (8, 32, 224)} == {256}
    assert [images_together(cuda, side) for side in (8, 32, 64, 96, 224)] == [2048, 2048, 512, 256, 256]


def test_logits_come_back_once(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: the calls of `Tensor.cpu`; three batches, one of them smaller."""
    calls, real = [], Tensor.cpu
    monkeypatch.setattr(Tensor, "cpu", lambda self: (calls.append(tuple(self.shape)), real(self))[1])
    run = tiny()
    subset = draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, run.validation)
    measurer = Measurer(build_model(run, EXECUTION), run, DIGITS, subset, False)
    logits = measurer.logits("test", execute.Evaluation(resolution=8))
    assert calls == [tuple(logits.shape)] == [(len(DIGITS.test), 10)]
