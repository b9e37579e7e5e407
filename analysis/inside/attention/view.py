"""`--at attention`: what each token attends to, for every head, and what is measured of it.

Shapes: I images, L layers, h heads, N tokens, RC patches on a grid of R x C.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.elements.layout import WIDTH
from analysis.inside.attention import figures, numbers
from analysis.inside.attention.clicking import clickable
from analysis.inside.attention.figures import ByHead, Norms, Tile
from analysis.inside.attention.reading import Layer, Seen, extra_names, read
from analysis.inside.panel import Choices, Panel
from analysis.inside.subject import Subject, untrained_words
from benchmarks.errors import ConfigError
from models.grids import Grid
from models.network import Network

BY_HEAD = 4  # images whose last layer is shown head by head
SPREAD = 3  # reference points along a side
SCALE = "Each map goes from 0 (dark) to its own largest value (light)."


def panels(subjects: Sequence[Subject], choices: Choices) -> list[Panel]:
    """The panels of each subject; those of several have its place before their names.

    Raises ConfigError for a network without attention, a layer that it does not have and a patch outside the grid.
    """
    several = len(subjects) > 1
    found = []
    for place, subject in enumerate(subjects, 1):
        for panel in _of(subject, choices):
            title = f"{panel.title}: {subject.name}" if several else panel.title
            found.append(replace(panel, name=f"{place}-{panel.name}" if several else panel.name, title=title))
    return found


@dataclass(frozen=True, eq=False)
class Chosen:
    """The layer and the patch whose row is shown: `layer` from 1, `patch` from 1 in reading order."""

    layer: int
    patch: int
    grid: Grid
    extra: int

    @property
    def place(self) -> Grid:
        """Row and column of the patch, from 0."""
        return divmod(self.patch - 1, self.grid[1])

    @property
    def token(self) -> int:
        """The row of the matrix, from 0."""
        return self.extra + self.patch - 1


def chosen(name: str, layers: Sequence[Layer], choices: Choices) -> Chosen:
    """The layer and the patch of the choices. Raises ConfigError for those that a network does not have."""
    number = len(layers) if choices.layer is None else choices.layer
    if not 1 <= number <= len(layers):
        raise ConfigError("--layer", f"is {number}; {name} has layers of attention 1 to {len(layers)}")
    layer = layers[number - 1]
    rows, columns = layer.grid
    patch = rows // 2 * columns + columns // 2 + 1 if choices.patch is None else choices.patch
    if not 1 <= patch <= rows * columns:
        where = f"{name} has {rows} x {columns} patches in layer {number}"
        raise ConfigError("--patch", f"is {patch}, outside the grid: {where}; allowed: 1 to {rows * columns}")
    return Chosen(number, patch, layer.grid, layer.extra)


def _of(subject: Subject, choices: Choices) -> list[Panel]:
    first = read(subject.name, subject.network, subject.images[:1])
    where = chosen(subject.name, first.layers, choices)
    measured = measure(subject.name, subject.network, subject.images)
    found = [
        _rows(subject, first, where),
        _pooled(subject, measured),
        _heads(subject, measured),
        _points(subject, first, where),
        _by_head(subject, measured),
    ]
    return found + ([_norms(subject, measured)] if first.tokens else [])


# --- what is measured, image after image ---


@dataclass(frozen=True, eq=False)
class Measured:
    """Of all images: `distance` and `entropy`, each L times (I, h). `pooled`: what the class token takes (without one:
    the mean over the patches as queries), of the layers `counted` on the grid of the last one, each (I, h, RC).
    `rollout`, `discarded`: the same of the product of these layers, (I, RC). `norms`: by part, (I, E + RC)."""

    layers: tuple[Layer, ...]  # of the first image
    class_token: bool  # whether the head reads it
    named: tuple[str, ...]  # of the extra tokens, as in Seen
    counted: tuple[int, ...]
    distance: tuple[NDArray[Any], ...]
    entropy: tuple[NDArray[Any], ...]
    pooled: tuple[NDArray[Any], ...]
    rollout: NDArray[Any]
    discarded: NDArray[Any]
    norms: tuple[tuple[str, int, NDArray[Any]], ...]  # name of the part, E, values


def measure(name: str, network: Network, images: Tensor) -> Measured:
    """Measures images B C H W one after the other, so that one image's attention is in memory at a time."""
    found: list[dict[str, list[NDArray[Any]]]] = []
    for image in images.split(1):
        seen = read(name, network, image)
        counted = counted_layers(seen)
        in_product = [seen.layers[place].probabilities for place in same_grid(seen.layers)]
        extra, height, width = seen.layers[-1].extra, int(image.shape[-2]), int(image.shape[-1])
        patches = [(height / layer.grid[0], width / layer.grid[1]) for layer in seen.layers]
        rolled = [numbers.rollout(in_product, discard) for discard in (0.0, numbers.DISCARD)]
        found.append({
            "distance": [numbers.mean_distance(layer.probabilities, layer.grid, layer.extra, patch)[0].numpy()
                         for layer, patch in zip(seen.layers, patches, strict=True)],
            "entropy": [numbers.entropy(layer.probabilities, layer.reach)[0].numpy() for layer in seen.layers],
            "pooled": [numbers.pooled_row(seen.layers[place].probabilities, seen.layers[place].extra,
                                          seen.class_token)[0].numpy() for place in counted],
            "rollout": [numbers.pooled_row(product, extra, seen.class_token)[0].numpy() for product in rolled],
            "norms": [one.tokens.norm(dim=-1)[0].numpy() for one in seen.tokens],
        })  # fmt: skip

    def together(key: str) -> tuple[NDArray[Any], ...]:
        return tuple(np.stack(arrays) for arrays in zip(*(one[key] for one in found), strict=True))

    rollout, discarded = together("rollout")
    named = zip(seen.tokens, together("norms"), strict=True)
    return Measured(
        seen.layers,
        seen.class_token,
        seen.named,
        counted,
        together("distance"),
        together("entropy"),
        together("pooled"),
        rollout,
        discarded,
        tuple((one.name, one.extra, values) for one, values in named),
    )


