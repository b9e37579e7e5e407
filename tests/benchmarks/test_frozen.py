"""Training the last norm and the classifier alone: what moves, what stays, and that it is a run of its own."""

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.data.store import load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import ConfigError
from benchmarks.forecast import cost
from benchmarks.plan.run import Run, make_run
from benchmarks.records.sources import run_sources
from benchmarks.training.training import Training, model_of
from models.libraries.adapter import Adapted
from models.network import Network
from models.options import ModelError
from models.trained.frozen import freeze, last_norm, trained_parameters

Inductive = Callable[..., "subprocess.CompletedProcess[str]"]
DIGITS = load_images("digits", Path("data"))
EXECUTION = {"attention": "explicit", "linear": "torch", "layout": "contiguous", "device": "cpu"}
TRAINED = "last_norm_and_head"
LAST = {  # by model: the norm before its pooling, read off its definition
    "resnet": "stages.2.0.norm2",  # and not the shortcut's beside it, which is called after it
    "convnext": "norm",
    "vit": "norm",
    "swin": "norm",
    "coatnet": "norm",
    "conv_stem_vit": "norm",
    "mlp": None,
    "simple_cnn": None,
}


def tiny(model: str = "resnet", **changes: Any) -> Run:
    recipe = {"name": "digits", "batch_size": 16, "trained": TRAINED, **changes.pop("recipe", {})}
    usual = {"size": "pico", "train_size": 100, "budget": {"steps": 6}}
    return make_run({**usual, "model": model, "recipe": recipe, **changes})


def training(run: Run) -> Training:
    return Training(run, EXECUTION, DIGITS, draw_subset(DIGITS.train_labels, 10, run.draw, run.train_size, 0.2))


