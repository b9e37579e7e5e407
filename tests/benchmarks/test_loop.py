"""The training loop: what is read when, validation while training, short memory, losses that are not finite."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import ConfigError, InductiveError
from benchmarks.files import read_json
from benchmarks.plan.run import Run, make_run
from benchmarks.records.metrics import logged, read_metrics
from benchmarks.records.record import opened_pass, read_record
from benchmarks.running import loop
from benchmarks.running.attempt_log import Outcome
from benchmarks.running.loop import FIRST_STEPS
from benchmarks.training import training
from benchmarks.training.batches import Batches
from benchmarks.training.kernels import execution_for
from benchmarks.training.training import Training, build_model

Make = Callable[..., Run]
Perform = Callable[..., Outcome]

DIGITS = load_images("digits", Path("data"))
LINEAR = execution_for(make_run({}), "cpu")["linear"]
EXECUTION = {"attention": "explicit", "linear": LINEAR, "layout": "contiguous", "device": "cpu"}
KEPT = ("weights.safetensors", "metrics.jsonl", "result.json")


def begin(run: Run, **execution: Any) -> Training:
    subset = draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, run.validation)
    return Training(run, {**EXECUTION, **execution}, DIGITS, subset)


def left(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in KEPT}


# --- reading ---


def test_what_is_not_read_is_trained_all_the_same(tiny: Make) -> None:
    """Reference: the same steps, each of them read; on the other side nothing is read in between."""
    run = tiny()
    read, unread = begin(run), begin(run)
    read.waits = unread.waits = True
    rows = [read.update() for _ in range(6)]
    assert [unread.update(read=False) for _ in range(5)] == [{}] * 5
    assert unread.update() == rows[-1]
    for name, tensor in read.model.state_dict().items():
        assert torch.equal(tensor, unread.model.state_dict()[name])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_a_loss_that_is_not_finite_is_masked_until_it_is_read(optimizer: str, tiny: Make) -> None:
    """Reference: the weights and the optimiser's state before the bad step. It is the third, nothing is read until the
    sixth, and batches are finite again in between: no step after the bad one may count."""
    one = begin(tiny(recipe={"name": "digits", "optimizer": optimizer}))
    one.waits = True
    batch = one.batches.batch

    def poisoned(step: int) -> tuple[Tensor, Tensor]:
        x, weights = batch(step)
        return (x * float("inf") if step == 2 else x), weights

    one.batches.batch = poisoned  # type: ignore[method-assign]
    for _ in range(2):
        one.update(read=False)
    before = [p.detach().clone() for p in one.model.parameters()]
    moments = [
        {key: value.clone() for key, value in state.items()} for state in one.optimizer.state_dict()["state"].values()
    ]
    for _ in range(3):
        assert one.update(read=False) == {}
    assert one.update() is None
    assert one.step == 2
    assert all(map(torch.equal, before, one.model.parameters()))
    after = list(one.optimizer.state_dict()["state"].values())
    assert all(torch.equal(old[key], new[key]) for old, new in zip(moments, after, strict=True) for key in old)


def test_a_masked_step_is_found_before_a_checkpoint(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: the loss of step 20 (0-based) breaks where no row is wanted; asked to stop after it, the run is
    recorded as diverged at 20, and leaves no checkpoint of the steps that did not count."""
    run = tiny(budget={"steps": 400})
    assert not any(logged(step, 400) for step in (21, 22, 23))
    batch, begun = Batches.batch, training.Training.__init__

    def poisoned(self: Any, step: int) -> Any:
        x, weights = batch(self, step)
        return (x * float("inf") if step == 20 else x), weights

    def waiting(self: Training, *arguments: Any) -> None:
        begun(self, *arguments)
        self.waits = True

    monkeypatch.setattr(Batches, "batch", poisoned)
    monkeypatch.setattr(training.Training, "__init__", waiting)
    assert perform(run, stop_at=23) == Outcome("diverged", "loss not finite at step 20")
    assert read_record(tmp_path / run.id).result["diverged_at"] == 20  # type: ignore[index]
    assert not list((tmp_path / run.id).glob("checkpoint-*"))


# --- validation ---


