"""What a run of ours says to the other trainers: which runs they can be given, their images, the network's weights.

Shapes: B images, C channels, H W pixels, N tokens of width D.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from benchmarks.data.subsets import draw_subset
from benchmarks.errors import InductiveError
from benchmarks.plan.recipes import Recipe
from benchmarks.plan.run import Run
from benchmarks.training.training import model_of
from models.network import Network
from models.vit import ViT

MOMENTS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {  # mean and deviation, as everyone has them
    "fashion_mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
SETTABLE = ("name", "learning_rate", "weight_decay", "betas", "batch_size", "warmup", "clip", "crop_padding", "flip")
"""Keys of a recipe that the other trainers follow; all others have to be as the recipe's fields have them."""

OF_TIMMS_VIT = {  # options of ours with which timm's VisionTransformer is the same network
    "position": "learned_1d",
    "class_token": False,
    "registers": 0,
    "attention_window": 0,
    "drop_path": 0.0,
    "layer_scale": 0.0,
    "mlp_ratio": 4.0,
}
NAMES = (  # of a ViT's parts here, and in timm
    ("embed.", "patch_embed.proj."),
    ("position.table", "pos_embed"),
    ("attention.out.", "attn.proj."),
    ("attention.", "attn."),
    ("mlp.up.", "mlp.fc1."),
    ("mlp.down.", "mlp.fc2."),
)


@dataclass(frozen=True)
class Trained:
    """What a training came to: accuracy on the test images (0 to 1), updates made, and the seconds of a core that they
    took, their images included."""

    test_accuracy: float
    steps: int
    training_seconds: float


def check_alike(run: Run) -> None:
    """Raises InductiveError for a run that another trainer would not train alike."""
    refused = [
        f"recipe.{key} = {value!r}"
        for key, value in run.recipe
        if key not in SETTABLE and value != Recipe.model_fields[key].default
    ]
    size, batch = run.train_size, run.recipe.batch_size
    if run.dataset not in MOMENTS:
        refused.append(f"dataset = {run.dataset!r}, allowed: {', '.join(MOMENTS)}")
    if run.validation:
        refused.append(f"validation = {run.validation}, allowed: 0")
    if run.resolution != run.data.native_resolution:
        refused.append(f"resolution = {run.resolution}, allowed: {run.data.native_resolution}")
    if size % batch:
        refused.append(f"recipe.batch_size = {batch}, allowed: what divides {size}, so that no image is left over")
    if not run.recipe.clip:
        refused.append("recipe.clip = 0, allowed: above 0")
    if run.precision != "float32":
        refused.append(f"precision = {run.precision!r}, allowed: 'float32'")
    if run.init_from:
        refused.append("init_from: the others' networks are drawn")
    if run.model == "vit":
        asked = {key: run.options[key] for key, value in OF_TIMMS_VIT.items() if run.options[key] != value}
        refused += [f"{key} = {value!r}, allowed: {OF_TIMMS_VIT[key]!r}" for key, value in asked.items()]
    elif run.recipe.weight_decay and (spared := decayed_by_timm(model_of(run))):
        refused.append(f"recipe.weight_decay, which timm's path has on {spared[0]}, too; allowed: 0")
    if refused:
        raise InductiveError(f"{run.id}: other trainers cannot follow {'; '.join(refused)}")


def decayed_by_timm(network: Network) -> list[str]:
    """Names of parameters that ours spares weight decay and timm's rule does not: it goes by the number of axes."""
    shapes = dict(network.named_parameters())
    return sorted(name for name in network.no_decay() if shapes[name].ndim > 1)


def timm_network(run: Run) -> nn.Module:
    """The network of a run at its step 0 as timm has it: of a plain `vit` timm's VisionTransformer with the same
    weights, else ours as a plain module."""
    network = model_of(run)
    return as_timm(network, run) if isinstance(network, ViT) else network


def as_timm(network: ViT, run: Run) -> nn.Module:
    """timm's VisionTransformer with the weights of ours: learned positions, mean of the normalised tokens."""
    from timm.models.vision_transformer import VisionTransformer

    embed: Any = network.embed
    first: Any = network.blocks[0]
    theirs: nn.Module = VisionTransformer(
        img_size=run.resolution,
        patch_size=embed.patch,
        in_chans=run.data.channels,
        num_classes=run.data.classes,
        embed_dim=network.norm.normalized_shape[0],
        depth=len(network.blocks),
        num_heads=first.attention.heads,
        class_token=False,
        global_pool="avg",
        fc_norm=False,
    )
    theirs.load_state_dict(renamed(network.state_dict()))
    return theirs


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of our ViT under timm's names; positions N D become 1 N D."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        for ours, theirs in NAMES:
            name = name.replace(ours, theirs)
        found[name] = value[None] if name == "pos_embed" else value
    return found


def keep_subset(part: Any, run: Run) -> None:
    """Leaves a torchvision data set, of the training part, those images that the run is trained on."""
    labels = np.asarray(part.targets)
    members = draw_subset(labels, run.data.classes, run.draw, run.train_size, run.validation).train
    part.data, part.targets = part.data[members], labels[members].tolist()
