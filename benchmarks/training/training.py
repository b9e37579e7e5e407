"""One training: a network, an optimiser and a step that is a pure function of (run, step, state)."""

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import models
from benchmarks import randomness
from benchmarks.data.dataset import Images
from benchmarks.data.subsets import Subset
from benchmarks.plan.recipes import Recipe
from benchmarks.plan.run import Run
from benchmarks.training.averaging import Average
from benchmarks.training.compiling import compiled
from benchmarks.training.images import batches_of
from benchmarks.training.pixels import Pixels, to_device
from benchmarks.training.ranks.share import Share
from benchmarks.training.ranks.world import World
from benchmarks.training.step_graph import StepGraphs
from models.network import Network
from models.trained.frozen import freeze

log = logging.getLogger("inductive")

TOGETHER = 256  # images that an evaluation gives a network at once
GPU_TOGETHER = 2048  # likewise on a GPU, at most


def model_of(run: Run) -> Network:
    """The network of a run, freshly initialised, on the CPU."""
    network = models.create_model(
        run.model,
        image_size=run.resolution,
        in_channels=run.data.channels,
        num_classes=run.data.classes,
        size=run.size,
        seed=randomness.key(run.seed, "initialisation"),
        initial=run.initial,
        **run.options,
    )
    if run.options.get("head") == "kept":
        models.keep_classes(network, run.data.class_names)
    return network


def build_model(run: Run, execution: Mapping[str, Any]) -> Network:
    """The network of a run, freshly initialised, on its device, in its memory layout and form of attention."""
    model = model_of(run)
    model.set_attention(execution["attention"])
    model.set_linear(execution.get("linear", "torch"))  # absent in early records
    if execution["layout"] == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    return model.to(execution["device"])


def learning_rate(step: int, steps: int, recipe: Recipe) -> float:
    """The rate of a step (0-based): linear warm-up, then a half cosine, a straight line or a constant."""
    warmup = recipe.warmup * steps
    if step < warmup:
        first = recipe.first_learning_rate
        return recipe.learning_rate * first + (1 - first) * (recipe.learning_rate * (step + 1) / math.ceil(warmup))
    if recipe.schedule == "constant":
        return recipe.learning_rate
    along = (step - warmup) / max(1.0, steps - warmup)
    share = recipe.final_learning_rate
    if recipe.schedule == "triangle":
        return recipe.learning_rate * (share + (1 - share) * (1 - along))
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


