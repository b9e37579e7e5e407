"""Every encoding against an independent reference: timm's modules where definitions agree, else loops over pairs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import models
from models.catalogue.registry import load
from models.checks import contract
from models.checks.symmetries import differences, layouts, relaid
from models.initial import initialise
from models.positions.absolute import (
    Conditional,
    Fourier,
    Learned1d,
    Learned2d,
    Sincos1d,
    Sincos2d,
    Sincos2dSum,
    sinusoid,
)
from models.positions.base import Position, reaching
from models.positions.biases import Alibi2d, Bias2d, ContinuousBias, Fire, LookHere, by_pair
from models.positions.encodings import ENCODINGS
from models.positions.parabolic import Parabolic
from models.positions.relative import Relative1d, Relative2d, by_key, lines
from models.positions.rotary import RopeAxial, RopeMixed, pair_tables, turn

GRID, LARGER = (3, 4), (5, 6)
FINE = (6, 12)  # twice the rows, three times the columns
RELATIVE = ["relative_1d", "relative_2d", "bias_2d", "cpb", "fire", "pape", "alibi_2d", "rope_axial", "rope_mixed"]
RELATIVE += ["lookhere"]


def make(cls: Any, *, grid: tuple[int, int] = GRID, heads: int = 4, prefix: int = 0, **options: Any) -> Any:
    """An encoding of width 12 per head with random parameters, in double precision."""
    position = cls(grid=grid, width=12 * heads, depth=3, heads=heads, prefix=prefix, **options).double()
    initialise(position, 3)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in position.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return position


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def places(grid: tuple[int, int]) -> list[tuple[int, int]]:
    return list(itertools.product(range(grid[0]), range(grid[1])))


def clip(offset: int, reach: int) -> int:
    return max(-reach, min(reach, offset))


def stretched(table: Any, axis: int, length: int) -> Any:
    """numpy's `interp` along an axis, at half-pixel centres."""
    old = table.shape[axis]
    centres = (np.arange(length) + 0.5) * old / length - 0.5
    return np.apply_along_axis(lambda line: np.interp(centres, np.arange(old), line), axis, table)


# Absolute encodings


def test_course_case_2_cosine_similarities() -> None:
    """Course material: cosine similarities of 1-D sinusoids, width 64, to four decimals."""
    table = torch.nn.functional.normalize(sinusoid(torch.arange(16, dtype=torch.float64), 64), dim=1)
    for i, j, expected in ((5, 6, 0.9662), (5, 7, 0.8845), (5, 8, 0.7996), (6, 7, 0.9662), (7, 8, 0.9662)):
        assert round((table[i] @ table[j]).item(), 4) == expected


def test_course_case_3_order_of_similarities() -> None:
    """Course material: on a 4x4 grid patch 0 is as close to 1 as to 4, and closer to both than to 3."""
    table = torch.nn.functional.normalize(make(Sincos2dSum, grid=(4, 4)).table((4, 4)), dim=1)
    near, far = table[0] @ table[1], table[0] @ table[3]
    torch.testing.assert_close(near, table[0] @ table[4])
    assert near > far


def test_sincos_1d_by_formula() -> None:
    """Vaswani's formula, element by element in Python floats."""
    table = make(Sincos1d).table(LARGER)
    for p, j in itertools.product(range(30), range(24)):
        angle = p / 10000 ** (2 * j / 48)
        assert table[p, 2 * j].item() == pytest.approx(math.sin(angle), abs=1e-12)
        assert table[p, 2 * j + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)


