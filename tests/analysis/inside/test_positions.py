"""`look --at positions`: what an encoding does, read through its hooks, held against closed forms and brute force."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

import models
from analysis.elements.layout import PHONE
from analysis.inside.panel import Choices, Panel
from analysis.inside.positions import numbers
from analysis.inside.positions.reading import added, heard, offset_bias, read
from analysis.inside.positions.view import panels
from analysis.inside.subject import Subject, opened
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Run
from models.positions.base import resize_image

SMALL = {"size": "pico", "image_size": 16, "in_channels": 3, "num_classes": 4}


def network_of(name: str, **options: Any) -> Any:
    network = models.create_model(name, **{**SMALL, **options}).eval()
    network.initialise(0)
    return network


def subject_of(name: str, **options: Any) -> Subject:
    network = network_of(name, **options)
    side = int(options.get("image_size", 16))
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    return Subject(name, network, images, np.zeros((2, side, side, 3), np.uint8), torch.zeros(2), (0, 1), "noise", ())


def looked(name: str, choices: Choices = Choices(), **options: Any) -> dict[str, Panel]:  # noqa: B008  # frozen
    return {panel.name: panel for panel in panels([subject_of(name, **options)], choices)}


def test_sinusoids_are_as_alike_as_the_course_says() -> None:
    """Reference: the worked example of a course's slides, sinusoids of 64 channels at 16 places."""
    cosine = looked("vit", position="sincos_1d", width=64, heads=2)["similarity"].numbers["cosine"]
    pairs = {(5, 6): 0.9662, (5, 7): 0.8845, (5, 8): 0.7996, (6, 7): 0.9662, (7, 8): 0.9662}
    assert {pair: round(float(cosine[pair]), 4) for pair in pairs} == pairs


def test_a_sum_of_sinusoids_knows_neighbours_in_both_directions() -> None:
    """Reference: the heat map of the same course: patch 0 is as close to 1 as to 4, and closer to both than to 3."""
    cosine = looked("vit", position="sincos_2d_sum", width=64, heads=2)["similarity"].numbers["cosine"]
    assert cosine[0, 1] == pytest.approx(cosine[0, 4])
    assert cosine[0, 1] > cosine[0, 3]


