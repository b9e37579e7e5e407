"""One training: a network, an optimiser and a step that is a pure function of (run, step, state)."""

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from benchmarks import randomness
from benchmarks.batches import Batches
from benchmarks.datasets import Images
from benchmarks.recipes import Recipe
from benchmarks.run import Run
from benchmarks.subsets import Subset
from models.network import Network


def build_model(run: Run, execution: Mapping[str, Any]) -> Network:
    """The network of a run, freshly initialised, on its device and in its memory layout."""
    model = models.create_model(
        run.model,
        image_size=run.resolution,
        in_channels=run.data.channels,
        num_classes=run.data.classes,
        size=run.size,
        seed=randomness.key(run.seed, "initialisation"),
        **run.options,
    )
    model.set_attention(execution["attention"])
    if execution["layout"] == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    return model.to(execution["device"])


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of a step (0-based): linear warm-up, then a half cosine or a constant."""
    warmup = recipe.warmup * steps
    if step < warmup:
        return recipe.learning_rate * (step + 1) / math.ceil(warmup)
    if recipe.schedule == "constant":
        return recipe.learning_rate
    along = (step - warmup) / max(1.0, steps - warmup)
    share = recipe.final_learning_rate
    return recipe.learning_rate * (share + (1 - share) * 0.5 * (1 + math.cos(math.pi * along)))


def make_optimizer(model: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser; weight decay spares biases, norms and positions (the model names them)."""
    spared = model.no_decay()
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for name, p in named if name not in spared], "weight_decay": recipe.weight_decay},
        {"params": [p for name, p in named if name in spared], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum, nesterov=True, fused=True)
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=recipe.learning_rate, betas=recipe.betas, fused=True)


class Training:
    """The state of a training. `step` is the number of updates made; `state` and `restore` carry it over a stop."""

    def __init__(self, run: Run, execution: Mapping[str, Any], images: Images, subset: Subset):
        self.run, self.steps = run, run.steps
        self.channels_last = execution["layout"] == "channels_last"
        self.model = build_model(run, execution)
        self.optimizer = make_optimizer(self.model, run.recipe)
        device = torch.device(execution["device"])
        self.batches = Batches(run, images.train[subset.train], images.train_labels[subset.train], device)
        self.step = 0

    def update(self) -> dict[str, float] | None:
        """One step of the optimiser. Returns the metrics of the batch, or None when the loss is not finite.

        A step with a non-finite loss makes no update: parameters and optimiser stay as they were.
        """
        x, weights = self.batches.batch(self.step)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        # The network's own randomness (dropout, drop path): one stream a step.
        torch.manual_seed(randomness.key(self.run.seed, "network", self.step))
        self.model.train()
        logits = self.model(x)
        loss = F.cross_entropy(logits, weights)
        value = loss.item()
        if not math.isfinite(value):
            return None
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.run.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.run.recipe.clip)
        rate = learning_rate(self.step, self.steps, self.run.recipe)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.step += 1
        hits = (logits.detach().argmax(1) == weights.argmax(1)).float().mean().item()
        return {"loss": value, "learning_rate": rate, "accuracy": hits}

    def state(self) -> dict[str, Any]:
        """Everything a continuation needs; randomness needs nothing."""
        return {"step": self.step, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a `state()`. Raises KeyError or RuntimeError when it is of another network."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])


@torch.inference_mode()
def logits_of(model: nn.Module, pixels: np.ndarray, transform: Any, channels_last: bool) -> Tensor:
    """Logits (float32, N x classes, on the CPU) of uint8 images (N, C, H, W) put through `transform`."""
    model.eval()
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(pixels), 256):
        x = transform(torch.from_numpy(pixels[start : start + 256]).to(device).float() / 255)
        if channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        parts.append(model(x).float().cpu())
    return torch.cat(parts)


def weights_digest(data: bytes) -> str:
    """SHA-256 of a weights file."""
    return hashlib.sha256(data).hexdigest()