def test_sincos_1d_interpolated_is_timms() -> None:
    """timm's `resample_abs_pos_embed` of the training grid's table (single precision inside)."""
    from timm.layers import resample_abs_pos_embed

    position = make(Sincos1d)
    trained = position.table(GRID)
    position.carry("interpolate")
    reference = resample_abs_pos_embed(trained[None], list(LARGER), list(GRID), num_prefix_tokens=0)[0]
    torch.testing.assert_close(position.table(LARGER), reference, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(position.table(GRID), trained)


@pytest.mark.parametrize("grid", [GRID, LARGER])
def test_sincos_2d_is_timms(grid: tuple[int, int]) -> None:
    """timm's `build_sincos2d_pos_embed` with its defaults (single precision)."""
    from timm.layers import build_sincos2d_pos_embed

    torch.testing.assert_close(make(Sincos2d).table(grid).float(), build_sincos2d_pos_embed(list(grid), 48))


@pytest.mark.parametrize("cls", [Sincos2d, Sincos2dSum])
def test_sinusoids_interpolated_meet_the_training_table(cls: Any) -> None:
    """On a grid finer by 2 and 3 `interpolate` gives every second token of every third column its training vector,
    `recompute` the first ones."""
    position = make(cls)
    trained = position.table(GRID).view(*GRID, 48)
    recomputed = position.table(FINE).view(*FINE, 48)
    torch.testing.assert_close(recomputed[:3, :4], trained)
    position.carry("interpolate")
    torch.testing.assert_close(position.table(FINE).view(*FINE, 48)[::2, ::3], trained)


def test_learned_1d_by_timm() -> None:
    """timm's `resample_abs_pos_embed` (single precision inside), with and without antialiasing, class row apart."""
    from timm.layers import resample_abs_pos_embed

    position = make(Learned1d, prefix=1)
    table = torch.cat([position.class_row, position.table])[None]
    tokens = random(2, 31, 48)
    for interpolation, antialias in (("bicubic_antialias", True), ("bicubic", False)):
        position.carry("interpolate", interpolation=interpolation)
        reference = resample_abs_pos_embed(table, list(LARGER), list(GRID), antialias=antialias)
        torch.testing.assert_close(position.add(tokens, LARGER), tokens + reference, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(position.add(tokens[:, :13], GRID), tokens[:, :13] + table)


def test_learned_1d_bilinear_by_numpy() -> None:
    """numpy's `interp` at half-pixel centres, by rows and then by columns."""
    position = make(Learned1d)
    position.carry("interpolate", interpolation="bilinear")
    added = position.add(torch.zeros(1, 30, 48, dtype=torch.float64), LARGER)[0].detach().numpy()
    image = position.table.detach().numpy().reshape(*GRID, 48)
    expected = stretched(stretched(image, 0, LARGER[0]), 1, LARGER[1])
    np.testing.assert_allclose(added, expected.reshape(30, 48), atol=1e-12)


def test_interpolation_is_chosen_by_name() -> None:
    """The default is the first of the declared words; an unknown one is refused with the nearest."""
    position, tokens = make(Learned1d), random(2, 30, 48)
    default = position.add(tokens, LARGER)
    position.carry("interpolate", interpolation="bilinear")
    assert not torch.allclose(position.add(tokens, LARGER), default)
    position.carry("interpolate", interpolation="bicubic_antialias")
    assert torch.equal(position.add(tokens, LARGER), default)
    with pytest.raises(models.ModelError, match="allowed: bicubic_antialias, bicubic, bilinear; did you mean `biline"):
        position.carry("interpolate", interpolation="bilinea")
    with pytest.raises(models.ModelError, match="'base' is not NAME=VALUE"):
        models.parse_way("rescale_base:base")


def test_learned_2d_by_numpy() -> None:
    """numpy's `interp` at half-pixel centres, column half first."""
    position = make(Learned2d, prefix=1)
    added = position.add(torch.zeros(1, 31, 48, dtype=torch.float64), LARGER)[0].detach().numpy()
    tables = (position.rows.detach().numpy(), position.columns.detach().numpy())
    axes = [stretched(table, 0, length) for table, length in zip(tables, LARGER, strict=True)]
    for p, (r, c) in enumerate(places(LARGER)):
        np.testing.assert_allclose(added[1 + p], np.concatenate([axes[1][c], axes[0][r]]), atol=1e-12)
    np.testing.assert_array_equal(added[0], position.class_row.detach().numpy()[0])


def test_fourier_by_formula() -> None:
    """The definition, token by token; the class token gets nothing; equal fractions of the image get equal vectors."""
    position = make(Fourier, prefix=1)
    added = position.add(torch.zeros(1, 31, 48, dtype=torch.float64), LARGER)[0]
    for p, (r, c) in enumerate(places(LARGER)):
        angles = 2 * math.pi * (position.frequencies @ torch.tensor([r / 5, c / 6], dtype=torch.float64))
        torch.testing.assert_close(added[1 + p], position.mix @ torch.cat([angles.sin(), angles.cos()]))
    assert not added[0].any()
    coarse, fine = (
        position.add(torch.zeros(1, 1 + n, 48, dtype=torch.float64), g)[0, 1:] for n, g in ((12, GRID), (48, (6, 8)))
    )
    torch.testing.assert_close(fine.view(6, 8, 48)[::2, ::2], coarse.view(3, 4, 48))


def test_fourier_frequencies_have_the_stated_spread() -> None:
    """Standard deviation 10 by default, drawn with the seed, saved with the weights."""
    network = models.create_model("vit", image_size=32, in_channels=3, num_classes=10, position="fourier", size="base")
    frequencies = network.state_dict()["position.frequencies"]
    assert abs(frequencies.std().item() - 10) < 0.6


def test_conditional_by_loops() -> None:
    """A 3x3 correlation per channel with zeros beyond the border, after the first block only; class token untouched."""
    position, tokens = make(Conditional, prefix=1), random(2, 13, 48)
    out = position.after_block(tokens, GRID, 0)
    image = tokens[:, 1:].view(2, 3, 4, 48)
    for p, (r, c) in enumerate(places(GRID)):
        total = image[:, r, c] + position.shift
        for dr, dc in itertools.product((-1, 0, 1), repeat=2):
            if 0 <= r + dr < 3 and 0 <= c + dc < 4:
                total = total + image[:, r + dr, c + dc] * position.kernel[:, 0, dr + 1, dc + 1]
        torch.testing.assert_close(out[:, 1 + p], total)
    assert torch.equal(out[:, 0], tokens[:, 0])
    assert position.after_block(tokens, GRID, 1) is tokens


# Relative encodings


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 4), (8, 8), (7, 5)])
def test_offsets_of_pairs_are_those_of_an_index(grid: tuple[int, int]) -> None:
    """Values and gradients of `by_pair`, to the bit: an index for every pair, and torch's gradient of indexing, which
    on a CPU adds up pair by pair."""
    image = random(3, 2 * grid[0] - 1, 2 * grid[1] - 1).float().requires_grad_()
    other = image.detach().clone().requires_grad_()
    rows, columns = (torch.tensor(axis) for axis in zip(*places(grid), strict=True))
    found = by_pair(image, grid)
    expected = other[:, rows[:, None] - rows + grid[0] - 1, columns[:, None] - columns + grid[1] - 1]
    assert torch.equal(found, expected)
    for one in (found, expected):
        one.backward(random(*found.shape, seed=1).float())
    assert image.grad is not None and other.grad is not None and torch.equal(image.grad, other.grad)