def test_the_mean_of_an_offset_is_that_of_its_pairs() -> None:
    """Reference: a loop over all pairs, on a grid of 2 x 3, with a bias that depends on queries and images."""
    grid, count = (2, 3), 6
    bias = torch.randn(4, 2, 1 + count, 1 + count, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = offset_bias(bias, grid)
    for down in (-1, 0, 1):
        for across in (-2, -1, 0, 1, 2):
            seen = [
                bias[:, :, 1 + query, 1 + key]
                for query in range(count)
                for key in range(count)
                if (query // 3 - key // 3, query % 3 - key % 3) == (down, across)
            ]
            values, place = torch.cat(seen), (slice(None), down + 1, across + 2)
            np.testing.assert_allclose(found.mean[place], values.mean(0), atol=1e-12)
            np.testing.assert_allclose(found.deviation[place], values.std(0, unbiased=False), atol=1e-7)


def test_biases_are_those_of_their_definitions() -> None:
    """References: the tables of bias_2d and Swin themselves, ALiBi's formula, and LookHere's blind half."""
    images = torch.zeros(1, 3, 16, 16)
    drawn = network_of("vit", position="bias_2d", class_token=True)
    torch.nn.init.normal_(drawn.position.table)
    for layer, bias in enumerate(heard(drawn, images)):
        table = drawn.position.table[layer]
        np.testing.assert_allclose(bias.mean, table.detach().numpy(), rtol=1e-6)
        assert not bias.deviation.any()
    assert "bias" not in vars(drawn.position)  # the hook is the class's again
    swin = network_of("swin", image_size=32)
    found = heard(swin, torch.zeros(1, 3, 32, 32))
    tables = [tensor for name, tensor in swin.named_parameters() if name.endswith("bias_table")]
    assert len(found) == len(tables)
    for bias, table in zip(found, tables, strict=True):
        np.testing.assert_allclose(bias.mean, table.detach().numpy(), rtol=1e-6)
    alibi = heard(network_of("vit", position="alibi_2d", heads=4), images)
    down, across = np.mgrid[-3:4, -3:4]
    np.testing.assert_allclose(alibi[0].mean[1], -(2.0**-4) * np.hypot(down, across), rtol=1e-6)
    blind = heard(network_of("vit", position="lookhere", heads=4), images)[0].mean[0]  # up: no key below the query
    assert np.isneginf(blind[:3]).all()
    assert np.isfinite(blind[3:]).all()


def test_a_bias_of_content_is_the_mean_over_real_queries() -> None:
    """Reference: the logits of the first layer with and without the encoding, on the images."""
    subject = subject_of("vit", position="relative_2d")
    network: Any = subject.network
    bias = heard(network, subject.images)[0]
    block, position = network.blocks[0], network.position
    with torch.no_grad():
        tokens = block.norm1(position.add(network.embed(subject.images).flatten(2).transpose(1, 2), (4, 4)))
        queries = block.attention.qkv(tokens).view(2, 16, 3, block.attention.heads, -1)[:, :, 0].transpose(1, 2)
        offset = position.rows[0][3 + 1] + position.columns[0][3 - 2]  # dr = 1, dc = -2
        products = queries * block.attention.head_width**-0.5 @ offset  # B h N
    these = [4 * row + column for row in (1, 2, 3) for column in (0, 1)]  # queries that have such a key
    np.testing.assert_allclose(bias.mean[:, 3 + 1, 3 - 2], products[:, :, these].mean((0, 2)), rtol=1e-4)
    assert bias.deviation.any()


def test_rotation_decays_as_its_angles_say() -> None:
    """References: the mean of cosines, and the sums of section 3.4.3 of the RoFormer paper, written out."""
    network = network_of("vit", position="rope_axial", width=32, heads=2)  # d = 16: 4 rates for each axis
    rotation = read(network, torch.zeros(1, 3, 16, 16)).rotations[0]
    assert rotation.bound is not None
    rates = [100 ** (-4 * t / 16) for t in range(4)]
    for down, across in ((0, 0), (0, 2), (3, -1)):
        angles = [rate * across for rate in rates] + [rate * down for rate in rates]
        mean = sum(math.cos(angle) for angle in angles) / 8
        assert rotation.mean[1, 3 + down, 3 + across] == pytest.approx(mean, abs=1e-6)
        sums = np.abs(np.cumsum(np.exp(1j * np.array(angles)))).mean() / np.arange(1, 9).mean()
        assert rotation.bound[0, 3 + down, 3 + across] == pytest.approx(sums, abs=1e-6)


def test_spectrum_of_a_wave_is_its_frequency() -> None:
    """References: a wave of one and two periods; the eigenvalues of the covariance of a random table."""
    row, column = np.divmod(np.arange(32), 8)
    wave = np.cos(2 * np.pi * (row / 4 + 2 * column / 8))[:, None] * np.array([1.0, -2.0]) + 5
    power = numbers.fourier_power(wave, (4, 8))
    expected = np.zeros((4, 8))
    expected[2 + 1, 4 + 2] = expected[2 - 1, 4 - 2] = 0.5
    np.testing.assert_allclose(power, expected, atol=1e-12)
    table = np.random.default_rng(0).normal(size=(20, 6))
    eigenvalues = np.linalg.eigvalsh(np.cov(table.T))[::-1]
    np.testing.assert_allclose(
        numbers.shares(numbers.singular_values(table)), eigenvalues / eigenvalues.sum(), atol=1e-12
    )


def test_another_grid_by_every_way(finished: tuple[Run, Any]) -> None:
    """Reference: the learned table of a finished run, resized as an image by each of its three interpolations."""
    run, root = finished
    subject = opened(run.id, "validation", 2, root, root.parent / "data")
    found = {panel.name: panel for panel in panels([subject], Choices(patch=1))}
    assert list(found) == ["similarity", "norm-and-spectrum", "carried-table"]
    behind = found["carried-table"].numbers
    network: Any = subject.network
    table = network.position.table.detach()
    side = math.isqrt(len(table))
    other = behind["interpolate_interpolation_bilinear_norms"].shape
    assert other[0] > side
    for kind in ("bicubic_antialias", "bicubic", "bilinear"):
        resized = resize_image(table.view(side, side, -1), other, kind)
        np.testing.assert_allclose(behind[f"interpolate_interpolation_{kind}_norms"], resized.norm(dim=-1), rtol=1e-5)
    np.testing.assert_allclose(behind["trained_norms"].ravel(), table.norm(dim=1), rtol=1e-5)


def test_tables_of_ready_made_transformers_are_read() -> None:
    """References: the parameters of timm's and torchvision's networks."""
    network = network_of("timm:vit_tiny_patch16_224", image_size=32, size="own")
    table = network.net.pos_embed
    found = added(network, 32)
    assert found is not None
    np.testing.assert_array_equal(found, table[0].detach())
    prefix, larger = read(network, torch.zeros(1, 3, 32, 32)).prefix, added(network, 64)
    assert prefix is not None
    assert larger is not None
    assert prefix.shape == (1, 192)
    assert larger.shape == (17, 192)
    assert added(network_of("timm:resnet18", image_size=32, size="own"), 32) is None


@pytest.mark.parametrize(
    ("name", "options", "choices", "said"),
    [
        ("resnet", {}, Choices(), "resnet: has no positional encoding; a table added"),
        ("vit", {"position": "none"}, Choices(), "has no positional encoding"),
        ("vit", {"position": "conditional"}, Choices(), "a convolution of the tokens"),
        ("vit", {"position": "sincos_2d"}, Choices(patch=17), "--patch: is 17; the grid of 4 x 4 patches has 1 to 16"),
        ("vit", {"position": "sincos_2d"}, Choices(layer=1), "--layer: is 1; its positions are added once"),
        ("vit", {"position": "rope_axial"}, Choices(layer=99), "--layer: is 99; layers with positions are 1 to"),
    ],
)
def test_what_is_not_there_is_refused(name: str, options: dict[str, Any], choices: Choices, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        looked(name, choices, **options)


def titles(axes: Any) -> list[Text]:
    return [child for child in axes.get_children() if isinstance(child, Text)] + [axes.xaxis.label, axes.yaxis.label]


def test_of_several_networks_each_has_its_figures() -> None:
    both = [subject_of("vit", position="sincos_1d"), subject_of("vit", position="rope_axial")]
    names = [panel.name for panel in panels(both, Choices())]
    assert names == ["similarity-1", "norm-and-spectrum-1", "rotation-by-offset-2", "rotation-decay-2"]


@pytest.mark.parametrize("position", ["learned_1d", "cpb", "rope_mixed"])
def test_figures_fit_a_phone(position: str) -> None:
    """Titles and labels of axes lie within a figure as wide as a phone."""
    for panel in looked("vit", position=position).values():
        figure = panel.draw(width=PHONE)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # puts labels in their places
        renderer, (wide, high) = canvas.get_renderer(), figure.bbox.size
        for text in (text for axes in figure.axes for text in titles(axes) if text.get_text()):
            box = text.get_window_extent(renderer)
            assert box.x0 >= -1, text.get_text()
            assert box.y0 >= -1, text.get_text()
            assert box.x1 <= wide + 1, text.get_text()
            assert box.y1 <= high + 1, text.get_text()
