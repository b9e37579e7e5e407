"""The attention layers of a network as it looks at images: every one as a matrix of all tokens against all.

Shapes: B images, h heads, N tokens of a layer: E extra ones (class token, registers) before the patches, which lie on
a grid in reading order; windows of n tokens.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from analysis.inside.attention.numbers import in_place, window_places, window_reach
from benchmarks.errors import ConfigError
from models.grids import Grid
from models.libraries.adapter import Adapted
from models.mixers import PlainWindows
from models.network import Network, Parts
from models.swin import Windows

MOST_EXTRA = 16  # tokens beside the patches; with more, the grid is not understood
NAMED = {"class token": ("class_token", "cls_token"), "distillation token": ("dist_token",)}  # by their parameters
SCALES = (1, 2, 4, 8, 16)  # of an earlier stage's grid, by that of the last


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of attention: `probabilities`, float32 (B, h, N, N), a row for each query, and where the tokens stand:
    `extra` ones first, then the patches of the `grid`. Where attention is inside windows: `window`, rows and columns of
    one, and `reach`, bool (N, N), the keys that each query can attend to."""

    probabilities: Tensor
    grid: Grid
    extra: int
    window: Grid | None = None
    reach: Tensor | None = None

    @property
    def heads(self) -> int:
        """h."""
        return int(self.probabilities.shape[1])


@dataclass(frozen=True, eq=False)
class Tokens:
    """Tokens after a block (`name`: of the part), float32 (B, N, D), and where they stand, as in `Layer`."""

    name: str
    tokens: Tensor
    grid: Grid
    extra: int


@dataclass(frozen=True, eq=False)
class Seen:
    """What a network shows of a few images. `named`: what the first extra tokens are, the others being registers.
    `class_token`: whether the head reads the first one, a class token."""

    layers: tuple[Layer, ...]
    tokens: tuple[Tokens, ...]
    class_token: bool
    named: tuple[str, ...]


def read(name: str, network: Network, images: Tensor) -> Seen:
    """What a network called `name` shows of images B C H W, in evaluation mode: probabilities as the softmax gives
    them, before any dropout.

    Raises ConfigError, with the reason, for a network without attention, or whose maps cannot be put on a grid.
    """
    height, width = (int(side) for side in images.shape[-2:])
    training, last = network.training, network.grid(height, width)  # a library's runs a copy once, hooks and all
    try:
        with torch.no_grad(), windows_of(name, network) as geometries:
            _, parts = network.eval().forward_parts(images)
    finally:
        network.train(training)
    maps = [parts[key].float() for key in _numbered(parts, "attention")]
    if not maps:
        raise ConfigError(name, no_attention(network, height, width))
    if geometries and len(geometries) != len(maps):
        raise ConfigError(name, f"shows {len(maps)} maps of attention and {len(geometries)} layers of windows")
    layers = []
    for number, given in enumerate(maps):
        if geometries:
            layers.append(_from_windows(name, given, geometries[number], len(images)))
        else:
            layers.append(_whole(name, given, last, len(images)))
    named = ["embedding", *_numbered(parts, "block")]
    after = [(key, parts[key].float()) for key in named if key in parts and parts[key].ndim == 3]
    grids = [(key, tokens, _grid_of(name, tokens.shape[1], last)) for key, tokens in after]
    tokens = tuple(Tokens(key, tokens, grid, extra) for key, tokens, (grid, extra) in grids)
    known = named_tokens(network)
    return Seen(tuple(layers), tokens, "class token" in known and not pools_patches(network), known)


def named_tokens(network: Network) -> tuple[str, ...]:
    """The class and distillation tokens of a network, by the parameters that suite and libraries keep them in."""
    inner = network.net if isinstance(network, Adapted) else network
    return tuple(what for what, keys in NAMED.items() if any(isinstance(getattr(inner, k, None), Tensor) for k in keys))


def pools_patches(network: Network) -> bool:
    """Whether the head of a network of timm reads the patches though there may be a class token (BEiT, EVA)."""
    pool = getattr(network.net, "global_pool", "token") if isinstance(network, Adapted) else "token"
    return bool(pool != "token")


def extra_names(extra: int, named: Sequence[str]) -> list[str]:
    """What the tokens before the patches are: those with names, then registers."""
    registers = [f"register {number}" for number in range(1, extra - len(named) + 1)]
    return [*named, *registers][:extra]


def no_attention(network: Network, height: int, width: int) -> str:
    """Why there is nothing to look at, in words."""
    if isinstance(network, Adapted):
        said = str(network.details(height, width)["attention"])
        what = "has no layer of attention" if said == "none" else f"hides its attention: {said}"
    else:
        what = f"is a {type(network).__name__}, which has no layer of attention"
    positions = "positions, " if hasattr(network, "position") else ""
    views = "features" if isinstance(network, Adapted) else f"{positions}features, training"
    return f"{what}, so no row of it can be shown; other views: {views}"