@pytest.mark.parametrize(("every", "expected"), [(5, [5, 10, 12]), (0.25, [3, 6, 9, 12]), (100, [12])])
def test_validation_while_training(
    every: float, expected: list[int], tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """Reference: the run without it, whose weights and other metrics are the same to the bit, and its evaluation at the
    end, which the last point of the curve equals."""
    run, without = tiny(validate_every=every), tiny()
    assert run.id != without.id
    perform(run)
    perform(without)
    rows = read_metrics(tmp_path / run.id / "metrics.jsonl")
    assert [row["step"] for row in rows if "validation_accuracy" in row] == expected
    [final] = [e for e in read_record(tmp_path / run.id).evaluations if e["evaluation"]["part"] == "validation"]
    assert (rows[-1]["validation_accuracy"], rows[-1]["validation_loss"]) == (final["accuracy"], final["nll"])
    for row in rows:
        row.pop("validation_accuracy", None)
        row.pop("validation_loss", None)
    assert rows == read_metrics(tmp_path / without.id / "metrics.jsonl")
    weights = [(tmp_path / one.id / "weights.safetensors").read_bytes() for one in (run, without)]
    assert weights[0] == weights[1]


# --- memory ---


class Limited:
    """Makes networks that, in training, have room for so many images: real networks, whose entry raises what torch
    raises when the device is full."""

    def __init__(self, limit: int):
        self.limit, self.seen = limit, list[int]()

    def __call__(self, run: Run, execution: Any) -> Any:
        model = build_model(run, execution)

        def enter(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if module.training:
                self.seen.append(len(inputs[0]))
                if len(inputs[0]) > self.limit:
                    raise torch.OutOfMemoryError(f"no room for {len(inputs[0])} images")

        model.register_forward_pre_hook(enter)
        return model


@pytest.mark.parametrize("model", ["vit", "resnet"])
def test_short_memory_halves_the_micro_batch(
    model: str, tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for 20 of 64 images: 64, once more with the cache emptied, 32, then 16 at a time, recorded; a later attempt
    begins with 16. BatchNorm, which normalises by the micro-batch, is flagged."""
    run = tiny(model=model, recipe={"name": "digits", "batch_size": 64})
    limited = Limited(20)
    monkeypatch.setattr(training, "build_model", limited)
    assert perform(run, stop_at=5).state == "interrupted"
    folder = tmp_path / run.id
    assert limited.seen[:4] == [64, 64, 32, 16]
    assert set(limited.seen[3:]) == {16}
    assert read_json(folder / "execution.json")["micro_batch"] == 16
    log = (folder / "attempts" / "0001" / "log.txt").read_text()
    assert "no memory for 64 images at once: from step 0 again with 32 (no room for 64 images)" in log
    assert ("BatchNorm normalises by these 16 images" in log) == (model == "resnet")
    limited.seen.clear()
    assert perform(run).state == "finished"
    assert set(limited.seen) == {16}
    result = read_record(folder).result
    assert result is not None
    assert (result["micro_batch"], result["batch_norm"]) == (16, model == "resnet")
    assert len(limited.seen) == 4 * 7  # the last seven of twelve steps


def test_memory_that_gets_short_later_leaves_no_mixture(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the run that had little memory from the start. What was trained with the full batch is done again, or
    execution.json would not describe the bits."""
    run = tiny(recipe={"name": "digits", "batch_size": 64})
    limited = Limited(64)
    monkeypatch.setattr(training, "build_model", limited)
    perform(run, root=tmp_path / "later", stop_at=5)
    limited.limit = 40
    perform(run, root=tmp_path / "later")
    perform(run, root=tmp_path / "always")
    assert left(tmp_path / "later" / run.id) == left(tmp_path / "always" / run.id)
    assert [row["step"] for row in read_metrics(tmp_path / "later" / run.id / "metrics.jsonl")] == list(range(1, 13))


def test_no_room_for_one_image_is_a_failure(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in one line, with what helps and torch's own words."""
    run = tiny(recipe={"name": "digits", "batch_size": 8})
    limited = Limited(0)
    monkeypatch.setattr(training, "build_model", limited)
    words = (
        "too little memory on the GPU; what helps: fewer runs side by side (--jobs, runs_per_gpu), a smaller network"
    )
    with pytest.raises(InductiveError, match=re.escape(words)) as failure:
        perform(run)
    assert limited.seen == [8, 8, 4, 2, 1]
    assert str(failure.value).endswith("(no room for 1 images)")
    assert "\n" not in str(failure.value)
    assert read_record(tmp_path / run.id).reason.endswith(str(failure.value))


def test_memory_that_comes_back_changes_nothing(
    tiny: Make, perform: Perform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reference: the run that always had room, to the byte. The error comes once, after a checkpoint, and emptying the
    cache makes room: nothing is halved, and steps since the checkpoint are made again."""
    run = tiny(model="resnet", recipe={"name": "digits", "batch_size": 64})
    perform(run, root=tmp_path / "always")
    perform(run, root=tmp_path / "short", stop_at=5)
    limited = Limited(40)
    monkeypatch.setattr(training, "build_model", limited)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: setattr(limited, "limit", 64))
    perform(run, root=tmp_path / "short")
    assert left(tmp_path / "short" / run.id) == left(tmp_path / "always" / run.id)
    assert read_json(tmp_path / "short" / run.id / "execution.json")["micro_batch"] == 64
    log = (tmp_path / "short" / run.id / "attempts" / "0002" / "log.txt").read_text()
    assert "no memory for 64 images at once: the cache is emptied, then again" in log


# --- speed ---


@pytest.mark.parametrize(
    ("steps", "counted", "first"), [(12, 12 - FIRST_STEPS, 10.0 * FIRST_STEPS), (FIRST_STEPS, FIRST_STEPS, 0.0)]
)
def test_the_first_steps_are_no_part_of_the_speed(
    steps: int,
    counted: int,
    first: float,
    tiny: Make,
    perform: Perform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reference: by hand, on a clock that a step moves by one second, and each of the first by ten, as where CUDA
    starts and a network is compiled. A run that is over before has no others."""
    clock, update = [0.0], training.Training.update

    def slow(self: Training, read: bool = True) -> Any:
        clock[0] += 10.0 if self.step < FIRST_STEPS else 1.0
        return update(self, read)

    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(training.Training, "update", slow)
    run = tiny(budget={"steps": steps})
    perform(run)
    [ended] = [read_json(path) for path in (tmp_path / run.id).glob("attempts/*/ended.json")]
    seconds = counted if first else 10.0 * FIRST_STEPS
    assert ended["images_per_second"] == pytest.approx(counted * run.recipe.batch_size / seconds, rel=1e-3)
    assert ended["seconds"]["first_steps"] == first
    assert ended["seconds"]["training"] == 10.0 * FIRST_STEPS + (steps - FIRST_STEPS)
    assert ended["runs_per_gpu"] == 1


@pytest.mark.parametrize("size", [1, 3, 8, 31, 32])
def test_micro_batches_add_up(size: int, tiny: Make) -> None:
    """Reference: the gradient, loss and accuracy of the whole batch, to rounding; 3 and 31 do not divide 32."""
    run = tiny(recipe={"name": "digits", "batch_size": 32, "clip": 0.0, "label_smoothing": 0.1})
    whole, parts = begin(run), begin(run, micro_batch=size)
    assert parts.update() == pytest.approx(whole.update(), rel=1e-5)
    for one, other in zip(parts.model.parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


# --- precision ---


@pytest.mark.parametrize("model", ["vit", "resnet"])
def test_bfloat16_computes_in_it_and_keeps_weights_in_float32(
    model: str, tiny: Make, perform: Perform, tmp_path: Path
) -> None:
    """The hooks of the layers see bfloat16; weights, gradients and what is recorded are float32. Reference for the
    result: the float32 run, from which it differs, in the first loss by less than 2 %."""
    alike = {"model": model, "initial": "library"}  # by its literature a ViT begins at one loss whatever it computes in
    run, exact = tiny(precision="bfloat16", **alike), tiny(**alike)
    assert run.id != exact.id
    one = begin(run)
    kinds = set()
    for module in one.model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_hook(lambda _, __, out: kinds.add(out.dtype))
    row, expected = one.update(), begin(exact).update()
    assert row is not None
    assert expected is not None
    assert kinds == {torch.bfloat16}
    assert {p.dtype for p in one.model.parameters()} == {
        p.grad.dtype for p in one.model.parameters() if p.grad is not None
    }
    assert {p.dtype for p in one.model.parameters()} == {torch.float32}
    assert row["loss"] != expected["loss"]
    assert row["loss"] == pytest.approx(expected["loss"], rel=0.02)
    perform(run)
    assert read_json(tmp_path / run.id / "execution.json")["precision"] == "bfloat16"


def test_evaluation_is_in_the_runs_precision(tiny: Make, perform: Perform, tmp_path: Path) -> None:
    """Reference: the numbers that bfloat16 can hold, 8 significant bits: its logits are such, float32's are not."""
    for precision, coarse in (("bfloat16", True), ("float32", False)):
        run = tiny(precision=precision)
        perform(run)
        with opened_pass(tmp_path / run.id / "evaluations" / "0001.npz") as arrays:
            entry = json.loads(arrays["index"].tobytes())[0]
            logits = torch.from_numpy(arrays[f"{entry['id']}.logits"].astype(np.float32))
        large = logits[logits.abs() > 0.01]  # smaller ones may have been rounded again by float16
        assert torch.equal(large, large.bfloat16().float()) == coarse


def test_a_device_without_the_precision_says_so(tiny: Make) -> None:
    """No silent change of the precision."""
    with pytest.raises(InductiveError, match="precision bfloat16 on mps is not supported; allowed: float32"):
        execution_for(tiny(precision="bfloat16"), "mps")


def test_there_must_be_something_to_validate_on() -> None:
    """Refused when it is declared, not after training."""
    with pytest.raises(ConfigError, match="validate_every: there is no validation part"):
        make_run({"validation": 0, "validate_every": 5})
