"""Whole steps as CUDA graphs, as far as a CPU can show it: a recording is replayed by doing the step again."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.plan.run import Run, make_run
from benchmarks.training import step_graph, training
from benchmarks.training.step_graph import PLAIN_STEPS, Recorder, Result, StepGraphs
from benchmarks.training.training import Training

DIGITS = load_images("digits", Path("data"))
STEPS = 16


class Again:
    """A recording whose replay does the step again, and writes its result where the recording said."""

    made = 0

    def __init__(self, step: Callable[[], Result], result: Result):
        self.step, self.result = step, result
        Again.made += 1

    def replay(self) -> None:
        for kept, new in zip(self.result, self.step(), strict=True):
            kept.copy_(new)


def again(step: Callable[[], Result]) -> tuple[Again, Result]:
    result = torch.full((), torch.nan), torch.full((20, 10), torch.nan)  # nothing is done before the first replay
    return Again(step, result), result


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "StepGraphs", lambda step: StepGraphs(step, again))
    monkeypatch.setattr(Again, "made", 0)


def begin(run: Run, form: str, micro_batch: int = 20) -> Training:
    execution = {"attention": "explicit", "layout": "contiguous", "device": "cpu", "compile": form}
    subset = draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, run.validation)
    return Training(run, execution | {"micro_batch": micro_batch}, DIGITS, subset)


def a_run(**changes: Any) -> Run:
    recipe = {"name": "digits", "batch_size": 20, **changes.pop("recipe", {})}
    usual = {"model": "vit", "size": "pico", "train_size": 60, "budget": {"steps": STEPS}, "recipe": recipe}
    return make_run({**usual, **changes})


def flat(state: Any) -> list[Tensor]:
    """All tensors of a nested state, in order; the learning rate's own is no state."""
    if isinstance(state, Tensor):
        return [state]
    if isinstance(state, dict):
        return [one for key in state if key != "lr" for one in flat(state[key])]
    return [one for part in state for one in flat(part)] if isinstance(state, list | tuple) else []


RUNS = {
    "adamw": a_run(),
    "clipped, averaged, with what the network draws": a_run(
        recipe={"clip": 0.5, "ema": 0.9}, options={"drop_path": 0.3, "position": "learned_1d"}
    ),
    "sgd, batch norm": a_run(model="resnet", recipe={"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.05}),
    "two resolutions": a_run(recipe={"train_resolutions": (8, 16)}, options={"position": "sincos_2d"}),
}


@pytest.mark.parametrize("micro_batch", [20, 7], ids=["whole batches", "micro-batches"])
@pytest.mark.parametrize("name", RUNS)
def test_a_step_by_replay_is_the_plain_step(name: str, micro_batch: int, recorded: None) -> None:
    """Reference: the plain step, bit by bit: metrics of each step, and the state at the end, resumed in the middle."""
    run = RUNS[name]
    plain, replayed = begin(run, "off", micro_batch), begin(run, "graphs", micro_batch)
    for step in range(STEPS):
        if step == 5:
            state = replayed.state()
            replayed = begin(run, "graphs", micro_batch)
            replayed.restore(state)
        assert plain.update() == replayed.update()
    theirs, ours = flat(plain.state()), flat(replayed.state())
    assert len(theirs) == len(ours) > 20
    assert all(torch.equal(one, other) for one, other in zip(theirs, ours, strict=True))
    assert Again.made >= 1


def test_shapes_are_recorded_once_and_after_plain_steps(recorded: None) -> None:
    """The first steps of each shape are plain, and one recording serves all that follow."""
    shapes: list[int] = []

    def step(images: Tensor, weights: Tensor) -> Result:
        shapes.append(images.shape[-1])
        return images.sum(), weights + images[0, 0, 0, 0]

    graphs = StepGraphs(step, again)
    for number, side in enumerate([8, 16] * 6):
        images = torch.full((20, 1, side, side), float(number))
        loss, logits = graphs(images, torch.ones(20, 10))
        assert (loss, logits[0, 0]) == (20 * side**2 * number, 1 + number)
    assert Again.made == 2 and len(shapes) == 12
    assert [graphs.done[torch.Size((20, 1, side, side))] for side in (8, 16)] == [PLAIN_STEPS] * 2


def test_a_loss_that_is_not_finite_is_skipped_by_replay_too(recorded: None) -> None:
    """As in the plain step: the weights are those before it, and the step is named."""
    run = a_run()
    plain, replayed = begin(run, "off"), begin(run, "graphs")
    for _ in range(PLAIN_STEPS + 2):
        assert plain.update() == replayed.update()
    kept = [value.clone() for value in replayed.model.state_dict().values()]
    for one in (plain, replayed):
        images, weights = one.batches.batch(one.step)
        broken = images.clone()
        broken[0, 0, 0, 0] = torch.nan
        one.batches.batch = lambda step, broken=broken, weights=weights: (broken, weights)  # type: ignore[method-assign]
        assert one.update() is None
    assert plain.step == replayed.step == PLAIN_STEPS + 2
    assert all(torch.equal(a, b) for a, b in zip(kept, replayed.model.state_dict().values(), strict=True))


def test_a_recording_short_of_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch ends a broken recording with an error of its own, which would hide the shortage; other errors stay."""

    @contextmanager
    def graph(graph: object, pool: object) -> Any:
        try:
            yield
        finally:
            raise RuntimeError("capture was invalidated")

    monkeypatch.setattr(step_graph.torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(step_graph.torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(step_graph.torch.cuda, "graph", graph)

    def short() -> Result:
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError, match="too much"):
        Recorder()(short)
    with pytest.raises(RuntimeError, match="invalidated"):
        Recorder()(lambda: (torch.zeros(()), torch.zeros(1)))
