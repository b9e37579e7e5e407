"""What a data set is: what is known of it before it is loaded, its images once they are, and where folders lie."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.data.photographs import Photographs
from benchmarks.errors import InductiveError

FOLDER = "folder:"
DRAWN = "drawn:"
OWN = "a folder of the user's own"  # where the files of a folder come from


def _from_environment(variable: str, otherwise: str) -> Path:
    return Path(os.environ.get(variable) or otherwise)


@dataclass(frozen=True)
class Places:
    """Where folders of images are looked for: in the data folder, then among the indices kept under a runs folder.

    The defaults are the command's: INDUCTIVE_DATA or `data`, INDUCTIVE_RUNS or `runs`. Without `data` only the indices
    count, which the records were made with. `as_published`: what nobody has prepared is taken to be as it was
    published, which does for a forecast.
    """

    data: Path | None = field(default_factory=lambda: _from_environment("INDUCTIVE_DATA", "data"))
    runs: Path | None = field(default_factory=lambda: _from_environment("INDUCTIVE_RUNS", "runs"))
    as_published: bool = False


@dataclass(frozen=True)
class Images:
    """Both parts: images uint8 (N, C, H, W) at native resolution, or photographs (N) in shards; labels int64 (N,).

    `digests` has the SHA-256 of each part, images and labels together, once loaded from the store (store.py);
    `official` says whether its files were found to be the official ones, and by what.
    """

    train: NDArray[np.uint8] | Photographs
    train_labels: NDArray[np.int64]
    test: NDArray[np.uint8] | Photographs
    test_labels: NDArray[np.int64]
    digests: Mapping[str, str] = field(default_factory=dict)
    official: str = ""

    def array(self, part: Literal["train", "test"]) -> NDArray[np.uint8]:
        """The images of a part (N, C, H, W). Raises InductiveError for photographs, which are not decoded."""
        images = self.train if part == "train" else self.test
        if not isinstance(images, np.ndarray):
            raise InductiveError(
                f"{images.store.manifest.name}: photographs of any size lie in shards, and what was asked for needs "
                "images of one size, decoded: `inductive prepare --square PIXELS` makes such a data set of a folder"
            )
        return images


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before it is loaded.

    `native_resolution` is in pixels (square); `scale` is the reference scale that decides patch, stem and window;
    `train_counts` are the images of each class in the training part. `flips` says whether a mirrored image keeps
    its meaning. `interpolation_only` marks sets so small that another test resolution shows no new detail. Of
    `photographs` the native resolution is only that which they are trained at by default.
    """

    name: str
    title: str
    channels: int
    native_resolution: int
    scale: int
    train_counts: tuple[int, ...]
    test_count: int
    flips: bool
    reader: str  # `module:function` that reads its files: (Dataset, data folder, download) -> Images
    reference: str
    interpolation_only: bool = False
    class_names: tuple[str, ...] = ()  # where its files tell them
    photographs: bool = False  # of any size, in shards; `native_resolution` is what they are trained at by default
    kind: str = ""  # torchvision's class; '' where it has none
    files: tuple[str, ...] = ()  # under the data folder; none for a bundled or drawn set
    megabytes: int = 0  # to download

    @property
    def classes(self) -> int:
        return len(self.train_counts)

    @property
    def bundled(self) -> bool:
        """Whether it is read anew wherever it is needed; all others lie in the store."""
        return not self.files and not self.name.startswith(DRAWN)

    @property
    def source(self) -> str:
        """Where it comes from, and how much of it there is to download."""
        if self.bundled or not self.megabytes:
            return self.reference
        reader = f"torchvision.datasets.{self.kind}" if self.kind else "no class of torchvision"
        return f"{reader}, {self.megabytes:,} MB to download; {self.reference}"


@dataclass(frozen=True)
class Published:
    """A published data set of photographs, whose classes and sizes only its files tell: what is known without them.

    `images` and `test` are the counts of its parts; `files` of it must be there, under the data folder, or are
    downloaded where `megabytes` says how much that is; `listing` is the `module:function` that lists its images.
    """

    name: str
    title: str
    images: int
    test: int
    classes: int
    listing: str
    reference: str
    kind: str  # torchvision's class
    files: tuple[str, ...]
    megabytes: int = 0

    @property
    def source(self) -> str:
        """Where it comes from, and how much of it there is to download."""
        how = f"{self.megabytes:,} MB to download" if self.megabytes else "its archives are downloaded by hand"
        return f"torchvision.datasets.{self.kind}, {how}; {self.reference}"
