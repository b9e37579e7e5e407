"""The memory that runs are forecast to take. What was measured beside it stands in docs/performance.md."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import models
from benchmarks.errors import InductiveError
from benchmarks.forecast import memory
from benchmarks.forecast.cost import built_of, network_without_memory
from benchmarks.forecast.memory import Memory, Wanted, checked, kinds, largest, memory_of, wanted
from benchmarks.plan.run import Evaluation, Run
from benchmarks.training.ranks.recomputing import recomputed
from benchmarks.training.training import model_of
from models.blocks import blocks_of

Make = Callable[..., Run]


@pytest.mark.parametrize("model", ["vit", "resnet", "swin"])
def test_what_a_backward_pass_needs(model: str, tiny: Make) -> None:
    """Reference: the tensors that a pass on the CPU saves for it, each memory once, those of the network apart."""
    run = tiny(model=model)
    network, saved = model_of(run).train(), {}
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.randn(2, run.data.channels, 8, 8))
    sizes = [tensor.untyped_storage().nbytes() for place, tensor in saved.items() if place not in own]
    expected = memory.STEP_COPIES * (sum(sizes) + 2 * max(sizes)) / 2
    assert memory._step_bytes(built_of(run), 8, False) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("model", ["vit", "resnet", "swin"])
def test_what_a_backward_pass_needs_that_computes_again(model: str, tiny: Make) -> None:
    """Reference: what torch's checkpoints save in a pass on the CPU, and the most that any block saves by itself."""
    run = tiny(model=model)
    network = model_of(run).train()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    saved: dict[int, torch.Tensor] = {}
    given: dict[int, tuple[torch.Tensor, ...]] = {}
    blocks = blocks_of(network)
    handles = [
        block.register_forward_pre_hook(lambda _, inputs, number=number: given.update({number: inputs}))
        for number, block in enumerate(blocks)
    ]

    def kept(forward: Callable[[], object]) -> dict[int, int]:
        saved.clear()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            forward()
        return {place: one.untyped_storage().nbytes() for place, one in saved.items() if place not in own}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    images = torch.randn(2, run.data.channels, 8, 8)
    network(images)
    for handle in handles:
        handle.remove()
    alone = [kept(lambda block=block, number=number: block(*given[number])) for number, block in enumerate(blocks)]
    largest = max(max(one.values()) for one in alone)
    inputs = [
        {one.untyped_storage().data_ptr() for one in those if isinstance(one, torch.Tensor)} for those in given.values()
    ]
    of_one = max(
        sum(size for place, size in one.items() if place not in own) for one, own in zip(alone, inputs, strict=True)
    )
    with recomputed(blocks, None, None):
        whole = sum(kept(lambda: network(images)).values())
    found = memory._step_bytes(built_of(run), 8, True)
    assert found == pytest.approx(memory.STEP_COPIES * (whole + of_one + 2 * largest) / 2, rel=0.1)
    assert found < memory._step_bytes(built_of(run), 8, False)


def test_what_fits_by_computing_again_is_not_refused(tiny: Make) -> None:
    """In a memory between what it takes as it is and what it takes then. Reference: the forecasts themselves."""
    run = tiny(size="nano", resolution=64, options={"patch_size": 4}, recipe={"name": "digits", "batch_size": 256})
    as_it_is, again = (memory_of(run, recompute=recompute) for recompute in (False, True))
    available = (as_it_is.side_by_side() + again.side_by_side()) // 2
    with pytest.raises(InductiveError, match="what helps: --again, a smaller resolution"):
        largest([Wanted(run)], available, "this machine", again="--again")
    assert largest([Wanted(run, recompute=True)], available, "this machine") == again


def test_a_run_that_has_begun_goes_on_as_it_began(tiny: Make, perform: Callable[..., object], tmp_path: Path) -> None:
    """Whatever is asked now; and no option that it would ignore is offered. Reference: its execution.json."""
    run, other = tiny(), tiny(seed=1)
    perform(run, stop_at=5)
    found = wanted(run, [], tmp_path, recompute=True)
    assert (found.recompute, found.begun) == (False, True)
    assert wanted(other, [], tmp_path, recompute=True) == Wanted(other, [], recompute=True)
    with pytest.raises(InductiveError, match="what helps: a smaller resolution"):
        largest([found], 10**6, "this machine", again="--again")


def test_a_forecast_leaves_nothing_on_the_network(tiny: Make) -> None:
    """It is kept for others to ask. Reference: its own hooks."""
    network = network_without_memory(*built_of(tiny()))
    for side in (8, 12, 16):
        memory._step_bytes(built_of(tiny()), side, True)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("model", models.model_names())
def test_every_family_is_forecast(model: str, tiny: Make) -> None:
    """More images a batch, and more pixels where the network sees them, take more."""
    run = tiny(model=model, size=models.default_size(model), resolution=8)
    more = run.model_copy(update={"recipe": run.recipe.model_copy(update={"batch_size": 2 * run.recipe.batch_size})})
    assert 0 < memory_of(run).step < memory_of(more).step == 2 * memory_of(run).step


