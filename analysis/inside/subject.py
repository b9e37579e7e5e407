"""What is looked into: a network with the images that it is shown.

Shapes: N images, C channels, R pixels of the training resolution, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

import models
from analysis.inside.preparation import preparation_of
from benchmarks.data import decoders
from benchmarks.errors import ConfigError
from benchmarks.trained import TrainedRun, load_run
from benchmarks.training.training import model_of
from models.catalogue.ready_made import ghost, is_ready_made
from models.hints import did_you_mean
from models.libraries.adapter import Adapted
from models.network import Network

PARTS = ("validation", "train", "test")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass(frozen=True, eq=False)
class Subject:
    """A network in eval mode, and N images as it is shown them.

    `name`: a run's id, `timm:NAME` or `torchvision:NAME`. `images`: float32 (N, C, R, R), normalised as in training.
    `pictures`: the same to look at, uint8 (N, R, R, 3). `labels`: int64 (N,), -1 where there is none. `numbers`: the
    place of each image in its part or among the files, from 0. `where`: what the images are, in words. `trained`: the
    run, of a run. `part`: of its data that the images are the first of; empty for files.
    """

    name: str
    network: Network
    images: Tensor
    pictures: NDArray[np.uint8]
    labels: Tensor
    numbers: tuple[int, ...]
    where: str
    class_names: tuple[str, ...]
    trained: TrainedRun | None = None
    part: str = ""

    @property
    def resolution(self) -> int:
        """Side of the images in pixels."""
        return int(self.images.shape[-1])

    def label(self, image: int) -> str:
        """The name of an image's class; empty where it has none."""
        place = int(self.labels[image])
        return self.class_names[place] if 0 <= place < len(self.class_names) else ""

    @cached_property
    def untrained(self) -> Network:
        """The same network as it is initialised at the run's seed, in eval mode, whatever weights the run started from:
        what the architecture does by itself.

        Raises ConfigError for a ready-made network, of which only one state is here."""
        if self.trained is None:
            raise ConfigError(self.name, "is ready-made: only a run has its network before training, to compare with")
        run = self.trained.run
        if is_ready_made(run.model):
            run = run.model_copy(update={"options": {**run.options, "weights": "none"}})
        return model_of(run).eval()


def untrained_words(subjects: Sequence[Subject]) -> str:
    """What `untrained` is of runs, for a legend."""
    runs = [one.trained.run for one in subjects if one.trained is not None]
    given = any(run.init_from or run.options.get("weights", "none") != "none" for run in runs)
    return "the network as initialised at random" + ", not with the weights that its run started from" * given


def opened(
    name: str,
    images: str | None,
    count: int,
    runs: Path,
    data: Path | None,
    *,
    weights: str = "none",
    accept_code: bool = False,
) -> Subject:
    """The subject of a name: a finished run's id (or its beginning), `timm:NAME` or `torchvision:NAME`.

    `images`: a part of the run's data (validation, train, test), of which the first `count` are taken; or a file or
    folder of images of one's own, the first by name; None: of a run its validation part, of a ready-made network none.
    A ready-made network has `weights` as in a study (none: initial ones) and is shown images of one's own. Raises
    ConfigError, RecordError, StaleError and ModelError.
    """
    if count < 1:
        raise ConfigError("--count", f"is {count}; allowed: 1 and more")
    if is_ready_made(name):
        return _ready_made(name, images, count, weights)
    if weights != "none":
        raise ConfigError("--weights", f"is for timm:NAME and torchvision:NAME; {name} has those of its run")
    trained = load_run(name, runs, data, accept_code=accept_code)
    images = images or "validation"
    return _of_part(trained, images, count) if images in PARTS else _of_files(trained, Path(images), count)


def _of_part(trained: TrainedRun, part: str, count: int) -> Subject:
    shown, labels = trained.images(part, first=count)
    where = f"the first {len(shown)} images of the {part} part of {trained.run.dataset}"
    return _of_run(trained, shown, labels, where, part)


