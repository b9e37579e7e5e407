"""Parameters and FLOPs of our networks of the published ViT sizes, to compare with the published figures."""

from dataclasses import dataclass
from functools import cache

import torch

from models.catalogue.published import SIDES, VIT_SIZES
from models.catalogue.registry import create_model


@dataclass(frozen=True)
class Computed:
    """Counts of our network of a published size: parameters with position and without head, FLOPs at 224 and 384 px."""

    parameters: int
    flops: tuple[int, int]


@cache  # pure, and a second or more for each
def compute(name: str, num_classes: int = 1000) -> Computed:
    """Count a published size on the meta device, which needs no memory for the two billion parameters of G/14.

    As in Zhai et al. (2022), table 2: images that the patch does not divide lose their last rows and columns, and the
    head is not counted. Raises KeyError for a name that is no published size.
    """
    patch = VIT_SIZES[name].patch
    with torch.device("meta"):
        network = create_model("vit", image_size=224, in_channels=3, num_classes=num_classes, size=name)
    described = [network.describe(side // patch * patch, side // patch * patch) for side in SIDES]
    parameters = described[0].parameters
    head = described[0].parameters["head"] - num_classes  # one multiplication a weight; the biases multiply nothing
    flops = [2 * (one.macs - head) for one in described]
    return Computed(parameters["backbone"] + parameters["position"], (flops[0], flops[1]))
