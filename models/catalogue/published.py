"""The ViT sizes of the literature under their own names (torch-free), with the published parameters and FLOPs.

Shapes of s/28 to G/14: "Scaling vision transformers" (Zhai et al., 2022), table 2. There a FLOP is a multiplication
or an addition, attention products are counted, and the head is not; a patch that does not divide the image leaves
its last rows and columns out.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.options import Scalar

SIDES = (224, 384)  # resolutions of the published FLOPs


@dataclass(frozen=True)
class Published:
    """A published size: its shape, and the figures printed for it."""

    width: int
    depth: int
    hidden: int  # units of the MLP
    heads: int
    patch: int
    parameters: str  # in millions, as printed: its digits show the rounding
    gflops: tuple[float, float]  # at 224 and 384 px

    def dimensions(self) -> dict[str, Scalar]:
        """The options of `vit` that make this size."""
        return {
            "width": self.width,
            "depth": self.depth,
            "heads": self.heads,
            "mlp_ratio": self.hidden / self.width,
            "patch_size": self.patch,
        }


VIT_SIZES = {
    "s/28": Published(256, 6, 1024, 8, 28, "5.4", (0.7, 2.0)),
    "s/16": Published(256, 6, 1024, 8, 16, "5.0", (2.2, 7.8)),
    "S/32": Published(384, 12, 1536, 6, 32, "22", (2.3, 6.9)),
    "Ti/16": Published(192, 12, 768, 3, 16, "5.5", (2.5, 9.5)),
    "B/32": Published(768, 12, 3072, 12, 32, "87", (8.7, 26.0)),
    "S/16": Published(384, 12, 1536, 6, 16, "22", (9.2, 31.2)),
    "B/28": Published(768, 12, 3072, 12, 28, "87", (11.3, 30.5)),
    "B/16": Published(768, 12, 3072, 12, 16, "86", (35.1, 111.3)),
    "L/16": Published(1024, 24, 4096, 16, 16, "303", (122.9, 382.8)),
    "g/14": Published(1408, 40, 6144, 16, 14, "1011", (533.1, 1596.4)),
    "G/14": Published(1664, 48, 8192, 16, 14, "1843", (965.3, 2859.9)),
}