def arithmetic(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Within it networks compute in a run's precision. Weights stay float32, and so does what autocast keeps exact."""
    if precision == "tf32":
        return tf32()
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def backward_arithmetic(precision: str) -> AbstractContextManager[object]:
    """Within it gradients are computed as `arithmetic` computed what they are of: autocast has chosen types by then."""
    return tf32() if precision == "tf32" else nullcontext()


@contextmanager
def tf32() -> Iterator[None]:
    """Within it matrix products and convolutions of float32 tensors on CUDA round what they multiply to TF32, which has
    float32's exponent and 10 bits of mantissa; they add up in float32. For all threads of this process."""
    products, convolutions = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = products, convolutions


def seed_device(device: torch.device, seed: int) -> None:
    """Seeds what networks draw from on a device. `torch.manual_seed` seeds all devices, and notes a traceback for each
    that is not there: a quarter of a millisecond a step.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.get_device_module(device).manual_seed(seed)


class Training:
    """The state of a training. `step` is the number of updates made; `state` and `restore` carry it over a stop.

    Nothing in a step waits for the device. A step whose loss is not finite makes no update, nor does any after it:
    `skipped` counts them on the device, and is read with the metrics (on a CPU, where reading is free, at each step).
    """

    def __init__(
        self,
        run: Run,
        execution: Mapping[str, Any],
        images: Images,
        subset: Subset,
        begin: Callable[[Network], Any] = lambda model: None,
        world: World | None = None,
    ):
        """`begin` is given the freshly initialised network, to load other weights into it; `began` is what it says.
        `world`: the processes that compute the run together, None where this is the only one."""
        self.run, self.steps = run, run.steps
        self.channels_last = execution["layout"] == "channels_last"
        self.micro_batch = int(execution.get("micro_batch", run.recipe.batch_size))  # absent in early records
        self.model = build_model(run, execution)
        device, members = torch.device(execution["device"]), subset.train
        self.batches = batches_of(
            run, images, members, device, None if world is None else world.rows(run.recipe.batch_size)
        )
        self.model.fit_input(self.batches.unaugmented())
        self.began = begin(self.model)
        shape = (run.data.channels, run.resolution, run.resolution)
        self.frozen_norms = freeze(self.model, run.recipe.trained, shape)
        form = execution.get("compile", "off")  # absent in early records
        self.passes = compiled(self.model, form)
        self.optimizer = make_optimizer(self.model, run.recipe)
        self.average = Average(self.model, run.recipe.ema) if run.recipe.ema else None
        self.share: Share | None = None
        again = bool(execution.get("checkpoint_activations", False))  # absent in early records
        if world is not None or run.recipe.batch_norm_group or again:
            of_norms = run.recipe.batch_norm_group
            self.share = Share(self.model, shape, run.recipe.batch_size, self.micro_batch, of_norms, world, again)
        self.skipped = torch.zeros((), device=device)
        self.waits = device.type != "cpu"
        self.rate = torch.zeros((), device=device, dtype=torch.float32 if self.waits else torch.float64)
        self.graphs = StepGraphs(self._change_weights) if form == "graphs" else None
        if self.graphs is not None:
            self.optimizer._warned_capturable_if_run_uncaptured = True  # the first steps are, as they should be
            for group in self.optimizer.param_groups:
                group["capturable"] = True
        self.step = 0

    def update(self, read: bool = True) -> dict[str, float] | None:
        """One step of the optimiser. Returns the metrics of the batch ({} unless `read`), or None when it is known that
        a loss was not finite; `step` is the number of the first such step then, and the weights are those before it.
        """
        x, weights = self.batches.batch(self.step)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        # The network's own randomness (dropout, drop path): one stream a step.
        seed_device(self.batches.device, randomness.key(self.run.seed, "network", self.step))
        self.model.train()
        for norm in self.frozen_norms:
            norm.eval()
        rate = learning_rate(self.step, self.steps, self.run.recipe)
        self._use_rate(rate)
        loss, logits = (self.graphs or self._change_weights)(x, weights)
        self.step += 1
        if self.average is not None:
            self.average.follow(self.model, self.step, self.skipped)
        if (read or not self.waits) and self.diverged():
            return None
        if not read:
            return {}
        hits = (logits.argmax(1) == weights.argmax(1)).float().mean()
        if self.share is not None and self.share.world is not None:
            hits = self.share.accuracy
        return {"loss": loss.item(), "learning_rate": rate, "accuracy": hits.item()}

    def _use_rate(self, rate: float) -> None:
        """Sets the learning rate. On a GPU it is a float32, with graphs and without: a graph reads it from a tensor."""
        used = float(np.float32(rate)) if self.waits else rate
        if self.graphs is not None:
            self.rate.fill_(used)
        for group in self.optimizer.param_groups:
            group["lr"] = used if self.graphs is None else self.rate

    def _change_weights(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """All of a step that a graph can hold: what changes from step to step comes in tensors. Loss and logits."""
        self.optimizer.zero_grad(set_to_none=True)
        loss, logits = self._gradients(x, weights)
        if self.run.recipe.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.run.recipe.clip)
        self.skipped += ~loss.isfinite() | (self.skipped > 0)
        self.optimizer.found_inf = (self.skipped > 0).float()  # type: ignore[attr-defined]  # 1: fused steps do nothing
        self.optimizer.step()
        return loss, logits

    def _gradients(self, x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Adds up the gradients of a batch, a micro-batch at a time; returns its loss and logits (B x classes)."""
        loss, logits, done = torch.zeros((), device=x.device), [], 0
        for part, part_weights in zip(x.split(self.micro_batch), weights.split(self.micro_batch), strict=True):
            with arithmetic(x.device, self.run.precision), self._pass(done, len(part)):
                out = self.passes(part)
            share = F.cross_entropy(out.float(), part_weights) * (len(part) / self.run.recipe.batch_size)
            with backward_arithmetic(self.run.precision):
                share.backward()
            loss += share.detach()
            logits.append(out.detach().float())
            done += len(part)
        found = torch.cat(logits)
        return (loss if self.share is None else self.share.add_up(loss, found, weights)), found

    def _pass(self, first: int, count: int) -> AbstractContextManager[object]:
        """Within it the network is given `count` of this process's images, the first-th and those after it."""
        if self.share is None:
            return nullcontext()
        if self.share.world is not None:  # each micro-batch draws for the whole batch
            seed_device(self.batches.device, randomness.key(self.run.seed, "network", self.step))
        return self.share.forward(first, count)

    def diverged(self) -> bool:
        """Whether a loss was not finite; waits for the device. `step` does not count what was skipped then."""
        skipped = int(self.skipped)
        self.step -= skipped
        self.skipped.zero_()
        return skipped > 0

    def stops(self, asked: bool) -> bool:
        """Whether to stop after this step, where this process has been `asked` to: all ranks stop at the same."""
        return asked if self.share is None else self.share.stops(asked)

    def agree(self) -> None:
        """Gives all ranks the state of rank 0; nothing where there is one."""
        if self.share is not None:
            self.share.agree(self)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the network has the weights that it is judged by: their average where the recipe asks for one."""
        if self.average is None:
            yield
            return
        trained = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average.values)
        try:
            yield
        finally:
            self.model.load_state_dict(trained)

    def finished_model(self) -> Network:
        """The network with the weights that it is judged by and that are kept; no update can follow."""
        if self.average is not None:
            self.model.load_state_dict(self.average.values)
        return self.model

    def state(self) -> dict[str, Any]:
        """Everything a continuation needs; randomness needs nothing."""
        state = {"step": self.step, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state if self.average is None else {**state, "average": self.average.values}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continues from a `state()`. Raises KeyError or RuntimeError when it is of another network."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load(state["average"])
        self.step = int(state["step"])


def images_together(device: torch.device, resolution: int) -> int:
    """How many images of a resolution an evaluation gives a network at once: 256, and on a GPU, which small images
    would leave idle, as many as have the pixels of 2,048 images of 32 px."""
    if device.type == "cpu":
        return TOGETHER
    return max(TOGETHER, min(GPU_TOGETHER, GPU_TOGETHER * 32**2 // resolution**2))


@torch.inference_mode()
def logits_of(
    model: nn.Module,
    pixels: Pixels,
    transform: Any,
    channels_last: bool,
    together: int = TOGETHER,
    between: Callable[[], object] = lambda: None,
) -> Tensor:
    """Logits (float32, N x classes, on the CPU) of uint8 images (N, C, H, W) put through `transform`.

    They are computed in the precision of the `arithmetic` around the call, so many images `together`, or half as many,
    and half again, where the device has no room; `between` is called between them, and may raise to give up. Nothing
    waits for a GPU until all are computed. Raises torch.OutOfMemoryError when one image is too many.
    """
    model.eval()
    parts: list[Tensor] = []
    start, count = 0, together
    while start < len(pixels):
        if parts:
            between()
        try:
            parts.append(_logits(model, pixels[start : start + count], transform, channels_last))
            start += count
        except torch.OutOfMemoryError:
            if count == 1:
                raise
            log.warning("no memory to evaluate %d images at once: half as many from here on", count)
            count //= 2
    return torch.cat(parts).cpu()


def _logits(model: nn.Module, pixels: NDArray[np.uint8], transform: Any, channels_last: bool) -> Tensor:
    """Logits (float32, B x classes) on the device of the network."""
    x = transform(to_device([pixels], next(model.parameters()).device)[0].float() / 255)
    return model(x.contiguous(memory_format=torch.channels_last) if channels_last else x).float()


def weights_digest(data: bytes) -> str:
    """SHA-256 of a weights file."""
    return hashlib.sha256(data).hexdigest()
