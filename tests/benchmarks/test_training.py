"""Training: the schedule, what decays, and a stop that nobody can tell from none."""

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import models
from benchmarks import randomness
from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.plan.recipes import Recipe
from benchmarks.plan.run import Run, make_run
from benchmarks.training import batches
from benchmarks.training.kernels import execution_for
from benchmarks.training.training import Training, build_model, learning_rate, logits_of, make_optimizer, seed_device

DIGITS = load_images("digits", Path("data"))
LINEAR = execution_for(make_run({}), "cpu")["linear"]
EXECUTION = {"attention": "explicit", "linear": LINEAR, "layout": "contiguous", "device": "cpu"}
STEPS = 12


def tiny(**settings: Any) -> Run:
    recipe = settings.pop("recipe", {"name": "digits", "batch_size": 8})
    return make_run({"size": "pico", "train_size": 100, "budget": {"steps": STEPS}, "recipe": recipe, **settings})


def training(run: Run, layout: str = "contiguous") -> Training:
    subset = draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, run.validation)
    return Training(run, {**EXECUTION, "layout": layout}, DIGITS, subset)


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """A state written and read as a checkpoint is."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return dict(torch.load(buffer, weights_only=True))


def equal(one: Any, other: Any) -> bool:
    """Equality to the bit of nested states."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 0.1),  # the first of ten steps of warm-up
        (4, 0.5),
        (9, 1.0),  # its last
        (10, 1.0),  # the cosine starts at the peak
        (55, 0.5 + 0.5 * 0.2),  # half way between peak and end
        (100, 0.2),  # where the cosine ends, one step after the last
    ],
)
def test_warm_up_and_cosine(step: int, expected: float) -> None:
    """Reference: values by hand for 100 steps, 10 % warm-up, ending at 20 % of the peak."""
    recipe = Recipe(learning_rate=1.0, warmup=0.1, final_learning_rate=0.2)
    assert learning_rate(step, 100, recipe) == pytest.approx(expected)


def test_the_cosine_is_torchs() -> None:
    """Reference: torch's CosineAnnealingLR, step by step."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50, eta_min=0.03)
    recipe = Recipe(learning_rate=0.3, warmup=0.0, final_learning_rate=0.1)
    for step in range(50):
        assert learning_rate(step, 50, recipe) == pytest.approx(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()


def test_the_triangle_is_an_interpolation() -> None:
    """Reference: numpy's interp through the three corners; the first step stands one step after the first corner."""
    recipe = Recipe(
        learning_rate=3.0, schedule="triangle", warmup=0.2, first_learning_rate=0.25, final_learning_rate=0.1
    )
    rising = np.interp(np.arange(10) + 1, [0, 10], [0.75, 3.0])
    falling = np.interp(np.arange(10, 50), [10, 50], [3.0, 0.3])
    assert [learning_rate(step, 50, recipe) for step in range(50)] == pytest.approx([*rising, *falling])


def test_constant_schedule_and_odd_warm_ups() -> None:
    """A constant stays at the peak; a warm-up of all, of none or of a part of a step raises nothing and is no zero."""
    recipe = Recipe(learning_rate=0.5, schedule="constant", warmup=0.2)
    assert [learning_rate(step, 10, recipe) for step in (0, 1, 2, 9)] == [0.25, 0.5, 0.5, 0.5]
    assert learning_rate(0, 1, Recipe(learning_rate=0.5)) == 0.5
    assert learning_rate(9, 10, Recipe(learning_rate=0.5, warmup=1.0)) == 0.5
    assert learning_rate(0, 10, Recipe(learning_rate=0.5, warmup=0.0)) == 0.5
    for steps in (1, 2, 3, 7, 600):
        rates = [learning_rate(step, steps, Recipe(learning_rate=1.0)) for step in range(steps)]
        assert 0 < min(rates) <= max(rates) <= 1
        assert max(rates) == pytest.approx(1.0)