def state_of(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("model", LAST)
def test_the_last_norm_is_the_one_before_the_pooling(model: str) -> None:
    """References: the definitions of the networks; and of ResNet-50 the layer that FixRes' own code trains
    (`layer4[2].bn3`)."""
    assert last_norm(model_of(tiny(model)), (1, 8, 8)) == LAST[model]
    fifty = make_run({"model": "torchvision:resnet50", "size": "own", "resolution": 32, "dataset": "cifar10"})
    assert model != "resnet" or last_norm(model_of(fifty), (3, 32, 32)) == "net.layer4.2.bn3"


@pytest.mark.parametrize("model", ["resnet", "vit", "swin", "mlp"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_is_frozen_stays_to_the_bit(model: str, ema: float) -> None:
    """Of weights, running statistics, and of both averaged; with weight decay. All that is to learn has moved."""
    made = training(tiny(model, recipe={"ema": ema, "weight_decay": 0.5, "clip": 0.1}))
    before, last = state_of(made.model), LAST[model]
    for _ in range(6):
        assert made.update() is not None
    learning = {name for name in before if name.startswith(("head.", f"{last}."))}
    for values in (made.model.state_dict(), *([made.average.values] if made.average else [])):
        assert {name for name, value in values.items() if not torch.equal(value, before[name])} == learning
    held = [parameter for group in made.optimizer.param_groups for parameter in group["params"]]
    names = {name for name, one in made.model.named_parameters() if any(one is other for other in held)}
    assert names == {name for name in learning if "running" not in name and "num_batches" not in name}


@pytest.mark.parametrize("model", ["resnet", "vit"])
def test_it_is_a_plain_loop_over_the_last_layers(model: str) -> None:
    """Reference: a loop of torch alone, on the same batches: AdamW of head and last norm, every other BatchNorm in
    evaluation; and of BatchNorm's own that is trained the statistics."""
    run = tiny(model, recipe={"schedule": "constant", "warmup": 0.0, "weight_decay": 0.0, "clip": 0.0})
    made = training(run)
    model_by_hand = copy.deepcopy(made.model)
    last = model_by_hand.get_submodule(str(LAST[model]))
    learning = [*last.parameters(), *model_by_hand.head.parameters()]  # type: ignore[operator,union-attr]
    optimizer = torch.optim.AdamW(learning, lr=run.recipe.learning_rate, weight_decay=0.0)
    for step in range(6):
        x, labels = made.batches.batch(step)
        model_by_hand.eval()
        last.train()
        model_by_hand.zero_grad()
        loss = F.cross_entropy(model_by_hand(x), labels)
        loss.backward()
        optimizer.step()
        metrics = made.update()
        assert metrics is not None and metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    for name, value in model_by_hand.state_dict().items():
        torch.testing.assert_close(made.model.state_dict()[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_a_resumed_training_is_the_same(tmp_path: Path) -> None:
    """Reference: the training that was not stopped, to the bit."""
    whole, first, second = (training(tiny()) for _ in range(3))
    for _ in range(6):
        whole.update()
    for _ in range(3):
        first.update()
    torch.save(first.state(), tmp_path / "state")
    second.restore(torch.load(tmp_path / "state", weights_only=True))
    for _ in range(3):
        second.update()
    after = second.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in whole.model.state_dict().items())


def test_it_is_part_of_a_runs_identity_and_changes_no_other() -> None:
    """The id of a run that trains all is the one it had before there was the key; its sources are without `freeze`."""
    usual = {"name": "digits", "batch_size": 16}
    assert tiny(recipe={"trained": "all"}).id == make_run({**tiny().settings(), "recipe": usual}).id
    assert tiny().id != tiny(recipe={"trained": "all"}).id
    assert tiny().delta["recipe"] == {**usual, "trained": TRAINED}
    assert "models.trained.frozen:freeze" in run_sources(tiny())
    assert not any("frozen" in name for name in run_sources(tiny(recipe={"trained": "all"})))
    with pytest.raises(ConfigError, match=r"recipe.trained: 'head' should be 'all' or 'last_norm_and_head'"):
        tiny(recipe={"trained": "head"})


def test_a_network_whose_classifier_is_not_known_is_refused() -> None:
    class Headless(Network):
        in_channels = 1

        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(64, 10)

        def run(self, images: torch.Tensor, parts: Any) -> torch.Tensor:
            return self.classifier(images.flatten(1))  # type: ignore[no-any-return]

        def grid(self, height: int, width: int) -> tuple[int, int]:
            return 1, 1

    with pytest.raises(ModelError, match=r"Headless has no parameters of a head: recipe.trained can only be 'all'"):
        freeze(Headless(), TRAINED, (1, 8, 8))
    assert freeze(Headless(), "all", (1, 8, 8)) == []


def test_networks_of_a_library_are_known_by_their_classifier() -> None:
    run = make_run({"model": "timm:resnet18", "size": "own", "resolution": 32, "dataset": "cifar10"})
    network = model_of(run)
    assert isinstance(network, Adapted)
    found = trained_parameters(network, TRAINED, (3, 32, 32))
    assert set(found) == {f"net.{part}.{kind}" for part in ("layer4.1.bn2", "fc") for kind in ("weight", "bias")}


def test_it_costs_a_pass_forward_and_the_plan_says_what_learns(inductive: Inductive, tmp_path: Path) -> None:
    """Reference: the parameters of head and last norm, counted by hand; of a step's three passes one is left."""
    slot = cost.Slot()
    one, all_of_it = tiny("vit"), tiny("vit", recipe={"trained": "all"})
    assert cost.run_seconds(one, [], slot) == pytest.approx(cost.run_seconds(all_of_it, [], slot) / 3)
    assert cost.speed_key(one) != cost.speed_key(all_of_it)
    (tmp_path / "s.toml").write_text(
        'size = "pico"\ntrain_size = 100\nrecipe.trained = ["all", "last_norm_and_head"]\n[[models]]\nname = "vit"\n'
    )
    values = json.loads(inductive("plan", "s.toml", "--json").stdout)
    width = int(np.prod(model_of(one).head.weight.shape)) // 10  # type: ignore[operator,union-attr]
    whole, part = values["cells"]
    assert whole["trained_parameters"] == whole["parameters"]
    assert part["trained_parameters"] == 2 * width + 10 * width + 10
    assert f"{part['trained_parameters']:,} parameters learn" in " ".join(inductive("plan", "s.toml").stdout.split())