@pytest.mark.parametrize("length", [1, 2, 5, 64])
def test_offsets_of_keys_are_those_of_an_index(length: int) -> None:
    """Values and gradients of `by_key`, to the bit, and values of `lines`: an index for every query and key."""
    entries = random(2, 3, length, 2 * length - 1).requires_grad_()
    line = torch.arange(length)
    index = line[:, None] - line + length - 1
    found = by_key(entries)
    assert torch.equal(found, entries.gather(-1, index.expand(2, 3, -1, -1)))
    weights = random(*found.shape, seed=1)
    found.backward(weights)
    expected = torch.zeros_like(entries).scatter(-1, index.expand(2, 3, -1, -1), weights)
    assert entries.grad is not None and torch.equal(entries.grad, expected)
    assert torch.equal(lines(entries[0, 0].T, length), entries[0, 0].T[index])


@pytest.mark.parametrize("reach", [0, 1, 3, 6])
def test_reaching_clips_offsets(reach: int) -> None:
    """On every axis: offsets -reach..reach, clipped to the -3..3 of the table, picked one by one."""
    table = random(7, 7, 7)
    wanted = [clip(offset, 3) + 3 for offset in range(-reach, reach + 1)]
    for axis in range(-3, 3):
        expected = torch.stack([table.select(axis, entry) for entry in wanted], dim=axis)
        assert torch.equal(reaching(table, reach, axis), expected)


@pytest.mark.parametrize(
    "position", ["learned_1d", "learned_2d", "bias_2d", "relative_1d", "relative_2d", "cpb", "fire"]
)
@pytest.mark.parametrize("side", [8, 12])
def test_gradients_on_any_grid(position: str, side: int) -> None:
    """Finite differences (torch's gradcheck) of the logits by the encoding's parameters, on the training grid and on
    a larger one, carried in every way."""
    network = models.create_model(
        "vit", image_size=8, in_channels=1, num_classes=2, size="pico", scale=8, depth=1, patch_size=4,
        position=position,
    ).double()  # fmt: skip
    contract.randomise(network)
    images = random(1, 1, side, side)
    for way in models.carry_ways("vit", options={"position": position}):
        name, choices = models.parse_way(way)
        network.carry(name, **choices)
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        table = next(parameter for name, parameter in network.named_parameters() if name.startswith("position."))
        table.requires_grad_()
        assert torch.autograd.gradcheck(lambda _: network(images), (table,), fast_mode=True)


@pytest.mark.parametrize("way", ["training_raster", "interpolate"])
@pytest.mark.parametrize("grid", [GRID, LARGER])
def test_relative_1d_by_loops(way: str, grid: tuple[int, int]) -> None:
    """Pair by pair; `interpolate` against numpy's `interp` with the ends of the table on the ends of the raster."""
    position, count = make(Relative1d, prefix=1), grid[0] * grid[1]
    position.carry(way)
    queries, table = random(2, 4, 1 + count, 12), position.table[1]
    logits = position.bias(queries, grid, 1)
    for (i, (ri, ci)), (j, (rj, cj)) in itertools.product(enumerate(places(grid)), repeat=2):
        if way == "training_raster":
            row = table[clip((ri - rj) * 4 + (ci - cj), 11) + 11]
        else:
            at = (i - j + count - 1) * 22 / (2 * count - 2)
            row = torch.tensor([np.interp(at, np.arange(23), column) for column in table.detach().numpy().T])
        torch.testing.assert_close(logits[:, :, 1 + i, 1 + j], queries[:, :, 1 + i] @ row)
    special = queries @ position.class_embedding[1]
    torch.testing.assert_close(logits[..., 0], special)
    torch.testing.assert_close(logits[:, :, 0], special[:, :, :1].expand(-1, -1, 1 + count))


@pytest.mark.parametrize("reach", [0, 2])
@pytest.mark.parametrize("grid", [GRID, LARGER])
def test_relative_2d_by_loops(reach: int, grid: tuple[int, int]) -> None:
    """Pair by pair, offsets clipped by axis; values too."""
    position, count = make(Relative2d, prefix=1, clip=reach, values=True), grid[0] * grid[1]
    kr, kc = (reach, reach) if reach else (2, 3)
    queries, probabilities = random(2, 4, 1 + count, 12), random(2, 4, 1 + count, 1 + count).softmax(-1)
    logits, mixed = position.bias(queries, grid, 2), position.mix_values(probabilities, grid, 2)
    for i, (ri, ci) in enumerate(places(grid)):
        value = torch.zeros(2, 4, 12, dtype=torch.float64)
        for j, (rj, cj) in enumerate(places(grid)):
            r, c = clip(ri - rj, kr) + kr, clip(ci - cj, kc) + kc
            key = position.rows[2, r] + position.columns[2, c]
            torch.testing.assert_close(logits[:, :, 1 + i, 1 + j], queries[:, :, 1 + i] @ key)
            value += probabilities[:, :, 1 + i, 1 + j, None] * (
                position.value_rows[2, r] + position.value_columns[2, c]
            )
        torch.testing.assert_close(mixed[:, :, 1 + i], value)
    torch.testing.assert_close(logits[..., 0], queries @ position.class_embedding[2])
    assert not mixed[:, :, 0].any()


