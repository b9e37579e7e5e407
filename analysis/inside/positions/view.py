"""The panels of `--at positions`: of the table, of biases, of rotations, and of each carried to another grid."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

import models
from analysis.elements.captions import legend
from analysis.inside.panel import Choices, Panel
from analysis.inside.positions import figures, numbers
from analysis.inside.positions.numbers import Array
from analysis.inside.positions.reading import Reading, other_side, read
from analysis.inside.subject import Subject
from benchmarks.errors import ConfigError
from models.grids import Grid
from models.libraries.adapter import Adapted
from models.network import Network, resize_square
from models.options import parse_way
from models.positions.base import Position

READ = "a table added to the tokens, biases by offset, rotations of queries and keys"
Named = tuple[str, Array]  # a layer or a way, and images of offsets, h 2H-1 2W-1


def panels(subjects: Sequence[Subject], choices: Choices) -> list[Panel]:
    """What each subject's encoding does, figure by figure.

    Raises ConfigError for a network without an encoding that can be read, with the reason, and for a patch or a layer
    that is not there."""
    found = []
    for number, subject in enumerate(subjects, 1):
        several = len(subjects) > 1
        home = read(subject.network, subject.images)
        if not home.has_any:
            raise ConfigError(subject.name, f"{why_nothing(subject.network)}; {READ} can be looked at")
        patch, layer = chosen(choices, home)
        for panel in of_subject(subject, home, patch, layer):
            if several:
                panel = replace(panel, name=f"{panel.name}-{number}", title=f"{panel.title}: {subject.name}")
            found.append(panel)
    return found


def why_nothing(network: Network) -> str:
    """Why there is nothing to look at, in words."""
    position = getattr(network, "position", None)
    if isinstance(position, Position) and type(position).after_block is not Position.after_block:
        return "its encoding is a convolution of the tokens, which says nothing of places without an image"
    if isinstance(network, Adapted):
        return "has no table of positions among its parameters (of timm and torchvision these are read: ViTs')"
    return "has no positional encoding"


def chosen(choices: Choices, home: Reading) -> tuple[int, int]:
    """Patch and layer, counted from 0. Raises ConfigError for what is not there."""
    rows, columns = home.grid
    count, layers = rows * columns, len(home.biases) or len(home.rotations)
    if choices.patch is not None and not 1 <= choices.patch <= count:
        raise ConfigError("--patch", f"is {choices.patch}; the grid of {rows} x {columns} patches has 1 to {count}")
    if choices.layer is not None and not 1 <= choices.layer <= layers:
        there = f"layers with positions are 1 to {layers}" if layers else "its positions are added once, to the tokens"
        raise ConfigError("--layer", f"is {choices.layer}; {there}")
    patch = rows // 2 * columns + columns // 2 if choices.patch is None else choices.patch - 1
    return patch, layers - 1 if choices.layer is None else choices.layer - 1


def of_subject(subject: Subject, home: Reading, patch: int, layer: int) -> Iterator[Panel]:
    """The panels of one network, read at home: what it has, then the same on another grid."""
    others = list(elsewhere(subject))
    readings = [home, *others]
    if home.table is not None:
        yield from of_table(home, home.table)
    if home.biases:
        yield from of_biases(home)
    if home.rotations:
        yield from of_rotations(home)
    if others and home.table is not None:
        yield carried_table(readings, patch)
    if others and home.biases:
        yield carried_biases(readings, layer)
    if others and home.rotations:
        yield carried_rotations(readings, layer)


def elsewhere(subject: Subject) -> Iterator[Reading]:
    """The positions on a grid of about one and a half times the side, by each way that the network has."""
    run = None if subject.trained is None else subject.trained.run
    ways = getattr(subject.network, "ways", ()) if run is None else models.carry_ways(run.model, options=run.options)
    side = other_side(subject.network, subject.resolution) if ways else None
    if side is None:
        return
    with torch.no_grad():
        images = resize_square(subject.images, side)
    for way in ways:
        network = copy.deepcopy(subject.network)
        name, choices = parse_way(way)
        network.carry(name, **choices)
        yield read(network, images, way)


def of_table(home: Reading, table: Array) -> Iterator[Panel]:
    """Cosines, norms and spectrum of the table N D that is added to the patch tokens."""
    cosine, values = numbers.cosine_similarity(table), numbers.singular_values(table)
    norms = np.linalg.norm(table, axis=1)
    everything = table if home.prefix is None else np.concatenate([home.prefix, table])
    behind = {"cosine": cosine, "table": table, "cosine_with_prefix": numbers.cosine_similarity(everything)}
    low, high = figures.limits(cosine)
    yield Panel(
        "similarity",
        "How alike positions are",
        partial(figures.similarity, cosine, home.grid),
        {**behind, "grid": np.array(home.grid)},
        "Cosine similarity of what is added to the tokens of any two positions: as a matrix, and as one map a position",
        legend(
            f"colours from {low:.3f} to {high:.3f}, the range over different positions",
            "a position with itself is 1",
            "class and register tokens left out",
        ),
    )
    share, power = numbers.shares(values), numbers.fourier_power(table, home.grid)
    yield Panel(
        "norm-and-spectrum",
        "How large, and of how many directions",
        partial(figures.spectrum, norms.reshape(home.grid), share, power),
        {
            "norms": norms.reshape(home.grid),
            "singular_values": values,
            "share_of_variance": share,
            "power": power,
        },
        "Norm of each position’s vector; singular values of the table less its mean row, as shares of its variance; "
        "that variance by spatial frequency (discrete Fourier transform over the grid, summed over channels)",
        legend("frequency 0 in the middle", "periods in the whole grid"),
    )


def of_biases(home: Reading) -> Iterator[Panel]:
    """What each layer adds to its logits, by offset, as maps and along the axes."""
    layers = layers_of([one.mean for one in home.biases])
    behind = {f"layer_{place}": one.mean for place, one in enumerate(home.biases, 1)}
    behind |= {f"deviation_{place}": one.deviation for place, one in enumerate(home.biases, 1) if one.deviation.any()}
    mean = "mean over the queries of the images; " if any(one.deviation.any() for one in home.biases) else ""
    centred = [(name, less_mean(maps)) for name, maps in layers]
    yield Panel(
        "bias-by-offset",
        "What is added to the logits, by offset",
        partial(figures.offset_maps, centred, "bias, less the head’s mean", True),
        behind,
        "Bias of each head (columns) and layer (rows) against the offset of query and key",
        legend(f"{mean}the query in the middle, each pixel a key around it", "left white: never seen",
               "a head’s mean is left out, as a constant changes no softmax"),
    )  # fmt: skip
    yield Panel(
        "bias-along-axes",
        "The same along the axes of the grid",
        partial(figures.cuts, centred, "bias, less the head’s mean"),
        cut_numbers(layers),
        "Bias of each head against the offset along a row of the grid and along a column",
        legend("on the other axis the offset is 0"),
    )


def of_rotations(home: Reading) -> Iterator[Panel]:
    """What the rotation leaves of a product of two like vectors, by offset."""
    layers = layers_of([one_of(one.mean) for one in home.rotations])
    behind = {f"layer_{place}": one.mean for place, one in enumerate(home.rotations, 1)}
    behind |= {f"bound_{place}": one.bound for place, one in enumerate(home.rotations, 1) if one.bound is not None}
    what = "q·q after the rotation, the mean over all unit vectors q, which is the mean cosine of the angles"
    yield Panel(
        "rotation-by-offset",
        "What rotation leaves of a product, by offset",
        partial(figures.offset_maps, layers, "mean product", False),
        behind,
        f"Decay of rotary positions by offset of query and key: {what}",
        legend("offset 0 in the middle, where it is 1", "heads (columns) and layers (rows) that are all alike: once"),
    )
    bounds = [one_of(one.bound) for one in home.rotations if one.bound is not None]
    lined = []
    for place, (name, maps) in enumerate(layers):
        lines = [(f"head {head + 1}" if len(maps) > 1 else "mean product", *half) for head, half in halves(maps)]
        if len(maps) == 1 and place < len(bounds):
            lines += [(figures.BOUND, *half) for _, half in halves(bounds[place])]
        lined.append((name, lines))
    yield Panel(
        "rotation-decay",
        "Decay with distance",
        partial(figures.decays, lined),
        cut_numbers(layers),
        "The same product against the offset along a row of the grid",
        legend("bound: mean of |S_j| against offset 0, S_j the sum of the first j phases (RoFormer, section 3.4.3)"),
    )


def carried_table(readings: Sequence[Reading], patch: int) -> Panel:
    """Cosines with one position, and norms, at home and by each way on the other grid."""
    rows = []
    behind: dict[str, Array] = {}
    for number, reading in enumerate(readings):
        assert reading.table is not None
        position = numbers.same_place(patch, readings[0].grid, reading.grid)
        cosine = numbers.cosine_similarity(reading.table)
        norms = np.linalg.norm(reading.table, axis=1).reshape(reading.grid)
        rows.append((carried_name(reading), cosine[position].reshape(reading.grid), norms, position))
        behind |= {f"{key_of(number, reading)}_{name}": one for name, one in (("cosine", cosine), ("norms", norms))}
    return Panel(
        "carried-table",
        "Carried to another grid",
        partial(figures.position_maps, rows),
        behind,
        f"Cosine with position {patch + 1} (ring) and norms: as trained, and on the grid of {readings[1].side} px",
        legend("the ring lies at the same place of the image", "one scale for each column"),
    )


def carried_biases(readings: Sequence[Reading], layer: int) -> Panel:
    """The biases of one layer at home and by each way on the other grid."""
    rows = [(carried_name(one, one.biases[layer].grid), less_mean(one.biases[layer].mean)) for one in readings]
    behind = {key_of(number, one): one.biases[layer].mean for number, one in enumerate(readings)}
    return Panel(
        "carried-bias",
        "Carried to another grid",
        partial(figures.offset_maps, rows, "bias, less the head’s mean", True),
        behind,
        f"Bias of layer {layer + 1} by offset: as trained, and on the grid of {readings[1].side} px, by each way",
        legend("a pixel is one token of offset in every row"),
    )


def carried_rotations(readings: Sequence[Reading], layer: int) -> Panel:
    """The decay of one layer at home and by each way on the other grid, head by head."""
    maps = [one_of(one.rotations[layer].mean) for one in readings]
    heads = max(map(len, maps))
    lined = [
        (
            f"head {head + 1}" if heads > 1 else "every head",
            [
                (carried_name(one), *next(halves(found[min(head, len(found) - 1)][None]))[1])
                for one, found in zip(readings, maps, strict=True)
            ],
        )
        for head in range(heads)
    ]
    return Panel(
        "carried-rotation",
        "Carried to another grid",
        partial(figures.decays, lined),
        {key_of(number, one): one.rotations[layer].mean for number, one in enumerate(readings)},
        f"Mean product of layer {layer + 1} against the offset along a row: as trained, and on the grid of "
        f"{readings[1].side} px, by each way",
        legend("offsets in tokens of the grid in use"),
    )


def carried_name(reading: Reading, grid: Grid | None = None) -> str:
    """A way with its grid, in words."""
    rows, columns = grid or reading.grid
    way, choices = parse_way(reading.way or figures.TRAINED)
    chosen_so = f" ({', '.join(map(str, choices.values()))})" if choices else ""
    return f"{way}{chosen_so}, {rows} x {columns}"


def key_of(number: int, reading: Reading) -> str:
    """The name of a reading's numbers: trained, or its way (without signs that are no part of a name)."""
    return "".join(sign if sign.isalnum() else "_" for sign in reading.way) if number else "trained"


