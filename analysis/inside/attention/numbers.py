"""What is measured of attention: pure functions on tensors.

Shapes: B images, h heads, N tokens: E extra ones (class token, registers), then the patches of a grid of R rows and C
columns in reading order; windows of n tokens. A row of attention belongs to a query, its columns to the keys.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from models.grids import Grid
from models.swin import to_windows

MASS = 0.6  # of the attention that a mask holds (DINO)
DISCARD = 0.9  # of the entries that a rollout with discarding leaves out (vit-explain's default)
OUTLIER = 3.0  # times the median norm of a layer's patches: beyond it a token is an outlier


def window_places(grid: Grid, window: Grid, shift: Grid) -> Tensor:
    """The token at every place of every window: int64 (windows, n), -1 where the window is filled up.

    As in Swin (Liu et al., 2021): the map is filled at its end up to whole windows, rolled up and left by `shift`, and
    cut into windows in reading order.
    """
    rows, columns = grid
    bottom, right = -rows % window[0], -columns % window[1]
    tokens = torch.arange(rows * columns).view(rows, columns)
    tokens = torch.nn.functional.pad(tokens, (0, right, 0, bottom), value=-1)
    tokens = torch.roll(tokens, (-shift[0], -shift[1]), dims=(0, 1))
    return to_windows(tokens[None, :, :, None], window)[0, :, :, 0]


def in_place(windows: Tensor, places: Tensor, count: int) -> Tensor:
    """Attention inside windows, (B, windows, h, n, n), as that of all tokens: (B, h, N, N), 0 between windows.

    Args: places: see `window_places`. count: N.
    """
    queries, keys = places[:, :, None].expand(-1, -1, places.shape[1]), places[:, None].expand(-1, places.shape[1], -1)
    real = (queries >= 0) & (keys >= 0)  # windows n n
    whole = windows.new_zeros(*windows.shape[:1], windows.shape[2], count * count)
    whole[..., (queries * count + keys)[real]] = windows.transpose(1, 2)[:, :, real]
    return whole.unflatten(2, (count, count))


def window_reach(places: Tensor, grid: Grid, shift: Grid) -> Tensor:
    """The keys that each query can attend to: bool (N, N), those of its window (`places`: see `window_places`) that the
    roll did not bring there from the other side of the map."""
    rows, columns = grid
    tokens = torch.arange(rows * columns)
    wrapped = torch.stack([tokens // columns < shift[0], tokens % columns < shift[1]], dim=1)  # N 2
    inside = torch.full((rows * columns,), -1)
    real = places >= 0
    inside[places[real]] = torch.arange(len(places))[:, None].expand_as(places)[real]
    return (inside[:, None] == inside) & (wrapped[:, None] == wrapped).all(dim=-1)


def pair_distances(grid: Grid, patch: tuple[float, float]) -> Tensor:
    """Pixels between the centres of every two patches, whose height and width are `patch`: float64 (RC, RC)."""
    rows, columns = grid
    y = torch.arange(rows, dtype=torch.float64).repeat_interleave(columns) * patch[0]
    x = torch.arange(columns, dtype=torch.float64).repeat(rows) * patch[1]
    return torch.hypot(y[:, None] - y, x[:, None] - x)


def uniform_distance(grid: Grid, patch: tuple[float, float], reach: Tensor | None = None) -> float:
    """Mean attention distance of uniform attention, in closed form: the mean over offsets, an offset of a rows and b
    columns being there (R - a)(C - b) times in each of the directions in which it can lie. With `reach`, bool (N, N),
    of what is uniform over the keys that each query can attend to."""
    if reach is not None:
        return float(((pair_distances(grid, patch) * reach).sum(dim=-1) / reach.sum(dim=-1)).mean())
    rows, columns = grid
    total = 0.0
    for a in range(rows):
        for b in range(columns):
            directions = (1 + (a > 0)) * (1 + (b > 0))
            total += directions * (rows - a) * (columns - b) * math.hypot(a * patch[0], b * patch[1])
    return total / (rows * columns) ** 2


def mean_distance(probabilities: Tensor, grid: Grid, extra: int, patch: tuple[float, float]) -> Tensor:
    """Mean attention distance in pixels (Dosovitskiy et al., 2021, figure 7): (B, h, N, N) -> float64 (B, h).

    The mean over patches of the distance to what they attend to, weighted by attention; extra tokens are left out, and
    the rows are made to sum to 1 again.
    """
    rows = probabilities[..., extra:, extra:].double()
    rows = rows / rows.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    distances = pair_distances(grid, patch).to(rows.device)
    return (rows * distances).sum(dim=-1).mean(dim=-1)


def entropy(probabilities: Tensor, reach: Tensor | None = None) -> Tensor:
    """Mean entropy of the rows, 0 (one token) to 1 (uniform over all N, or over those within `reach`, bool (N, N); rows
    that reach one token only are left out): (B, h, N, N) -> float64 (B, h)."""
    rows = torch.special.entr(probabilities.double()).sum(dim=-1)  # B h N
    if reach is None:
        return rows.mean(dim=-1) / math.log(probabilities.shape[-1])
    counts = reach.sum(dim=-1)
    return (rows[..., counts > 1] / counts[counts > 1].double().log()).mean(dim=-1)


def pooled_row(probabilities: Tensor, extra: int, class_token: bool) -> Tensor:
    """How much of every patch the class token takes, or without one the mean over all patches as queries: what the
    head reads. (B, ..., N, N) -> (B, ..., RC)."""
    if class_token:
        return probabilities[..., 0, extra:]
    return probabilities[..., extra:, extra:].mean(dim=-2)


def rollout(layers: Sequence[Tensor], discard: float = 0.0) -> Tensor:
    """Attention rollout (Abnar and Zuidema, 2020): layers of (B, h, N, N), first to last -> float64 (B, N, N).

    The product, last layer leftmost, of (mean over heads + identity) / 2 with rows that sum to 1. With `discard` that
    share of the entries of each mean over heads, the lowest, is set to 0 first (as jacobgil/vit-explain does, which
    spares the class token's own and then divides columns, not rows). A layer before extra tokens joined, with fewer
    tokens, leaves these as they are.
    """
    count = layers[-1].shape[-1]
    product = torch.eye(count, dtype=torch.float64, device=layers[-1].device)[None]
    for probabilities in layers:
        mean = probabilities.double().mean(dim=1)
        lowest = int(discard * mean[0].numel())
        if lowest:
            flat = mean.flatten(1).clone()
            flat.scatter_(1, flat.topk(lowest, dim=1, largest=False).indices, 0.0)
            mean = flat.view_as(mean)
        size = mean.shape[-1]
        mixing = torch.eye(count, dtype=torch.float64, device=mean.device).repeat(len(mean), 1, 1)
        mixing[:, count - size :, count - size :] += mean
        product = mixing / mixing.sum(dim=-1, keepdim=True) @ product
    return product


def mass_mask(weights: Tensor, share: float = MASS) -> Tensor:
    """The fewest patches that hold at least a share of the mass (Caron et al., 2021): (..., RC) -> bool (..., RC)."""
    ordered, order = weights.double().sort(dim=-1)
    below = ordered.cumsum(dim=-1) / ordered.sum(dim=-1, keepdim=True)
    return torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, below > 1 - share)


def outlier_share(norms: Tensor, factor: float = OUTLIER) -> float:
    """Share of the norms of patches (any shape) that are more than `factor` times their median (after Darcet et al.,
    2024, whose threshold is a norm of their networks)."""
    return float((norms > factor * norms.median()).double().mean())