@pytest.mark.parametrize("model", models.model_names())
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_decay_spares_what_the_model_names(model: str, optimizer: str) -> None:
    """Reference: the model's own no_decay(); every parameter is in exactly one group, and the step is fused."""
    size = "pico" if "pico" in models.family(model).sizes else models.default_size(model)
    network = build_model(tiny(model=model, size=size), EXECUTION)
    recipe = Recipe(optimizer=optimizer, weight_decay=0.3, learning_rate=0.1)  # type: ignore[arg-type]
    made = make_optimizer(network, recipe)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in made.param_groups for p in group["params"]}
    assert sum(len(group["params"]) for group in made.param_groups) == len(names) == len(decay)
    assert decay == {name: 0.0 if name in network.no_decay() else 0.3 for name in names.values()}
    assert {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer] is type(made)
    assert all(group["fused"] and group.get("nesterov", True) for group in made.param_groups)


def test_nothing_positional_and_no_bias_or_norm_decays() -> None:
    """Reference: the rule in words; weight decay on positions would punish one encoding for its size."""
    network = build_model(tiny(options={"position": "learned_1d", "class_token": True}), EXECUTION)
    decays = {name for name, _ in network.named_parameters()} - network.no_decay()
    assert decays
    assert all(name.endswith("weight") and "norm" not in name and "position" not in name for name in decays)


def test_weights_are_of_the_seed() -> None:
    """The same seed, the same weights, whatever torch drew before; the draw of the subset does not count."""
    torch.manual_seed(5)
    one = build_model(tiny(seed=1, draw=0), EXECUTION).state_dict()
    torch.manual_seed(6)
    assert equal(one, build_model(tiny(seed=1, draw=1), EXECUTION).state_dict())
    assert not equal(one, build_model(tiny(seed=2, draw=0), EXECUTION).state_dict())