def _of_files(trained: TrainedRun, path: Path, count: int) -> Subject:
    files = image_files(path, PARTS)[:count]
    channels, how = trained.run.data.channels, trained.evaluation()
    side = how.resize_side or int(how.resolution / how.crop)  # of which the middle is shown as it is
    pixels = torch.from_numpy(np.stack([_square(file, side, channels) for file in files]))
    labels = torch.full((len(files),), -1)
    return _of_run(trained, trained.shown(pixels), labels, f"{len(files)} files of {path}")


def _of_run(trained: TrainedRun, shown: Tensor, labels: Tensor, where: str, part: str = "") -> Subject:
    """Images as the run's evaluation shows them, N C R R -> the subject, which is shown these."""
    return Subject(
        trained.run.id,
        trained.network,
        shown,
        to_look_at(trained.bright(shown)),
        labels,
        tuple(range(len(shown))),
        where,
        trained.class_names,
        trained,
        part,
    )


def _ready_made(name: str, images: str | None, count: int, weights: str) -> Subject:
    if images in PARTS:
        raise ConfigError("--images", f"{images!r} is a part of a run's data; {name} needs a file or folder of images")
    files = [] if images is None else image_files(Path(images))[:count]
    side = ghost(name, None).home
    network = models.create_model(name, image_size=side, in_channels=3, num_classes=1000, weights=weights).eval()
    assert isinstance(network, Adapted)
    way = preparation_of(network)
    squares = [_square(file, side, 3, way.share, way.resampling) for file in files]
    pixels = torch.from_numpy(np.array(squares, np.uint8).reshape(-1, 3, side, side)).float() / 255
    mean, deviation = (torch.tensor(values).view(-1, 1, 1) for values in (way.mean, way.deviation))
    shown = (pixels - mean) / deviation
    labels = torch.full((len(files),), -1)
    where = f"{len(files)} files of {images}: {way.words}" if files else "no images"
    where = f"{_weights_words(weights)}; {where}"
    return Subject(name, network, shown, to_look_at(pixels), labels, tuple(range(len(files))), where, ())


def _weights_words(weights: str) -> str:
    """What weights a ready-made network has."""
    source, _, rest = weights.partition(":")
    if source == "none":
        return "initial (random) weights, not trained (--weights library: those of the library)"
    return f"weights of {rest}" if source == "file" else f"the library's weights{f' {rest}' if rest else ''}"


def image_files(path: Path, parts: Sequence[str] = ()) -> list[Path]:
    """The image at a path, or those in the folder there, by name. Raises ConfigError where there is none; `parts`:
    what else is allowed."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.glob("*") if file.suffix.lower() in SUFFIXES) if path.is_dir() else []
    if not found:
        also = f"{', '.join(parts)}, or " if parts else ""
        what = f"has no image ({', '.join(SUFFIXES)})" if path.is_dir() else "is no file and no folder"
        raise ConfigError("--images", f"{path} {what}; allowed: {also}a file or folder{did_you_mean(str(path), parts)}")
    return found


def _square(
    path: Path, side: int, channels: int, share: float = 1.0, resampling: Image.Resampling = Image.Resampling.BICUBIC
) -> NDArray[np.uint8]:
    """The largest square in the middle of an image file, or the inner share of its side: uint8 C side side."""
    try:
        with Image.open(path) as file:
            turn = decoders.turn_of(file)
            image = (file if turn is None else file.transpose(turn)).convert("L" if channels == 1 else "RGB")
    except decoders.BROKEN as error:
        raise ConfigError("--images", f"{path}: cannot be read as an image ({error})") from error
    array = np.asarray(ImageOps.fit(image, (side, side), resampling, bleed=(1 - share) / 2))
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def to_look_at(pixels: Tensor) -> NDArray[np.uint8]:
    """Images of 0 to 1, N C H W with one channel or three -> uint8 N H W 3."""
    bytes_ = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(bytes_.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).numpy())