def same_grid(layers: Sequence[Layer]) -> tuple[int, ...]:
    """The places of the layers, from the last one back, that are on its grid without a break."""
    places = list(range(len(layers)))
    while places and layers[places[0]].grid != layers[-1].grid:
        places.pop(0)
    other = [place for place in places if layers[place].grid != layers[-1].grid]
    return tuple(place for place in places if not other or place > other[-1])


def counted_layers(seen: Seen) -> tuple[int, ...]:
    """Those of them in which the class token takes part, where there is one."""
    return tuple(place for place in same_grid(seen.layers) if seen.layers[place].extra or not seen.class_token)


# --- panels ---


def _rows(subject: Subject, seen: Seen, where: Chosen) -> Panel:
    layer = seen.layers[where.layer - 1]
    row = layer.probabilities[0, :, where.token]  # h N
    maps = row[:, layer.extra :].unflatten(1, layer.grid).numpy()
    down, across = where.place
    image = Tile(subject.pictures[0], _image_title(subject, 0), layer.grid, (where.place,))
    heads = [
        Tile(values, f"head {head}\nto {_short(values.max())}", layer.grid, (where.place,))
        for head, values in enumerate(maps, 1)
    ]
    count = row.shape[1]
    title = f"Row of patch {where.patch} (row {down + 1}, column {across + 1}) in layer {where.layer}"
    return Panel(
        name="rows",
        title=title,
        draw=partial(figures.mosaic, [[image, *heads]]),
        numbers={
            "rows": row.numpy(),
            "maps": maps,
            "mass_on_extra_tokens": row[:, : layer.extra].double().sum(dim=1).numpy(),
            **_named(layer=where.layer, patch=where.patch, row=down + 1, column=across + 1, token=where.token),
            **_named(grid=layer.grid, extra_tokens=layer.extra, image=subject.numbers[0]),
            "picture": subject.pictures[0],
        },
        shows=f"What patch {where.patch} (framed) of the first image attends to, by each of the {layer.heads} heads of "
        f"layer {where.layer} of {len(seen.layers)}",
        legend=f"Patches are counted from 1 in reading order, rows and columns from 1: patch {where.patch} is row "
        f"{down + 1}, column {across + 1} of {layer.grid[0]} x {layer.grid[1]}, and row {where.token}, counted from 0, "
        f"of the {count} x {count} matrix. {_extra_words(layer, seen.named, row)}{_window_words(layer)}{SCALE} "
        "This value stands above it.",
        interactive=clickable(subject, seen, where.place, layer.grid),
    )


def _extra_words(layer: Layer, named: Sequence[str], row: Tensor) -> str:
    """Whether class and register tokens are counted, in words. `row`: h N."""
    names = extra_names(layer.extra, named)
    if not names:
        return "There is no class token and no register: the matrix has patches only. "
    shares = row[:, : layer.extra].double().sum(dim=1)
    what = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]} ({len(names)} tokens)"
    return (
        f"The {what} comes before the patches in the matrix and is left out of the maps; it takes "
        f"{100 * float(shares.min()):.0f} to {100 * float(shares.max()):.0f} % of the row, by head. "
    )


def _window_words(layer: Layer) -> str:
    if layer.window is None:
        return ""
    return (
        f"Attention is inside windows of {layer.window[0]} x {layer.window[1]}; they are put back in place, and a "
        "patch has 0 for all outside its own. "
    )


