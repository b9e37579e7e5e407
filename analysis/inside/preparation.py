"""How images are prepared for a ready-made network: as its library says for the weights that it has."""

from dataclasses import dataclass
from typing import Any

from PIL.Image import Resampling

from models.libraries.adapter import Adapted


@dataclass(frozen=True)
class Preparation:
    """Of the largest square in the middle of an image the inner `share` of its side is kept and resized by
    `interpolation` (its name in PIL); then come mean and deviation, a number a channel, of values from 0 to 1."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    interpolation: str
    share: float

    @property
    def resampling(self) -> Resampling:
        """The interpolation as PIL has it."""
        return Resampling[self.interpolation.upper()]

    @property
    def words(self) -> str:
        """'the middle 90 % of their largest square, bicubic, less mean 0.5, 0.5, 0.5, by deviation 0.5, 0.5, 0.5'."""
        mean, deviation = (", ".join(f"{one:g}" for one in values) for values in (self.mean, self.deviation))
        share = f"the middle {100 * self.share:.3g} % of their largest square"
        return f"{share}, {self.interpolation}, less mean {mean}, by deviation {deviation}"


def preparation_of(network: Adapted) -> Preparation:
    """That of the network's weights; without weights, or with those of a file, that of the library's usual ones."""
    if network.origin == "torchvision":
        return _of_torchvision(network)
    known: Any = network.net.pretrained_cfg  # of the weights that were made by timm
    return Preparation(tuple(known["mean"]), tuple(known["std"]), known["interpolation"], float(known["crop_pct"]))


def _of_torchvision(network: Adapted) -> Preparation:
    import torchvision

    source, _, tag = network.weights.partition(":")
    weights: Any = torchvision.models.get_model_weights(network.name)
    chosen = (weights[tag] if source == "library" and tag else weights.DEFAULT).transforms()
    share = chosen.crop_size[0] / chosen.resize_size[0]
    return Preparation(tuple(chosen.mean), tuple(chosen.std), chosen.interpolation.value, share)