def _numbered(parts: Parts, kind: str) -> list[str]:
    """Keys `kind.0`, `kind.1`, ... in order."""
    return sorted((key for key in parts if key.startswith(f"{kind}.")), key=lambda key: int(key.partition(".")[2]))


def _whole(name: str, probabilities: Tensor, last: Grid, batch: int) -> Layer:
    """B h N N as a layer. Raises ConfigError for other shapes, and for windows, which the batch tells from images."""
    if probabilities.ndim != 4 or probabilities.shape[2] != probabilities.shape[3]:
        shape = tuple(probabilities.shape)
        raise ConfigError(name, f"gives attention of shape {shape}, which is not (images, heads, tokens, tokens)")
    if len(probabilities) != batch:
        said = f"gives {len(probabilities)} maps of attention in a layer for {batch} image{'s' if batch > 1 else ''}"
        raise ConfigError(name, f"{said}: parts of the image, and where they lie in it is not known")
    grid, extra = _grid_of(name, probabilities.shape[2], last)
    return Layer(probabilities, grid, extra)


def _grid_of(name: str, count: int, last: Grid) -> tuple[Grid, int]:
    """Grid of the patches among `count` tokens, and how many others there are: the fewest, for the grid of the last
    layer or a multiple of it. Raises ConfigError where that leaves too many, or one token stands for all of an image.
    """
    grids = [(last[0] * scale, last[1] * scale) for scale in SCALES]
    rest = {grid: count - grid[0] * grid[1] for grid in grids if count >= grid[0] * grid[1]}
    grid = min(rest, key=lambda one: rest[one], default=None)
    if grid is None or rest[grid] > MOST_EXTRA or grid == (1, 1):
        said = f"its tokens ({count}) do not stand on a grid of places (the network's is {last[0]} x {last[1]})"
        raise ConfigError(name, f"has attention, but {said}")
    return grid, rest[grid]


@dataclass
class _Geometry:
    """Of a layer of windows: its grid, rows and columns of a window, by how much the map was rolled up and left."""

    grid: Grid
    window: Grid
    shift: Grid


def _from_windows(name: str, given: Tensor, geometry: _Geometry, batch: int) -> Layer:
    """Windows (B, windows, h, n, n), or (B windows, h, n, n), put back into place. Raises ConfigError where their
    number is not that of the geometry."""
    places = window_places(geometry.grid, geometry.window, geometry.shift)
    windows = given if given.ndim == 5 else given.unflatten(0, (batch, -1))
    if windows.shape[1] != len(places) or windows.shape[-1] != places.shape[1]:
        raise ConfigError(name, f"has windows of shape {tuple(given.shape)} that do not fit a grid of {geometry.grid}")
    rows, columns = geometry.grid
    reach = window_reach(places, geometry.grid, geometry.shift)
    return Layer(in_place(windows, places, rows * columns), geometry.grid, 0, geometry.window, reach)


@contextmanager
def windows_of(name: str, network: Network) -> Iterator[list[_Geometry]]:
    """While the network runs, the geometry of every layer of windows, in the order in which they are computed."""
    found: list[_Geometry] = []

    def ours(module: Windows, given: tuple[Any, ...]) -> None:
        """Before a layer of the suite: see `models.swin.Windows.forward`."""
        inside = isinstance(module, PlainWindows)
        grid: Grid = given[2] if inside else (int(given[0].shape[1]), int(given[0].shape[2]))
        target: Grid = module.window if inside else given[1]
        window = min(target[0], grid[0]), min(target[1], grid[1])
        shift = tuple(m // 2 if module.shifted and m < n else 0 for m, n in zip(window, grid, strict=True))
        found.append(_Geometry(grid, window, shift))  # type: ignore[arg-type]  # two of them

    def of_timm(module: Any, given: tuple[Any, ...]) -> None:
        """Before a block of timm's Swin. Raises ConfigError where windows are filled up: the filling is attended to."""
        grid = int(given[0].shape[1]), int(given[0].shape[2])
        if grid[0] % module.window_size[0] or grid[1] % module.window_size[1]:
            rows, columns = module.window_size
            said = (
                f"windows of {rows} x {columns} do not fill its grid of {grid[0]} x {grid[1]}, and what fills them up"
            )
            raise ConfigError(name, f"{said} is attended to, so rows have no place in the image; take another size")
        found.append(_Geometry(grid, tuple(module.window_size), tuple(module.shift_size)))

    handles = []
    for module in network.modules():
        if isinstance(module, Windows):
            handles.append(module.register_forward_pre_hook(ours))
        elif _is_timm_block(module):
            handles.append(module.register_forward_pre_hook(of_timm))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _is_timm_block(module: nn.Module) -> bool:
    """A block of timm's Swin, by what it holds."""
    return hasattr(module, "window_size") and hasattr(module, "shift_size") and hasattr(module, "attn")