def _pooled(subject: Subject, measured: Measured) -> Panel:
    grid = measured.layers[-1].grid
    mean = np.mean([layer.mean(axis=1) for layer in measured.pooled], axis=0)  # I RC
    last = measured.pooled[-1].mean(axis=1)
    mask = numbers.mass_mask(torch.from_numpy(last)).numpy()
    counted = [place + 1 for place in measured.counted]
    layers = f"layers {counted[0]} to {counted[-1]}" if len(counted) > 1 else f"layer {counted[0]}"
    columns = {
        f"mean of\n{layers}": mean,
        f"layer {len(measured.layers)},\nmean of heads": last,
        "rollout": measured.rollout,
        f"rollout, lowest\n{100 * numbers.DISCARD:.0f} % discarded": measured.discarded,
    }
    blocks = []
    for image, picture in enumerate(subject.pictures):
        maps = [Tile(values[image].reshape(grid), name) for name, values in columns.items()]
        share = f"{100 * numbers.MASS:.0f} % of the mass,\nlayer {len(measured.layers)}"
        masked = Tile(figures.faded(picture, mask[image].reshape(grid)), share)
        blocks.append([Tile(picture, _image_title(subject, image)), *maps, masked])
    whose = "class token" if measured.class_token else "mean token"
    first = "" if len(same_grid(measured.layers)) == len(measured.layers) else (
        f" Layers on other grids than the last one's {grid[0]} x {grid[1]} are left out, also of the rollout."
    )  # fmt: skip
    return Panel(
        name="class-token" if measured.class_token else "mean-token",
        title=f"What the {whose} attends to",
        draw=partial(figures.mosaic, blocks, 1.0),
        numbers={
            "mean_over_heads_and_layers": mean.reshape(-1, *grid),
            "last_layer_mean_over_heads": last.reshape(-1, *grid),
            "rollout": measured.rollout.reshape(-1, *grid),
            "rollout_discarded": measured.discarded.reshape(-1, *grid),
            "mask": mask.reshape(-1, *grid),
            **_named(mass=numbers.MASS, discarded_share=numbers.DISCARD, layers=counted, images=subject.numbers),
            "labels": subject.labels.numpy(),
        },
        shows=f"Attention of the {whose} to the patches of {len(subject.pictures)} images: over all heads and layers, "
        "in the last layer, by rollout, and the fewest patches that hold most of the last layer's",
        legend=_whose_words(measured)
        + f"Rollout multiplies (mean over heads + identity) / 2 of all layers.{first} {SCALE}",
        width=6.8,
    )


def _whose_words(measured: Measured) -> str:
    if measured.class_token:
        return "The row of the class token, without its own column and those of registers. "
    there = "reads no class token, though there is one" if "class token" in measured.named else "reads no class token"
    return f"The network's head {there}, so the mean of the rows of all patches is shown. "


def _heads(subject: Subject, measured: Measured) -> Panel:
    layer, last = measured.layers[-1], measured.pooled[-1]  # I h RC
    mask = numbers.mass_mask(torch.from_numpy(last)).numpy()
    blocks = []
    for image, picture in enumerate(subject.pictures[:BY_HEAD]):
        tiles = [Tile(picture, _image_title(subject, image))]
        for head in range(layer.heads):
            within = mask[image, head].reshape(layer.grid)
            tiles.append(Tile(last[image, head].reshape(layer.grid), f"head {head + 1}", within=within))
        blocks.append(tiles)
    whose = "class token" if measured.class_token else "mean token"
    return Panel(
        name="heads",
        title=f"The {whose} in the last layer, head by head",
        draw=partial(figures.mosaic, blocks),
        numbers={
            "maps": last.reshape(*last.shape[:2], *layer.grid),
            "mask": mask.reshape(*last.shape[:2], *layer.grid),
            **_named(mass=numbers.MASS, layer=len(measured.layers), images=subject.numbers),
        },
        shows=f"Attention of the {whose} in layer {len(measured.layers)} by each of its {layer.heads} heads, for the "
        f"first {len(blocks)} images; a line is around the fewest patches that hold {100 * numbers.MASS:.0f} % of it",
        legend=_whose_words(measured) + f"{SCALE} All images are in the numbers.",
    )


