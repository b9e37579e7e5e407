"""A finished run to work with: its network, the images as it was measured on them, its predictions.

from benchmarks.trained import load_run

trained = load_run("vit-rope_axial-digits-n300")  # an id, or its beginning or end while that is unique
images, labels = trained.images("test")           # as the run's evaluation shows them
logits = trained.predict("test")                  # those of the record, but for rounding
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.data.class_names import class_names
from benchmarks.data.dataset import Images, Places
from benchmarks.data.store import check_same_images, load_images
from benchmarks.data.subsets import draw_subset
from benchmarks.errors import ConfigError, InductiveError, RecordError, StaleError
from benchmarks.plan.run import Evaluation, Run, default_evaluation
from benchmarks.records.init_from import run_sources
from benchmarks.records.record import Record, find_record, read_record
from benchmarks.records.roots import existing, opened
from benchmarks.records.validity import valid_record
from benchmarks.running.execute import finished_model
from benchmarks.training.evaluation import Measurer
from benchmarks.training.images import Part, decoded, plain
from benchmarks.training.kernels import choose_device
from benchmarks.training.training import TOGETHER, arithmetic
from models.network import Network
from models.options import parse_way

ELSEWHERE = {"attention": "explicit", "linear": "torch", "layout": "contiguous"}  # on another device than the record's


@dataclass(frozen=True, eq=False)
class TrainedRun:
    """A finished run: its record, its network (final weights, in eval mode) and the folder of the data sets.

    Shapes: N images of a part ("train": the run's own training images; "validation"; "test"), C channels, R pixels of a
    resolution. The data are opened when they are first asked for.
    """

    record: Record
    run: Run
    network: Network
    data: Path = field(repr=False)
    execution: Mapping[str, Any] = field(repr=False)

    def images(
        self, part: str = "test", resolution: int | None = None, first: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The images of a part, or the `first` so many, as the run's evaluation shows them: resized to `resolution`
        (default: that of training) and normalised as in training, float32 (N, C, R, R); and their labels, int64 (N,).
        On the CPU. Photographs are decoded to the size that is shown."""
        images, labels = self._part(part)
        pixels, how = decoded(images, self.evaluation(resolution), self.run.resolution)
        end = len(labels) if first is None else min(first, len(labels))
        chunks = [
            self._shown(torch.from_numpy(pixels[start : min(start + TOGETHER, end)].copy()), how)
            for start in range(0, end, TOGETHER)
        ]
        return torch.cat(chunks), torch.from_numpy(labels[:end].copy())

    def pixels(self, part: str = "test") -> Tensor:
        """The images of a part as they are in the data set: uint8, (N, C, H, W). Of photographs, which have sizes of
        their own, the middle squares at the training resolution."""
        return torch.from_numpy(plain(self._part(part)[0], self.run.resolution)[:].copy())

    def shown(self, pixels: Tensor, resolution: int | None = None) -> Tensor:
        """Square images of your own, uint8 or float32 from 0 to 1 (B, C, H, H), as the run's evaluation would show
        them. Raises ConfigError for others, and for a resolution below 1."""
        self._check_pixels(pixels)
        return self._shown(pixels, self.evaluation(resolution))

    def bright(self, shown: Tensor) -> Tensor:
        """Images as `images` and `shown` give them, to look at: not normalised, float32 from 0 to 1."""
        normalise = self._measurer.normalise
        return (shown * normalise.deviation.cpu() + normalise.mean.cpu()).clamp(0, 1)

    def evaluation(self, resolution: int | None = None) -> Evaluation:
        """How the run's evaluation at a resolution (default: that of training) shows images. Raises ConfigError for a
        resolution below 1."""
        side = self.run.resolution if resolution is None else resolution
        if side < 1:
            raise ConfigError("resolution", f"is {side}; allowed are 1 pixel and more (default: {self.run.resolution})")
        return default_evaluation(self.run, "test", side)

    def predict(self, images: Tensor | str = "test", resolution: int | None = None) -> Tensor:
        """Logits, float32 (N, classes) on the CPU, of a part, or of images as `images` and `shown` give them. Positions
        are carried to another resolution by the model's default way, as in the run's evaluations."""
        shown = self.images(images, resolution)[0] if isinstance(images, str) else images
        way = self._measurer.default_way
        if way is not None:
            name, choices = parse_way(way)
            self.network.carry(name, **choices)
        with torch.no_grad(), arithmetic(self._measurer.device, self.run.precision):
            chunks = [self._logits(chunk) for chunk in shown.split(TOGETHER)]
        return torch.cat(chunks)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, in the order of labels and logits."""
        return class_names(self.run.data, Places(self.data, self.record.path.parent))

    def _check_pixels(self, pixels: Tensor) -> None:
        """Raises ConfigError unless these are images as `shown` takes them."""
        channels, shape = self.run.data.channels, tuple(pixels.shape)
        if len(shape) != 4 or shape[1] != channels:
            raise ConfigError("pixels", f"of shape {shape}; {self.run.dataset} needs (B, {channels}, H, H)")
        if shape[2] != shape[3]:
            raise ConfigError("pixels", f"of {shape[2]} x {shape[3]}; only squares are shown: cut out their middle")
        if pixels.dtype not in (torch.uint8, torch.float32):
            raise ConfigError("pixels", f"are {pixels.dtype}; allowed are uint8, or float32 from 0 to 1")
        if pixels.dtype == torch.float32 and not bool(((pixels >= 0) & (pixels <= 1)).all()):
            low, high = pixels.min().item(), pixels.max().item()
            raise ConfigError("pixels", f"are float32 from {low:g} to {high:g}; allowed are 0 to 1, or uint8")

    def _shown(self, pixels: Tensor, how: Evaluation) -> Tensor:
        bright = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        return self._measurer.shown(bright.to(self._measurer.device), how).cpu()

    def _logits(self, images: Tensor) -> Tensor:
        x = images.to(self._measurer.device)
        layout = torch.channels_last if self._measurer.channels_last else torch.contiguous_format
        return self.network(x.contiguous(memory_format=layout)).float().cpu()

    def _part(self, part: str) -> tuple[Part, NDArray[np.int64]]:
        parts = self._measurer.parts
        if part not in parts or not len(parts[part][1]):
            there = ", ".join(name for name, (_, labels) in parts.items() if len(labels))
            raise RecordError(f"{self.run.id}: there is no part '{part}'; there are {there}")
        return parts[part]

    @cached_property
    def _measurer(self) -> Measurer:
        run, images = self.run, self._images
        subset = draw_subset(images.train_labels, run.data.classes, run.draw, run.train_size, run.validation)
        return Measurer(self.network, run, images, subset, self.execution["layout"] == "channels_last")

    @cached_property
    def _images(self) -> Images:
        images = load_images(self.run.dataset, self.data)
        check_same_images(self.run.id, (self.record.execution or {}).get("data", {}), images)
        return images


def check_device(device: str) -> None:
    """Raises ConfigError unless it is a device of this machine: `cpu`, `cuda` (`cuda:1` for the second GPU), `mps`."""
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ConfigError("device", f"{device!r} is none of cpu, cuda (cuda:1 is the second GPU), mps")
    try:
        choose_device(kind)
    except InductiveError as error:
        raise ConfigError("device", str(error).removeprefix("--device ")) from error
    count = torch.cuda.device_count() if number else 0
    if number and int(number) >= count:
        raise ConfigError("device", f"{device!r} is not there: the last one is cuda:{count - 1}")


def load_run(
    run_id: str,
    runs: Path | str | None = None,
    data: Path | str | None = None,
    *,
    device: str = "cpu",
    accept_code: bool = False,
) -> TrainedRun:
    """The finished run whose id is, or uniquely starts or ends with, `run_id`.

    `runs` is the folder of the records (or an archive of `inductive pack --weights`), `data` that of the data sets; by
    default those of the command: INDUCTIVE_RUNS or `runs`, INDUCTIVE_DATA or `data`. `device`: see `check_device`.
    `accept_code` also loads a run whose sources have changed since it was trained. Raises RecordError for a run that is
    not there (with the nearest id), has not finished or has no weights, StaleError for changed sources, ConfigError for
    a device that is not there; and once the images are asked for, InductiveError where they are not there, RecordError
    where they are others.
    """
    check_device(device)
    places = Places()
    places = replace(places, runs=Path(runs) if runs else places.runs, data=Path(data) if data else places.data)
    assert places.runs is not None and places.data is not None  # the defaults name both
    root = existing(opened(places.runs))
    folder = find_record(root, run_id)
    run = read_record(folder).run(replace(places, runs=root))
    record = valid_record(folder, run, now_sources=run_sources(run, root))
    if record.state == "stale" and not accept_code:
        raise StaleError(
            f"{run.id}: {record.reason}. Its weights may mean something else now: load_run(..., accept_code=True) "
            f"loads them all the same"
        )
    if record.result is None or record.result["state"] != "finished":
        why = f" ({record.reason})" if record.reason else ""
        raise RecordError(f"{run.id}: is {record.state}{why}, so there is no trained network; `inductive run` trains")
    if not (folder / "weights.safetensors").exists():
        raise RecordError(
            f"{folder / 'weights.safetensors'}: there are no weights (`inductive pack` leaves them out without "
            f'--weights). `inductive rerun {run.id}` makes them again: load_run("{run.id}", "{root / ".reruns"}")'
        )
    recorded = record.execution or {}
    same_device = recorded.get("device") == device
    execution = {**recorded, **({} if same_device else {"device": device, **ELSEWHERE})}
    network = finished_model(run, folder, execution, record.result["weights_sha256"])
    return TrainedRun(record, run, network.eval(), places.data, execution)