def test_bias_2d_is_timms() -> None:
    """timm's `RelPosBias` (BEiT) at the training grid, and its `resize_rel_pos_bias_table_simple` at another."""
    from timm.layers import RelPosBias, resize_rel_pos_bias_table_simple

    position = make(Bias2d)
    reference = RelPosBias(GRID, num_heads=4).double()
    with torch.no_grad():
        reference.relative_position_bias_table.copy_(position.table[1].flatten(1).T)
    torch.testing.assert_close(position.bias(random(1, 4, 12, 12), GRID, 1), reference.get_bias()[0])
    resized = resize_rel_pos_bias_table_simple(position.table[1], LARGER, (4, 9, 11))
    logits = position.bias(random(1, 4, 30, 12), LARGER, 1)
    position.carry("clip")
    clipped = position.bias(random(1, 4, 30, 12), LARGER, 1)
    for (i, (ri, ci)), (j, (rj, cj)) in itertools.product(enumerate(places(LARGER)), repeat=2):
        torch.testing.assert_close(logits[:, i, j], resized[:, ri - rj + 4, ci - cj + 5])
        torch.testing.assert_close(clipped[:, i, j], position.table[1][:, clip(ri - rj, 2) + 2, clip(ci - cj, 3) + 3])


def test_bias_2d_class_entries() -> None:
    """The class token's three entries: it to tokens, tokens to it, it to itself."""
    position = make(Bias2d, prefix=1)
    logits, entries = position.bias(random(1, 4, 13, 12), GRID, 0), position.class_entries[0]
    torch.testing.assert_close(logits[:, 0, 1:], entries[:, :1].expand(-1, 12))
    torch.testing.assert_close(logits[:, 1:, 0], entries[:, 1:2].expand(-1, 12))
    torch.testing.assert_close(logits[:, 0, 0], entries[:, 2])


@pytest.mark.parametrize("way", ["recompute", "normalise"])
@pytest.mark.parametrize("grid", [GRID, LARGER])
def test_cpb_is_timms(way: str, grid: tuple[int, int]) -> None:
    """timm's `RelPosMlp` in Swin V2's mode: with the training window as pretrained window, or with the new one."""
    from timm.layers import RelPosMlp

    position = make(ContinuousBias, hidden=16, prefix=1)
    position.carry(way)
    pretrained = GRID if way == "recompute" else (0, 0)
    reference = RelPosMlp(grid, 4, hidden_dim=16, mode="swin", pretrained_window_size=pretrained).double().eval()
    with torch.no_grad():
        reference.mlp.fc1.weight.copy_(position.first[1])
        reference.mlp.fc1.bias.copy_(position.first_bias[1])
        reference.mlp.fc2.weight.copy_(position.second[1])
    logits = position.bias(random(1, 4, 1 + grid[0] * grid[1], 12), grid, 1)
    torch.testing.assert_close(
        logits[:, 1:, 1:], reference.get_bias()[0], atol=1e-4, rtol=1e-5
    )  # its coordinates: float32
    assert (logits[:, 0] == 8).all() and (logits[:, :, 0] == 8).all()


def test_cpb_on_one_row() -> None:
    """An axis of length one gives the coordinate 0, not a division by zero."""
    position = make(ContinuousBias, hidden=16, grid=(1, 4))
    assert not position.offset_coordinates((1, 4))[:, 0].any()
    assert torch.isfinite(position.bias(random(1, 4, 24, 12), (4, 6), 0)).all()


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize("grid", [GRID, (2, 2), LARGER])
def test_fire_by_loops(grid: tuple[int, int], prefix: int) -> None:
    """The definition, pair by pair in Python floats: the axes' offsets, over the threshold where the grid is shorter,
    else over the grid's own longest."""
    position = make(Fire, hidden=5, prefix=prefix)
    with torch.no_grad():
        position.threshold[1] = -0.2  # L = 1.2 * 3: between the longest offsets of the grids
    logits = position.bias(random(1, 4, prefix + grid[0] * grid[1], 12), grid, 1)
    spacing = abs(position.spacing[1].item())
    psi = [math.log(spacing * max(1.2 * 3, length - 1) + 1) + 1e-6 for length in grid]  # of the whole of each axis
    for (i, a), (j, b) in itertools.product(enumerate(places(grid)), repeat=2):
        shares = [
            math.copysign(math.log(spacing * abs(q - k) + 1), q - k) / whole
            for q, k, whole in zip(a, b, psi, strict=True)
        ]
        for head in range(4):
            expected = 0.0
            for unit in range(5):
                weights = position.first[1, unit].tolist()
                inside = weights[0] * shares[0] + weights[1] * shares[1] + position.first_bias[1, unit].item()
                expected += position.second[1, head, unit].item() * max(inside, 0.0)
            assert logits[head, prefix + i, prefix + j].item() == pytest.approx(expected, abs=1e-12)
    assert not logits[:, :prefix].any() and not logits[:, :, :prefix].any()


def test_fire_starts_as_stated_and_interpolates() -> None:
    """c 0.1 and L 1.01 of the longest offset; then at any larger grid the ends of both axes have the bias that offsets
    at the ends of the training grid have, to the hundredth that L is longer; one row alone is no division by zero."""
    position = Fire(grid=(8, 8), width=48, depth=3, heads=4, prefix=0)
    initialise(position, 0)
    assert position.spacing.tolist() == pytest.approx([0.1] * 3) and position.threshold.tolist() == pytest.approx(
        [0.01] * 3
    )
    trained, larger = (position.bias(torch.zeros(1, 4, n * n, 12), (n, n), 0) for n in (8, 32))
    torch.testing.assert_close(larger[:, -1, 0], trained[:, -1, 0], atol=1e-2, rtol=0)
    assert (larger[:, -1, 0] - larger[:, 7 * 33, 0]).abs().max() > 0.05  # farther than the same offset
    one = make(Fire, grid=(1, 1))
    assert torch.isfinite(one.bias(random(1, 4, 24, 12), (1, 1), 0)).all()
    assert torch.isfinite(one.bias(random(1, 4, 24, 12), (4, 6), 0)).all()