def _points(subject: Subject, seen: Seen, where: Chosen) -> Panel:
    layer = seen.layers[where.layer - 1]
    rows, columns = layer.grid
    down = sorted({rows * (2 * step + 1) // (2 * SPREAD) for step in range(SPREAD)})
    across = sorted({columns * (2 * step + 1) // (2 * SPREAD) for step in range(SPREAD)})
    places = tuple((row, column) for row in down for column in across)
    mean = layer.probabilities[0].mean(dim=0)  # N N
    tokens = [layer.extra + row * columns + column for row, column in places]
    maps = mean[tokens, layer.extra :].unflatten(1, layer.grid).numpy()
    patches = [row * columns + column + 1 for row, column in places]
    words = tuple(str(number) for number in range(1, len(places) + 1))
    image = Tile(subject.pictures[0], _image_title(subject, 0), layer.grid, places, words)
    tiles = [
        Tile(values, f"{word}: row {place[0] + 1}, col. {place[1] + 1}\npatch {patch}", layer.grid, (place,))
        for values, word, place, patch in zip(maps, words, places, patches, strict=True)
    ]
    return Panel(
        name="points",
        title=f"Rows of {len(places)} reference points in layer {where.layer}",
        draw=partial(figures.mosaic, [[image, *tiles]], 1.15),
        numbers={"maps": maps, **_named(patches=patches, places=places, layer=where.layer, grid=layer.grid)},
        shows=f"What {len(places)} patches spread evenly over the first image attend to in layer {where.layer}, mean "
        "over heads",
        legend=f"Rows, columns and patches are counted from 1; class and register tokens are left out. {SCALE}",
    )


def _by_head(subject: Subject, measured: Measured) -> Panel:
    height, width = (int(side) for side in subject.images.shape[-2:])
    uniform = tuple(
        numbers.uniform_distance(layer.grid, (height / layer.grid[0], width / layer.grid[1]), layer.reach)
        for layer in measured.layers
    )
    trained = subject.trained is not None
    before = measure(subject.name, subject.untrained, subject.images) if trained else None

    def means(arrays: Sequence[NDArray[Any]]) -> tuple[NDArray[np.float64], ...]:
        return tuple(one.mean(axis=0) for one in arrays)

    control = f"Untrained: {untrained_words([subject])}." if trained else "A ready-made network is here in one state."
    windowed = "In windows, N and uniform attention count what a query reaches in its own. " * any(
        layer.reach is not None for layer in measured.layers
    )
    distance = ByHead("mean attention distance, px", means(measured.distance), means(before.distance) if before else (),
                      uniform)  # fmt: skip
    entropy = ByHead("entropy of a row / log N", means(measured.entropy), means(before.entropy) if before else (),
                     (1.0,) * len(uniform))  # fmt: skip
    found: dict[str, Any] = {"uniform_distance": np.array(uniform)}
    for name, one in (("distance", distance), ("entropy", entropy)):
        for state, values in (("", one.values), ("_untrained", one.untrained)):
            found |= {f"{name}{state}_layer_{layer}": heads for layer, heads in enumerate(values, 1)}
    return Panel(
        name="distance",
        title="How far and how widely heads attend",
        draw=partial(figures.by_head, [distance, entropy]),
        numbers=found,
        shows=f"Mean attention distance and entropy of every head by layer, mean over {len(subject.images)} images",
        legend="Distance: between the centres of two patches, weighted by attention; class and register tokens are "
        "left out and rows are made to sum to 1 again. Entropy: of whole rows of N tokens, 1 where attention is "
        f"uniform. {windowed}{control}",
    )


def _norms(subject: Subject, measured: Measured) -> Panel:
    patches, shares, found = [], [], {}
    names = extra_names(max(extra for _, extra, _ in measured.norms), measured.named)
    extra_means = {name: np.full(len(measured.norms), np.nan) for name in names}
    for place, (part, extra, values) in enumerate(measured.norms):
        of_patches = values[:, extra:]
        patches.append([*np.quantile(of_patches, (0.05, 0.5, 0.95)), of_patches.max()])
        shares.append(numbers.outlier_share(torch.from_numpy(of_patches)))
        for number, name in enumerate(names[:extra]):
            extra_means[name][place] = values[:, number].mean()
        found[part.replace(".", "_")] = values
    given = Norms(np.array(patches), tuple(extra_means.items()), np.array(shares))
    return Panel(
        name="norms",
        title="Norms of tokens",
        draw=partial(figures.norms, given),
        numbers={**found, "outlier_share": given.outliers, **_named(outlier_factor=numbers.OUTLIER)},
        shows=f"Norm of the tokens after each block, over {len(subject.images)} images, and the share of outliers",
        legend=f"An outlier is a patch whose norm is more than {numbers.OUTLIER:g} times the median of all patches "
        "after that block. In the numbers, tokens are in the order of the network: class token, registers, patches.",
        width=WIDTH,
    )


def _image_title(subject: Subject, image: int) -> str:
    """The number of an image, from 0 as in the data, and its class below."""
    return f"image {subject.numbers[image]}\n{subject.label(image)}".rstrip()


def _named(**values: Any) -> dict[str, NDArray[Any]]:
    return {name: np.array(value) for name, value in values.items()}


def _short(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