def test_the_parts_by_hand(tiny: Make) -> None:
    """AdamW keeps two numbers a weight beside weight and gradient, an average one more; a checkpoint is written from a
    copy; digits are 1,797 images of 64 bytes; an evaluation has 256 images."""
    run, averaged = tiny(), tiny(recipe={"name": "digits", "ema": 0.9, "optimizer": "sgd"})
    weights = 4 * sum(parameter.numel() for parameter in network_without_memory(*built_of(run)).parameters())
    found = memory_of(run, [Evaluation(resolution=8), Evaluation(resolution=16)])
    assert (found.weights, found.checkpoint, found.images) == (4 * weights, 6 * weights, 1797 * 64)
    assert (memory_of(averaged).weights, memory_of(averaged).checkpoint) == (4 * weights, 6 * weights)
    assert found.evaluation % 256 == 0 < found.evaluation > memory_of(run, [Evaluation(resolution=8)]).evaluation
    assert memory_of(run).evaluation == 0


def test_a_run_of_no_steps_takes_what_its_evaluations_take(tiny: Make) -> None:
    """Reference: counted by hand: the weights, a copy of them and its bytes when they are written, and no step,
    whatever the batch. A trained run of the same network is another kind."""
    run, trained = tiny(budget={"steps": 0}), tiny()
    at = [Evaluation(resolution=8)]
    weights = 4 * sum(parameter.numel() for parameter in network_without_memory(*built_of(run)).parameters())
    found = memory_of(run, at)
    assert (found.weights, found.checkpoint, found.step) == (weights, 2 * weights, 0)
    assert found.evaluation == memory_of(trained, at).evaluation
    larger = tiny(budget={"steps": 0}, recipe={"name": "digits", "batch_size": 10**9})
    assert checked(Wanted(larger, at), found.side_by_side(), "this machine") == found
    assert len(kinds([Wanted(run, at), Wanted(trained, at)])) == 2


def test_runs_side_by_side_share_what_was_loaded() -> None:
    """Reference: added by hand."""
    one = Memory(process=850_000_000, images=50_000_000, weights=10, step=30, checkpoint=20, evaluation=0)
    assert one.side_by_side() == 900_000_040
    assert one.side_by_side(3) == 900_000_000 + 3 * 40 + 200_000_000
    assert [one.fitting(bytes_) for bytes_ in (900_000_039, 900_000_040, 1_100_000_119, 1_100_000_120)] == [0, 1, 2, 3]


def test_what_cannot_fit_is_refused_without_being_described(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of images of 100,000 pixels is 128 x 10^10 numbers, copied a few times: no network is needed to know."""
    run = tiny(model="resnet", resolution=100_000)
    monkeypatch.setattr(memory, "memory_of", lambda *_: pytest.fail("described"))
    batch = run.recipe.batch_size
    said = (
        rf"^{run.id}: needs about {batch * 4 * 4 * 10**10 / 1e9:,.0f} GB of memory, and this machine has 24 GB; what "
    )
    with pytest.raises(InductiveError, match=said):
        checked(Wanted(run), 24 * 10**9, "this machine")


def test_kinds_of_runs_are_looked_at_once(tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds and train sizes take the same, more pixels at once more; evaluations of all of a kind count. The largest is
    refused where it does not fit, with others beside it."""
    runs = [tiny(seed=seed, train_size=n) for seed in (0, 1) for n in (100, 200)]
    at = [Evaluation(resolution=8), Evaluation(resolution=16)]
    found_kinds = kinds(Wanted(run, at[: 1 + (number > 2)]) for number, run in enumerate(runs))
    assert found_kinds == [Wanted(runs[0], tuple(at))]
    more = tiny(resolution=12)
    assert kinds([Wanted(runs[0], at[:1]), Wanted(more, at[1:]), Wanted(runs[1])]) == [Wanted(more, tuple(at))]
    wide = tiny(size="micro")
    found = largest([Wanted(runs[0], at), Wanted(wide, at)], None, "")
    assert found == memory_of(wide, at) and largest([], 1, "") is None
    room = found.side_by_side(2)
    assert largest([Wanted(wide, at)], room, "a job", 2) == found
    with pytest.raises(InductiveError, match=r" with 2 side by side, and a job has "):
        largest([Wanted(wide, at)], room - 1, "a job", 2)


def test_the_memory_of_this_machine() -> None:
    """Reference: what the system says of itself."""
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert 0 < memory.machine_bytes() <= int(total.split()[1]) * 1024
    assert [memory.gigabytes(count) for count in (640e6, 9.96e9, 24e9, 1e13)] == [
        "0.6 GB",
        "10.0 GB",
        "24 GB",
        "10,000 GB",
    ]