STOPPED: dict[str, dict[str, Any]] = {
    "vit": {"options": {"position": "rope_axial", "drop_path": 0.3}},
    "vit, strong": {"recipe": {"name": "strong", "batch_size": 8}},
    "resnet": {"model": "resnet"},
    "resnet, sgd": {
        "model": "resnet",
        "recipe": {"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 8, "crop_padding": 1},
    },
    "resnet, average": {"model": "resnet", "recipe": {"ema": 0.9, "batch_size": 8}},
    "dropout": {"model": "course_vit", "size": "course", "options": {"patch_size": 2}},
    "dropout of attention": {"model": "cct"},
    "airbench, triangle, alternating flips": {
        "model": "airbench",
        "size": "airbench94",
        "options": {"widths": "8-8"},
        "recipe": {
            "batch_size": 8,
            "optimizer": "sgd",
            "schedule": "triangle",
            "crop_padding": 1,
            "crop_fill": "reflect",
            "flip": True,
            "flip_order": "alternating",
        },
    },
    "vit, bfloat16": {"precision": "bfloat16", "options": {"drop_path": 0.3}},
    "resnet, bfloat16": {"model": "resnet", "precision": "bfloat16"},
    "every augmentation, several resolutions": {
        "recipe": {
            "name": "strong",
            "batch_size": 8,
            "optimizer": "adam",
            "rrc_scale": 0.3,
            "jitter_brightness": 0.4,
            "jitter_contrast": 0.4,
            "jitter_saturation": 0.4,
            "jitter_hue": 0.1,
            "trivialaugment": True,
            "train_resolutions": [8, 12],
            "ema": 0.99,
        },
    },
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_stop_at_any_step_leaves_no_trace(name: str) -> None:
    """Reference: the uninterrupted run, to the bit: metrics, weights, buffers and optimiser."""
    run = tiny(**STOPPED[name])
    whole = training(run)
    rows = [whole.update() for _ in range(STEPS)]
    for stop in (0, 1, 9, 10, 11):  # 10 steps an epoch
        first = training(run)
        before = [first.update() for _ in range(stop)]
        state = saved(first.state())
        torch.manual_seed(stop)
        second = training(run)
        second.restore(state)
        assert second.step == stop
        assert before + [second.update() for _ in range(STEPS - stop)] == rows
        assert equal(second.state(), whole.state())


def test_the_first_layer_is_fitted_before_other_weights_are_loaded() -> None:
    """Reference: the layer fitted by hand to the normalised images of the subset; loaded weights come after it."""
    run = tiny(**STOPPED["airbench, triangle, alternating flips"])
    made = training(run)
    images = torch.from_numpy(DIGITS.train[draw_subset(DIGITS.train_labels, 10, 0, 100, 0.2).train]).float() / 255
    by_hand = build_model(run, EXECUTION)
    by_hand.fit_input([(images - images.mean()) / images.std(correction=0)])
    torch.testing.assert_close(made.model.first.weight, by_hand.first.weight)
    subset = draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, run.validation)
    loaded = Training(run, EXECUTION, DIGITS, subset, lambda model: model.first.weight.zero_())  # type: ignore[operator, union-attr]
    assert not loaded.model.first.weight.any()


def test_a_stop_within_a_block_of_steps_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: the uninterrupted run, to the bit. Batches of five steps are made at once, as on a GPU."""
    monkeypatch.setattr(batches, "block_steps", lambda run, device: 5)
    run = tiny(**STOPPED["vit, strong"])
    whole = training(run)
    rows = [whole.update() for _ in range(STEPS)]
    for stop in (3, 5, 9):
        first = training(run)
        before = [first.update() for _ in range(stop)]
        second = training(run)
        second.restore(saved(first.state()))
        assert before + [second.update() for _ in range(STEPS - stop)] == rows
        assert equal(second.state(), whole.state())


def test_several_stops_leave_no_trace_in_channels_last() -> None:
    """Reference: the uninterrupted run in the same memory layout, which a checkpoint must carry over."""
    run = tiny(model="resnet")
    whole = training(run, "channels_last")
    rows = [whole.update() for _ in range(STEPS)]
    part, again = training(run, "channels_last"), []
    for step in range(STEPS):
        if step % 4 == 2:
            state = saved(part.state())
            part = training(run, "channels_last")
            part.restore(state)
        again.append(part.update())
    assert again == rows
    assert equal(part.state(), whole.state())


def test_rows_say_what_was_done() -> None:
    """Reference: loss and accuracy of the batch, recomputed with the weights before the update."""
    run = tiny(recipe={"name": "digits", "batch_size": 8, "label_smoothing": 0.1})
    one = training(run)
    x, weights = one.batches.batch(0)
    with torch.no_grad():
        logits = one.model.eval()(x)
    expected = -(weights * logits.log_softmax(1)).sum(1).mean()
    row = one.update()
    assert row is not None
    assert row["loss"] == pytest.approx(expected.item(), rel=1e-5)
    assert row["accuracy"] == (logits.argmax(1) == weights.argmax(1)).double().mean()
    assert row["learning_rate"] == learning_rate(0, STEPS, run.recipe)
    assert one.step == 1


def test_it_learns() -> None:
    """A sign error in the update would pass every test above."""
    run = tiny(budget={"steps": 150}, recipe={"name": "digits", "batch_size": 32})
    one = training(run)
    losses = [row["loss"] for row in (one.update() for _ in range(150)) if row]
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:5])


def test_the_gradient_is_clipped() -> None:
    """Reference: SGD by hand at the first step: its update is at most the rate times (1 + momentum) times the bound."""
    recipe = {"optimizer": "sgd", "learning_rate": 1.0, "warmup": 0.0, "weight_decay": 0.0, "batch_size": 8}
    moved = {}
    for clip in (0.01, 0.0):
        one = training(tiny(recipe={**recipe, "clip": clip}))
        before = [p.detach().clone() for p in one.model.parameters()]
        one.update()
        after = list(one.model.parameters())
        moved[clip] = math.sqrt(sum((a - b).square().sum().item() for a, b in zip(after, before, strict=True)))
    assert moved[0.01] == pytest.approx(0.01 * 1.9, rel=1e-2)
    assert moved[0.0] > 0.1


@pytest.mark.parametrize("name", ["vit", "resnet"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_makes_no_update(name: str, poison: float) -> None:
    """A diverged run makes no further update: parameters and the optimiser's state stay as they were, and so does the
    step; the rate, which a step sets for itself, has no meaning then."""
    one = training(tiny(**STOPPED[name]))
    for _ in range(3):
        one.update()
    head = one.model.get_parameter("head.weight")
    with torch.no_grad():
        head[0, 0] = poison
    parameters = {key: p.detach().clone() for key, p in one.model.named_parameters()}
    optimizer = saved(one.optimizer.state_dict()["state"])
    assert one.update() is None
    assert one.step == 3
    assert equal(saved(one.optimizer.state_dict()["state"]), optimizer)
    for key, parameter in one.model.named_parameters():
        torch.testing.assert_close(parameter.detach(), parameters[key], rtol=0, atol=0, equal_nan=True)


def test_a_state_of_another_network_is_refused() -> None:
    """What breaks otherwise: a part of the weights would be loaded."""
    with pytest.raises((KeyError, RuntimeError)):
        training(tiny(options={"depth": 2})).restore(saved(training(tiny()).state()))


def test_the_networks_own_randomness_is_one_stream_a_step() -> None:
    """Reference: torch's own word for its seed. Drop path in a step is the same whatever happened before it."""
    run = tiny(options={"drop_path": 0.5})
    one, other = training(run), training(run)
    for step in range(3):
        row = one.update()
        assert torch.initial_seed() == randomness.key(run.seed, "network", step)
        torch.rand(100)
        assert other.update() == row


def test_evaluation_goes_on_with_fewer_images_where_memory_is_short(caplog: pytest.LogCaptureFixture) -> None:
    """Reference: the logits with room for all. 60 images find room, then none does."""
    network, room = build_model(tiny(initial="torch"), EXECUTION), 60

    def shown(x: torch.Tensor) -> torch.Tensor:
        if len(x) > room:
            raise torch.OutOfMemoryError(f"no room for {len(x)} images")
        return x

    expected = logits_of(network, DIGITS.train[:300], lambda x: x, False)
    assert torch.equal(logits_of(network, DIGITS.train[:300], shown, False), expected)
    said = [f"no memory to evaluate {count} images" in caplog.text for count in (256, 128, 64, 32)]
    assert said == [True, True, True, False]
    room = 0
    with pytest.raises(torch.OutOfMemoryError, match="no room for 1 images"):
        logits_of(network, DIGITS.train[:300], shown, False)


def test_an_evaluation_may_be_given_up_between_batches() -> None:
    """Reference: the logits without it, of three batches of 100."""
    network, calls = build_model(tiny(initial="torch"), EXECUTION), []
    pixels = DIGITS.train[:300]
    found = logits_of(network, pixels, lambda x: x, False, 100, lambda: calls.append(None))
    assert torch.equal(found, logits_of(network, pixels, lambda x: x, False, 100))
    assert len(calls) == 2
    with pytest.raises(StopIteration):
        logits_of(network, pixels, lambda x: x, False, 100, iter([None]).__next__)


def test_the_seed_of_a_step_is_torchs() -> None:
    """Reference: torch.manual_seed, which seeds the same generator (and those of all other devices)."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    seed_device(torch.device("cpu"), 5)
    assert torch.equal(torch.rand(3), expected)


def test_logits_do_not_depend_on_the_batch() -> None:
    """Reference: each image by itself; in training mode BatchNorm would mix them, and drop path drop them."""
    network = build_model(tiny(model="resnet"), EXECUTION)
    pixels = DIGITS.test[:300]
    together = logits_of(network, pixels, lambda x: x, False)
    assert together.shape == (300, 10)
    assert (together.dtype, together.device.type) == (torch.float32, "cpu")
    single = torch.cat([logits_of(network, pixels[i : i + 1], lambda x: x, False) for i in (0, 255, 256, 299)])
    torch.testing.assert_close(together[[0, 255, 256, 299]], single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", ["vit", "resnet"])
def test_the_average_is_its_definition(model: str) -> None:
    """Reference: the definition in double precision: a <- d a + (1 - d) w, d = min(decay, (1 + t) / (10 + t)) after
    update t; BatchNorm's running statistics alike, its counter is the network's own."""
    one = training(tiny(model=model, recipe={"ema": 0.5, "batch_size": 8}))
    expected = {name: value.double() for name, value in one.model.state_dict().items()}
    decays = []
    for update in range(1, STEPS + 1):
        one.update()
        decays.append(min(0.5, (1 + update) / (10 + update)))
        for name, value in one.model.state_dict().items():
            mixed = decays[-1] * expected[name] + (1 - decays[-1]) * value.double()
            expected[name] = mixed if value.is_floating_point() else value.double()
    assert decays[0] == 2 / 11 and decays[-1] == 0.5
    assert one.average is not None
    for name, value in one.average.values.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-7)
        if name.endswith("num_batches_tracked"):
            assert value == STEPS


def test_the_average_of_each_tensor_is_its_own() -> None:
    """Reference: torch's lerp of each tensor by itself, to the bit, in the memory layout of convolutions."""
    one = training(tiny(model="resnet", recipe={"ema": 0.9, "batch_size": 8}), "channels_last")
    assert one.average is not None
    before = saved(one.average.values)
    one.update()
    for name, value in one.model.state_dict().items():
        moved = before[name].lerp(value, 1 - 2 / 11) if value.is_floating_point() else value
        assert torch.equal(one.average.values[name], moved), name


def test_the_average_touches_nothing_that_is_trained() -> None:
    """Reference: the same run without it, to the bit; within `averaged` the network is the average, after it itself."""
    plain, one = (training(tiny(model="resnet", recipe={"ema": ema, "batch_size": 8})) for ema in (0.0, 0.9))
    for step in range(STEPS):
        row = plain.update()
        with one.averaged():
            assert one.average is not None
            assert equal(dict(one.model.state_dict()), one.average.values)
        assert one.update() == row, step
    assert equal(plain.model.state_dict(), one.model.state_dict())
    assert equal(plain.optimizer.state_dict(), one.optimizer.state_dict())
    assert "average" not in plain.state()
    averaged = saved(one.average.values)
    assert one.finished_model() is one.model
    assert equal(dict(one.model.state_dict()), averaged)
    assert plain.finished_model() is plain.model


@pytest.mark.parametrize("model", ["vit", "resnet"])
def test_a_skipped_update_leaves_the_average(model: str) -> None:
    """A loss that is not finite moves neither the weights nor their average; nor do BatchNorm's running statistics,
    which are not finite then."""
    one = training(tiny(model=model, recipe={"ema": 0.9, "batch_size": 8}))
    one.update()
    assert one.average is not None
    before = saved(one.average.values)
    with torch.no_grad():
        next(one.model.parameters()).view(-1)[0] = float("inf")
    assert one.update() is None
    if model == "resnet":
        assert not all(buffer.isfinite().all() for buffer in one.model.buffers())
    for name, value in before.items():
        torch.testing.assert_close(one.average.values[name], value, rtol=0, atol=0)


def test_a_run_with_an_average_is_judged_by_it(perform: Any, tmp_path: Path) -> None:
    """Reference: the record itself: the weights kept are the average of an uninterrupted training, the result says so,
    and a run that was stopped on its way keeps the same."""
    run = tiny(model="resnet", recipe={"ema": 0.9, "batch_size": 8})
    one = training(run, "channels_last")
    for _ in range(STEPS):
        one.update()
    assert perform(run, stop_at=5).state == "interrupted"
    assert perform(run).state == "finished"
    kept = safetensors.torch.load_file(tmp_path / run.id / "weights.safetensors")
    assert one.average is not None
    assert equal(dict(sorted(kept.items())), dict(sorted(one.average.values.items())))
    assert not equal(dict(sorted(kept.items())), dict(sorted(one.model.state_dict().items())))
    assert json.loads((tmp_path / run.id / "result.json").read_text())["weights"] == "average of decay 0.9"
    plain = tiny(model="resnet", recipe={"batch_size": 8})
    perform(plain)
    assert "weights" not in json.loads((tmp_path / plain.id / "result.json").read_text())