def layers_of(maps: Sequence[Array]) -> list[Named]:
    """Each layer by its name; one for all where they are alike."""
    if len(maps) > 1 and all(np.array_equal(maps[0], one) for one in maps[1:]):
        return [("every layer", maps[0])]
    return [(f"layer {place}", one) for place, one in enumerate(maps, 1)]


def one_of(maps: Array) -> Array:
    """Images of heads, h ...; the first alone where all are alike."""
    return maps[:1] if np.array_equal(maps, np.broadcast_to(maps[:1], maps.shape)) else maps


def cut_numbers(layers: Sequence[Named]) -> dict[str, Array]:
    """Values of each layer along the columns and along the rows of the grid, h 2W-1 and h 2H-1, by name."""
    return {
        f"{name.replace(' ', '_')}_along_{axis}": numbers.along(maps, axis)[1]
        for name, maps in layers
        for axis in figures.CUTS
    }


def less_mean(maps: Array) -> Array:
    """Images of offsets, each less its mean over the finite ones."""
    finite = np.isfinite(maps)
    sums = np.where(finite, maps, 0).sum(axis=(1, 2), keepdims=True)
    means: Array = sums / finite.sum(axis=(1, 2), keepdims=True)
    return maps - means


def halves(maps: Array) -> Iterator[tuple[int, tuple[NDArray[np.int64], Array]]]:
    """For each head its number from 0, and offsets from 0 on along the columns with their values."""
    at, values = numbers.along(maps, "columns")
    for head, line in enumerate(values):
        yield head, (at[at >= 0], line[at >= 0])