@pytest.mark.parametrize("prefix", [0, 1, 5])
@pytest.mark.parametrize(("grid", "way"), [(GRID, "recompute"), (LARGER, "recompute"), (LARGER, "normalise")])
def test_pape_by_loops(grid: tuple[int, int], way: str, prefix: int) -> None:
    """The paper's sum of parabolas, pair by pair and parabola by parabola in Python floats: (b z - a z^2) / sqrt(d)."""
    position = make(Parabolic, parabolas=3, heads=2, prefix=prefix)
    position.carry(way)
    scales = [old / new if way == "normalise" else 1.0 for old, new in zip(GRID, grid, strict=True)]
    tokens = random(2, prefix + grid[0] * grid[1], 24)
    logits = position.logit_bias(tokens, random(1), grid, 2)
    maps, directions = position.coefficients[2].view(2, 2, 3, 24), position.directions[2].view(2, 3, 2)
    for (i, a), (j, b) in itertools.product(enumerate(places(grid)), repeat=2):
        dr, dc = ((q - k) * scale for q, k, scale in zip(a, b, scales, strict=True))
        for image, head in itertools.product(range(2), range(2)):
            total = 0.0
            for parabola in range(3):
                raw, slope = (maps[:, head, parabola] @ tokens[image, prefix + i]).tolist()
                along_row, along_column = directions[head, parabola].tolist()
                z = along_row * dr + along_column * dc
                total += slope * z - math.log1p(math.exp(raw)) * z**2
            found = logits[image, head, prefix + i, prefix + j].item()
            assert found == pytest.approx(total / math.sqrt(12), rel=1e-10, abs=1e-10)
    assert not logits[:, :, :prefix].any() and not logits[:, :, :, :prefix].any()


@pytest.mark.parametrize("name", ["fire", "pape"])
def test_biases_stay_exact_in_half_precision(name: str) -> None:
    """Under autocast as without, to the bit, and in a network cast to bfloat16 single: bfloat16 tells no more than 256
    steps apart."""
    position, tokens = make(load(ENCODINGS[name].entry)).float(), random(2, 12, 48).float()
    exact = position.logit_bias(tokens, tokens, GRID, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(position.logit_bias(tokens, tokens, GRID, 1), exact)
    position.to(torch.bfloat16)
    assert position.logit_bias(tokens.bfloat16(), tokens.bfloat16(), GRID, 1).dtype == torch.float32


def test_fourier_cast_to_bfloat16_keeps_its_frequencies() -> None:
    """What is added is within bfloat16's rounding of float32's, also when the cast is not the first thing that moves
    it; with frequencies of eight bits it is 13 % off and more."""
    position = make(Fourier).float()
    with torch.no_grad():
        position.mix.copy_(torch.eye(position.width))
    exact = position.add(torch.zeros(1, 12, position.width), GRID)
    rounded = position.to(torch.bfloat16).add(torch.zeros(1, 12, position.width, dtype=torch.bfloat16), GRID)
    assert rounded.dtype == torch.bfloat16 and position.frequencies.dtype == torch.float32
    assert (rounded.float() - exact).abs().max() <= 2**-8
    assert position.to("meta").frequencies.device.type == "meta"
    assert make(Fourier).double().frequencies.dtype == torch.float64


@pytest.mark.parametrize("grid", [GRID, LARGER])
def test_alibi_2d_by_loops(grid: tuple[int, int]) -> None:
    """Minus slope times distance, pair by pair; slopes 1/4, 1/16, 1/64, 1/256 for four heads."""
    position = make(Alibi2d, prefix=1)
    logits = position.bias(random(1, 4, 1 + grid[0] * grid[1], 12), grid, 0)
    for (i, a), (j, b) in itertools.product(enumerate(places(grid)), repeat=2):
        for head, slope in enumerate((1 / 4, 1 / 16, 1 / 64, 1 / 256)):
            assert logits[head, 1 + i, 1 + j].item() == pytest.approx(-slope * math.dist(a, b), abs=1e-12)
    assert not logits[:, 0].any() and not logits[:, :, 0].any()


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (1, [8]),
        (2, [4, 8]),
        (3, [4, 8, 2]),
        (6, [2, 4, 6, 8, 1, 3]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_alibi_slopes_are_the_papers(heads: int, exponents: list[float]) -> None:
    """Reference: Press et al. (2022), section 3 and the released code, slopes 2^-exponent written out by hand."""
    position = Alibi2d(grid=GRID, width=12 * heads, depth=1, heads=heads, prefix=0)
    assert position.slopes().tolist() == pytest.approx([2.0**-exponent for exponent in exponents], rel=1e-14)


def test_alibi_2d_rescaled_meets_training() -> None:
    """On a grid finer by 2 and 3 with rescaled slopes, every second token of every third column has its training
    biases; a factor multiplies."""
    position = make(Alibi2d)
    trained, fine = position.table(GRID), position.table(FINE)
    position.carry("rescale")
    rescaled = position.table(FINE).view(4, *FINE, *FINE)[:, ::2, ::3, ::2, ::3]
    torch.testing.assert_close(rescaled.reshape(4, 12, 12), trained)
    position.carry("rescale", factor=1.6)
    torch.testing.assert_close(position.table(FINE), 1.6 * fine)


def sees(side: str, dr: int, dc: int, fov: int) -> bool:
    """Whether a key that lies `dr` rows below and `dc` columns right of the query is in view; angles by arctangent."""
    if dr == dc == 0:
        return True
    facing = {"up": 90, "down": 270, "left": 180, "right": 0}[side]
    turned = abs((math.degrees(math.atan2(-dr, dc)) - facing + 180) % 360 - 180)
    return turned <= fov / 2 + 1e-9


@pytest.mark.parametrize(("fov", "heads"), [(180, 4), (90, 4), (180, 8), (90, 12)])
def test_lookhere_by_angles(fov: int, heads: int) -> None:
    """Field of view by the angle to the key, slopes by group, the last four of eight or more heads undirected."""
    position = make(LookHere, heads=heads, fov=fov, prefix=1)
    for block, strength in enumerate((1.5, 1.0, 0.5)):
        logits = position.bias(random(1, heads, 13, 12), GRID, block)
        for head in range(heads):
            undirected = heads >= 8 and head >= heads - 4
            slope = 4.0 ** -(head - heads + 5) if undirected else 2.0 ** -(head // 4 + 1)
            for (i, (ri, ci)), (j, (rj, cj)) in itertools.product(enumerate(places(GRID)), repeat=2):
                side = ("up", "down", "left", "right")[head % 4]
                visible = undirected or sees(side, rj - ri, cj - ci, fov)
                expected = -strength * slope * math.dist((ri, ci), (rj, cj)) if visible else -math.inf
                assert logits[head, 1 + i, 1 + j].item() == pytest.approx(expected, abs=1e-12)
        assert not logits[:, 0].any() and not logits[:, :, 0].any()


def test_lookhere_octants() -> None:
    """With a view of 45 degrees eight heads share one slope and cover every other token once, borders twice."""
    position = make(LookHere, heads=12, fov=45, grid=(5, 5))
    visible, slopes = position.views((5, 5))
    assert slopes[:8].tolist() == [0.5] * 8
    centre = visible[:8, 12].view(8, 5, 5).sum(0)
    assert centre[2, 2] == 8 and centre[0, 2] == centre[0, 0] == 2 and centre[0, 1] == centre[1, 0] == 1
    with pytest.raises(models.ModelError, match="12, 20"):
        make(LookHere, heads=8, fov=45)


def rotated(position: Position, queries_keys: Tensor, grid: tuple[int, int], block: int) -> Tensor:
    """Queries and keys, stacked, 2 B h N d -> the same, rotated."""
    return torch.stack(position.rotate(*queries_keys, grid, block))


@pytest.mark.parametrize("cls", [RopeAxial, RopeMixed])
@pytest.mark.parametrize("grid", [GRID, LARGER])
def test_rope_is_timms(cls: Any, grid: tuple[int, int]) -> None:
    """timm's rotary embeddings of the same paper: `RotaryEmbeddingCat` by index, and `RotaryEmbeddingMixed`."""
    from timm.layers import RotaryEmbeddingCat, apply_rot_embed_cat
    from timm.layers.pos_embed_sincos import RotaryEmbeddingMixed

    position, count = make(cls), grid[0] * grid[1]
    if cls is RopeAxial:
        layer = RotaryEmbeddingCat(12, temperature=100.0, in_pixels=False, feat_shape=None)
        halves = layer.get_embed(list(grid)).view(count, 2, 2, 6)  # sine and cosine; its rows first, ours last
        embedding = halves.flip(2).reshape(count, 24)
    else:
        layer = RotaryEmbeddingMixed(48, 3, 4)
        with torch.no_grad():
            layer.freqs.copy_(position.frequencies)
        embedding = layer.get_embed(list(grid))[1]
    queries_keys = random(2, 2, 4, count, 12)
    expected = apply_rot_embed_cat(queries_keys, embedding.double())
    found = rotated(position, queries_keys, grid, 1)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)  # its own: float32


def test_rope_mixed_by_loops() -> None:
    """The definition, pair by pair of channels, in complex numbers."""
    position, x = make(RopeMixed, prefix=1), random(2, 2, 4, 31, 12)
    out = rotated(position, x, LARGER, 2)
    for p, (r, c) in enumerate(places(LARGER)):
        for head, t in itertools.product(range(4), range(6)):
            fx, fy = position.frequencies[:, 2, head, t]
            factor = torch.polar(torch.ones((), dtype=torch.float64), fx * c + fy * r)
            pair = torch.view_as_complex(x[:, :, head, 1 + p, 2 * t : 2 * t + 2].contiguous()) * factor
            torch.testing.assert_close(out[:, :, head, 1 + p, 2 * t : 2 * t + 2], torch.view_as_real(pair))
    assert torch.equal(out[:, :, :, 0], x[:, :, :, 0])


def test_rope_mixed_starts_with_the_stated_magnitudes() -> None:
    """10^(-4t/d) twice, along two orthogonal directions of one angle per head and block."""
    position = RopeMixed(grid=GRID, width=48, depth=3, heads=4, prefix=0)
    initialise(position, 0)
    magnitudes = position.frequencies.square().sum(0).sqrt()  # l h d/2
    expected = torch.tensor([10 ** (-4 * t / 12) for t in range(3)] * 2)
    torch.testing.assert_close(magnitudes, expected.expand(3, 4, 6))
    dot = (position.frequencies[..., :3] * position.frequencies[..., 3:]).sum(0)
    torch.testing.assert_close(dot, torch.zeros(3, 4, 3), atol=1e-6, rtol=0)
    angles = torch.atan2(position.frequencies[1, ..., 0], position.frequencies[0, ..., 0])
    assert len(set(angles.flatten().tolist())) == 12


def test_rope_unit_coordinates_are_dinov3s() -> None:
    """timm's `RotaryEmbeddingDinoV3`: the same angles, columns before rows here."""
    from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3

    position = make(RopeAxial, coordinates="unit")
    sine, cosine = RotaryEmbeddingDinoV3(12, rotate_half=False).get_embed(list(LARGER)).chunk(2, dim=-1)
    ours = position.angles(LARGER)  # N d/2
    order = [3, 4, 5, 0, 1, 2]
    torch.testing.assert_close(ours.sin().float(), sine[:, ::2][:, order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.cos().float(), cosine[:, ::2][:, order], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cls", [RopeAxial, RopeMixed])
def test_rope_ways(cls: Any) -> None:
    """`normalise` meets the training angles at every second token of every third column; a given base is that of a
    network built with it."""
    position, x = make(cls), random(2, 1, 4, 72, 12)
    some = x.view(2, 1, 4, *FINE, 12)[:, :, :, ::2, ::3].reshape(2, 1, 4, 12, 12)
    trained, plain = rotated(position, some, GRID, 0), rotated(position, x, FINE, 0)
    position.carry("normalise")
    fine = rotated(position, x, FINE, 0).view(2, 1, 4, *FINE, 12)[:, :, :, ::2, ::3].reshape(2, 1, 4, 12, 12)
    torch.testing.assert_close(fine, trained)
    position.carry("rescale_base", base=position.base)
    torch.testing.assert_close(rotated(position, x, FINE, 0), plain)
    position.carry("rescale_base", base=700.0)
    if cls is RopeAxial:
        torch.testing.assert_close(rotated(position, x, FINE, 0), rotated(make(cls, base=700.0), x, FINE, 0))
    position.carry("rescale_base")
    slowest = position.rates(position.bases((6, 8))[0])[-1] * 6
    torch.testing.assert_close(slowest, position.rates(position.base)[-1] * 3)
    assert position.bases((6, 4)) == pytest.approx((position.base * 2 ** (12 / 8), position.base))  # rows only
    with pytest.raises(models.ModelError, match=r"no `bass`.*did you mean `base`"):
        position.carry("rescale_base", bass=3.0)
    with pytest.raises(models.ModelError, match="above 0"):
        position.carry("rescale_base", base=0.0)


@pytest.mark.parametrize("choices", [{}, {"base": 700.0}])
@pytest.mark.parametrize("cls", [RopeAxial, RopeMixed])
def test_rope_rescaled_by_loops(cls: Any, choices: dict[str, float]) -> None:
    """The definition, pair by pair of channels, in complex numbers: each axis turns by a base of its own, base
    (H/H0)^(d/(d-4)) or the given one; learned frequencies are multiplied by new rate over old."""
    position, x = make(cls), random(2, 1, 4, 72, 12)
    position.carry("rescale_base", **choices)
    old = 100.0 if cls is RopeAxial else 10.0
    by_row, by_column = (choices.get("base", old * finer**1.5) for finer in (2, 3))
    angles = torch.empty(4, 72, 6, dtype=torch.float64)  # h N d/2
    for (p, (r, c)), head, t in itertools.product(enumerate(places(FINE)), range(4), range(6)):
        power = -(t % 3) / 3  # -4t/d
        if cls is RopeAxial:
            angles[head, p, t] = c * by_column**power if t < 3 else r * by_row**power
        else:
            fx, fy = position.frequencies[:, 1, head, t].tolist()
            angles[head, p, t] = fx * (by_column / old) ** power * c + fy * (by_row / old) ** power * r
    expected = torch.view_as_complex(x.unflatten(-1, (6, 2))) * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(rotated(position, x, FINE, 1), torch.view_as_real(expected).flatten(-2))


def test_turn_keeps_lengths() -> None:
    """A rotation changes no pair's length."""
    x = random(3, 5, 12)
    turned = turn(x, *pair_tables(random(5, 6, seed=1), 0))
    torch.testing.assert_close(turned.unflatten(-1, (6, 2)).norm(dim=-1), x.unflatten(-1, (6, 2)).norm(dim=-1))


# Properties


def logits_of_equal_contents(position: Position, grid: tuple[int, int], block: int) -> Tensor:
    """Pre-softmax logits h N N when every token has the same query and the same key."""
    count = grid[0] * grid[1]
    queries_keys = random(2, 1, position.heads, 1, position.head_width).expand(-1, -1, -1, count, -1)
    queries, keys = position.rotate(*queries_keys, grid, block)
    logits = queries @ keys.transpose(-2, -1)
    tokens = random(1, 1, position.width, seed=1).expand(-1, count, -1)
    bias = position.logit_bias(tokens, queries_keys[0], grid, block)
    return (logits if bias is None else logits + bias)[0]


@pytest.mark.parametrize("grid", [GRID, LARGER])
@pytest.mark.parametrize("name", RELATIVE)
def test_relative_encodings_see_offsets_only(name: str, grid: tuple[int, int]) -> None:
    """With equal contents, the logits of two pairs with equal (dr, dc) are equal, and differ between some offsets."""
    position = make(load(ENCODINGS[name].entry))
    logits, seen = logits_of_equal_contents(position, grid, 1), {}
    for (i, (ri, ci)), (j, (rj, cj)) in itertools.product(enumerate(places(grid)), repeat=2):
        first = seen.setdefault((ri - rj, ci - cj), logits[:, i, j])
        torch.testing.assert_close(logits[:, i, j], first, atol=1e-10, rtol=1e-10)
    assert len({tuple(value.tolist()) for value in seen.values()}) > 1


@pytest.mark.parametrize("shape", [(8, 8), (8, 12)])
@pytest.mark.parametrize("name", models.position_names())
def test_tokens_without_a_place_are_all_alike(name: str, shape: tuple[int, int], randomise: Any) -> None:
    """Reference: the class token alone, counted five times. With four registers that equal it, every softmax has five
    equal terms for one, which is the logarithm of five added to the class token's logits."""
    options: dict[str, Any] = {"image_size": 8, "in_channels": 1, "num_classes": 2, "size": "pico", "scale": 8}
    options |= {"position": name, "class_token": True}
    if name == "relative_2d":
        options["relative_values"] = True
    one = randomise(models.create_model("vit", **options).double()).eval()
    five = models.create_model("vit", registers=4, **options).double().eval()
    five.load_state_dict({**one.state_dict(), "registers": one.class_token.expand(-1, 4, -1)})
    images, grid = random(2, 1, *shape), (shape[0] // 2, shape[1] // 2)
    tokens = torch.cat([one.class_token.expand(2, -1, -1), one.embed(images).flatten(2).transpose(1, 2)], dim=1)
    tokens = one.position.add(tokens, grid)
    counted = torch.zeros(tokens.shape[1], tokens.shape[1], dtype=torch.float64)
    counted[:, 0] = math.log(5)
    logits, parts = five.forward_parts(images)
    for index, block in enumerate(one.blocks):
        torch.testing.assert_close(parts[f"block.{index - 1}" if index else "embedding"][:, 4:], tokens)
        tokens = block(tokens, one.position, grid, index, None, counted)
        tokens = one.position.after_block(tokens, grid, index)
    torch.testing.assert_close(logits, one.head(one.norm(tokens)[:, 0]))
    torch.testing.assert_close(five(images), logits)


def test_layouts_by_loops() -> None:
    """Loops over patches and pixels."""
    images = random(2, 3, 8, 8)
    for places in layouts(4).values():
        expected = torch.empty_like(images)
        for row, column in itertools.product(range(4), repeat=2):
            source = places[row, column].item()
            r, c = 2 * (source // 4), 2 * (source % 4)
            expected[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = images[:, :, r : r + 2, c : c + 2]
        assert torch.equal(relaid(images, places, 2), expected)


INVARIANT = {
    "none": set(layouts(4)),
    "alibi_2d": {"transposition", "left-right", "up-down", "rotation"},
    "sincos_2d_sum": {"transposition"},
}


@pytest.mark.parametrize("name", models.position_names())
def test_symmetries(name: str, randomise: Any) -> None:
    """With mean pooling: `none` ignores any permutation of patches, `alibi_2d` flips, transposition and rotation,
    `sincos_2d_sum` transposition; every other encoding tells all of them apart."""
    network = models.create_model(
        "vit", image_size=8, in_channels=1, num_classes=10, size="pico", scale=8, position=name
    )  # fmt: skip
    for layout, difference in differences(randomise(network.double()).eval(), 8, 2):
        if layout in INVARIANT.get(name, set()):
            assert difference < 1e-10, layout
        else:
            assert difference > 1e-8, layout


@pytest.mark.parametrize("name", models.position_names())
def test_declarations_agree_with_the_classes(name: str) -> None:
    """What is declared without torch is what the class does: ways of carrying and names of options."""
    encoding = ENCODINGS[name]
    cls = load(encoding.entry)
    assert tuple(dict.fromkeys(models.parse_way(way)[0] for way in encoding.ways)) == cls.ways
    for way, choices in map(models.parse_way, encoding.ways):
        for choice, value in choices.items():
            assert value in cls.choices[way][choice]
    own = {option.name.removeprefix(encoding.prefix): option.default for option in encoding.options}
    position = cls(grid=GRID, width=48, depth=3, heads=4, prefix=0, **own)
    assert isinstance(position, Position)
    assert set(position.choices) <= set(position.ways)


KEEP = [
    *(("vit", {"position": position}) for position in models.position_names()),
    ("vit", {"position": "learned_1d", "attention_window": 1}),
    *(("ladder", {"mixer": mixer}) for mixer in ("local_attention", "ssd")),
]


@pytest.mark.parametrize(("name", "options"), KEEP)
def test_the_default_way_again_keeps_the_constants(name: str, options: dict[str, Any]) -> None:
    """A validation chooses the default way between training steps that are recorded on a GPU and go on reading the
    tables of before. Reference: the very tensors after a forward pass."""
    options = {"scale": 8, **options}
    network: Any = models.create_model(name, image_size=8, in_channels=3, num_classes=10, size="pico", **options)
    images = torch.zeros(2, 3, 8, 8)
    network(images)
    before = dict(network.position._constants)
    for way in models.carry_ways(name, options=models.resolve_options(name, size="pico", options=options))[:1]:
        contract.carry(network, way)
    network(images)
    after = network.position._constants
    assert before.keys() == after.keys() and all(after[key] is table for key, table in before.items())
