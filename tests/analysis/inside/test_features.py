"""The view `features`: what is measured of layers, against references by hand, and what is written."""

import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import models
from analysis.inside.features import numbers
from analysis.inside.features.view import panels, short_names
from analysis.inside.look import look
from analysis.inside.panel import Choices
from analysis.inside.subject import Subject, opened
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Run
from models.grids import Grid
from models.network import Network, Parts


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class OneConv(Network):
    """A convolution of one kernel, then the mean: the simplest network with a map."""

    def __init__(self, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.in_channels = 3
        self.conv = nn.Conv2d(3, 4, kernel, stride, kernel // 2)

    def grid(self, height: int, width: int) -> Grid:
        return -(-height // self.conv.stride[0]), -(-width // self.conv.stride[0])

    def run(self, images: Tensor, parts: Parts | None) -> Tensor:
        found = self.conv(images)
        if parts is not None:
            parts["stage.0"] = found
        return found.mean(dim=(2, 3))


def hsic(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """HSIC_1 of Song et al. (2012, equation 5) as written in Nguyen et al. (2021, equation 3)."""
    n = len(first)
    k, l_ = first @ first.T, second @ second.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l_, 0)
    ones = np.ones(n)
    middle = (ones @ k @ ones) * (ones @ l_ @ ones) / ((n - 1) * (n - 2))
    return float((np.trace(k @ l_) + middle - 2 / (n - 2) * (ones @ k @ l_ @ ones)) / (n * (n - 3)))


def test_cka_is_that_of_the_formula() -> None:
    """Reference: sums of HSIC_1 over two batches by its explicit formula, to 1e-6."""
    batches = [[drawn(20, 3, 5, seed=seed), drawn(20, 7, seed=seed + 10)] for seed in (1, 2)]
    batches = [[a, b + a.flatten(1)[:, :7] + 3] for a, b in batches]
    flat = [[one.flatten(1).double().numpy() for one in batch] for batch in batches]

    def over(i: int, j: int) -> float:
        return sum(hsic(batch[i], batch[j]) for batch in flat)

    expected = [[over(i, j) / math.sqrt(over(i, i) * over(j, j)) for j in (0, 1)] for i in (0, 1)]
    assert 0.2 < expected[0][1] < 0.9
    np.testing.assert_allclose(numbers.cka(batches), expected, atol=1e-6)


def test_cka_of_unrelated_features_is_about_zero() -> None:
    """64 images, width 1,024: the biased estimator says 0.94 there."""
    found = numbers.cka([[drawn(64, 1024, seed=1), drawn(64, 1024, seed=2)]])
    assert abs(found[0, 1]) < 0.05


def test_cka_knows_rotation_and_scale_and_a_layer_that_never_changes() -> None:
    """A rotation from the QR decomposition; a layer that is constant has no CKA."""
    features = drawn(30, 16)
    rotation = torch.linalg.qr(drawn(16, 16, seed=1))[0]
    found = numbers.cka([[features, 3 * features @ rotation + 1, torch.ones(30, 4)]])
    np.testing.assert_allclose(found[:2, :2], 1, atol=1e-6)
    assert np.isnan(found[2]).all()


def test_cka_of_a_network_with_itself_is_1() -> None:
    """On the diagonal, over two batches of which the second has what would be too few images for a third."""
    network = models.create_model("resnet", size="nano", image_size=16, in_channels=3, num_classes=10).eval()
    images = drawn(numbers.BATCH + 2, 3, 16, 16)
    assert [len(part) for part in numbers.batches(images)] == [numbers.BATCH + 2]
    whole = numbers.cka(numbers.features_of([network, network], [images, images]))
    amount = len(whole) // 2
    np.testing.assert_allclose(np.diag(whole[:amount, amount:]), 1, atol=1e-9)
    assert whole[0, amount - 1] < 0.999


def test_spectrum_of_known_patterns() -> None:
    """A checkerboard on a constant has its amplitude at the highest frequency; a wave of two periods has frequency 2;
    white noise has the same power at all: its logarithm is log(2) / 2 lower on average where the amplitude is real, at
    the lowest and the highest frequency, than where it is complex."""
    checker = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
    found = numbers.log_amplitudes(0.5 + 2 * checker)
    assert len(found) == 5
    assert found[4] == pytest.approx(math.log(2 / 0.5), abs=1e-5)
    assert found[1:4].max() < -15
    expected = [0, *[math.log(2) / 2] * 7, 0]
    np.testing.assert_allclose(numbers.log_amplitudes(drawn(16, 500, 16, 16)), expected, atol=0.04)
    place = torch.arange(8) / 8
    wave = torch.cos(2 * math.pi * 2 * (place[:, None] + place))
    assert numbers.log_amplitudes(wave[None, None]).argmax() == 2


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (7, 2)])
def test_receptive_field_of_one_convolution_is_its_kernel(kernel: int, stride: int) -> None:
    """Exactly its support, and in it the kernel's own norm over channels, as the mean over random signs."""
    network = OneConv(kernel, stride).eval()
    with torch.no_grad():
        network.conv.weight.abs_().add_(0.5)
    field = numbers.receptive_fields(network, drawn(600, 3, 16, 16))["stage.0"]
    middle, reach = 16 // stride // 2 * stride, kernel // 2
    inside = np.zeros((16, 16), dtype=bool)
    inside[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1] = True
    np.testing.assert_array_equal(field > 0, inside)
    assert numbers.field_size(field) == kernel
    norm = network.conv.weight.detach().square().sum(dim=(0, 1)).sqrt().numpy()
    np.testing.assert_allclose(field[inside].reshape(kernel, kernel), norm, rtol=0.15)


def test_the_core_of_a_receptive_field_is_the_fewest_pixels_that_hold_half() -> None:
    """One of 10 pixels that has half of all; 13 of 25 equal ones."""
    one = np.full((1, 10), 1.0)
    one[0, 3] = 9
    assert numbers.core_size(one) == 1
    assert numbers.core_size(np.ones((5, 5))) == pytest.approx(math.sqrt(13))


def test_receptive_field_of_attention_is_the_image_and_of_patches_a_patch() -> None:
    """The embedding depends on its own patch alone, everything after a block of attention on all of the image."""
    network = models.create_model("vit", size="nano", image_size=16, in_channels=3, num_classes=10).eval()
    fields = numbers.receptive_fields(network, drawn(4, 3, 16, 16))
    patch = np.zeros((16, 16), dtype=bool)
    patch[8:12, 8:12] = True
    np.testing.assert_array_equal(fields["embedding"] > 0, patch)
    assert (fields["block.0"] > 0).all()


def test_probe_reads_what_is_there() -> None:
    """Coordinates, rotated among noise, are read exactly; a constant and noise tell nothing."""
    place = numbers.places(6, 6).T.unflatten(1, (6, 6))  # 2 H W
    mixed = torch.einsum("dc,chw->dhw", drawn(5, 2), place)

    def batch(seed: int) -> dict[str, Tensor]:
        noise = drawn(20, 5, 6, 6, seed=seed)
        return {"place": mixed + 1e-3 * noise, "x": place[:1] + 0.01 * noise, "constant": noise * 0 + 2, "noise": noise}

    found = numbers.decoded_places([(batch(1), False), (batch(2), False), (batch(3), True)])
    assert found["place"].min() > 0.99
    assert found["x"][0] > 0.99
    assert abs(found["x"][1]) < 0.02
    assert np.abs(found["constant"]).max() < 1e-6
    assert np.abs(found["noise"]).max() < 0.02


def test_probe_is_ridge_regression() -> None:
    """Reference: scikit-learn's, on standardised features."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score
    from sklearn.preprocessing import StandardScaler

    maps = [
        {"layer": drawn(4, 3, 5, 5, seed=seed) + numbers.places(5, 5).T.unflatten(1, (5, 5))[:1]} for seed in (1, 2)
    ]
    x, other = (one["layer"].permute(0, 2, 3, 1).flatten(0, 2).numpy() for one in maps)
    y = numbers.places(5, 5).repeat(4, 1).numpy()
    scaler = StandardScaler().fit(x)
    fitted = Ridge(alpha=numbers.RIDGE * len(x)).fit(scaler.transform(x), y)
    expected = r2_score(y, fitted.predict(scaler.transform(other)), multioutput="raw_values")
    found = numbers.decoded_places([(maps[0], False), (maps[1], True)])["layer"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_zero_padding_tells_the_place_and_circular_padding_does_not() -> None:
    """A network of convolutions that has learned nothing, on noise (Islam et al., 2020)."""
    images = drawn(32, 3, 16, 16)
    last = {}
    for padding in ("zeros", "circular"):
        network = models.create_model(
            "resnet", size="nano", image_size=16, in_channels=3, num_classes=10, padding=padding
        ).eval()
        last[padding] = numbers.decoded_places(numbers.halves(network, images))["stage.2"].mean()
    assert last["zeros"] > 0.3
    assert last["circular"] < 0.1


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("vit", "nano", {"class_token": True}),
        ("swin", "nano", {}),
        ("convit", "nano", {}),
        ("coatnet", "nano", {}),
        ("course_vit", "course", {}),
        ("cct", "nano", {}),
        ("convnext", "nano", {}),
        ("mixer", "nano", {}),
    ],
)
def test_every_layer_becomes_a_map_without_its_extra_tokens(name: str, size: str, options: dict[str, bool]) -> None:
    """Each layer's map has as many places as it has patch tokens or pixels; a class token is at the front."""
    network = models.create_model(name, size=size, image_size=32, in_channels=3, num_classes=10, **options).eval()
    found = numbers.maps(network, torch.zeros(2, 3, 32, 32))
    whole = numbers.layers(network, torch.zeros(2, 3, 32, 32))
    rows, columns = network.grid(32, 32)
    for layer, features in found.items():
        assert features.shape[2] % rows == features.shape[3] % columns == 0, layer
        tokens = whole[layer]
        if tokens.ndim == 3:
            extra = tokens.shape[1] - features[0, 0].numel()
            assert extra in (0, 1), layer
            assert torch.equal(features.flatten(2).transpose(1, 2), tokens[:, extra:])


@pytest.mark.parametrize(
    ("count", "grid", "side"), [(65, (8, 8), 8), (9, (2, 2), 2), (49, (4, 4), 7), (64, (4, 4), 8), (20, (4, 4), 4)]
)
def test_tokens_on_a_grid(count: int, grid: Grid, side: int) -> None:
    """A class token; four registers and it, where 9 would be a square; grids that are finer than the last."""
    features = numbers.as_map(torch.zeros(1, count, 2), grid)
    assert features is not None
    assert features.shape[2:] == (side, side)


@pytest.fixture
def subject(finished: tuple[Run, Path]) -> Subject:
    run, root = finished
    return opened(run.id, "test", 24, root, Path("data"))


def test_the_view_writes_numbers_beside_figures(subject: Subject, tmp_path: Path) -> None:
    """Everything in all formats; the CKA in the file is that of the network's own layers by the formula."""
    written = look("features", [subject], Choices(), tmp_path)
    names = {path.name for path in written}
    kinds = ("png", "pdf", "svg", "npz")
    shown = ["cka-1", "spectra-1", "high-frequencies", "receptive-field-size", "receptive-field-1", "receptive-field-2"]
    assert names == {"index.html", *(f"{panel}.{kind}" for panel in [*shown, "places"] for kind in kinds)}
    key = "vit_learned_1d"
    with np.load(tmp_path / "cka-1.npz") as arrays:
        layers = arrays[f"layers_{key}"].tolist()
        assert {name for name in arrays if name.startswith("cka")} == {
            f"cka_{key}_{key}", f"cka_{key}_untrained_{key}_untrained", f"cka_{key}_{key}_untrained"
        }  # fmt: skip
        with torch.no_grad():
            found = numbers.layers(subject.network, subject.images)
        flat = [found[name].flatten(1).double().numpy() for name in ("embedding", "block.1")]
        expected = hsic(flat[0], flat[1]) / math.sqrt(hsic(flat[0], flat[0]) * hsic(flat[1], flat[1]))
        row = layers.index("embedding"), layers.index("block.1")
        assert arrays[f"cka_{key}_{key}"][row] == pytest.approx(expected, abs=1e-6)
    with np.load(tmp_path / "places.npz") as arrays:
        assert arrays[f"r2_x_{key}"][0] > 0.9, "a learned position is added to the tokens of the embedding"
        assert arrays[f"r2_x_{key}"].shape == arrays[f"layers_{key}"].shape


def test_two_subjects_are_compared_across(subject: Subject) -> None:
    """A run, and what it was before training under another name: across is what the run's own control says."""
    other = replace(subject, name="timm:other", network=subject.untrained, trained=None)
    shown = panels([subject, other], Choices())
    assert pickle.dumps([panel.draw for panel in shown]), "other processes draw them"
    found = {panel.name: panel.numbers for panel in shown}
    np.testing.assert_allclose(
        found["cka-1-2"]["cka_vit_learned_1d_timm_other"],
        found["cka-1"]["cka_vit_learned_1d_vit_learned_1d_untrained"],
        atol=1e-9,
    )


def test_runs_of_one_model_are_told_apart_by_what_differs(finished: tuple[Run, Path], subject: Subject) -> None:
    run, _ = finished
    assert subject.trained is not None
    changed = run.model_copy(update={"seed": 7, "options": {**run.options, "class_token": True}})
    assert changed.id != run.id
    other = replace(subject, name="other", trained=replace(subject.trained, run=changed))
    assert short_names([subject]) == ["vit learned_1d"]
    assert short_names([subject, other]) == [
        "vit learned_1d class_token=false seed=0",
        "vit learned_1d class_token=true seed=7",
    ]


def test_a_network_without_places_has_likeness_alone(subject: Subject) -> None:
    """An MLP beside a ViT has no line in what needs places; alone it has CKA only."""
    network = models.create_model("mlp", size="nano", image_size=8, in_channels=1, num_classes=10).eval()
    mlp = replace(subject, name="timm:mlp", network=network, trained=None)
    assert [panel.name for panel in panels([mlp], Choices())] == ["cka-1"]
    found = {panel.name: panel.numbers for panel in panels([subject, mlp], Choices())}
    assert np.isnan(found["places"]["r2_x_timm_mlp"]).all()
    assert "spectra-2" not in found


def test_what_the_view_does_not_have_is_refused(finished: tuple[Run, Path], subject: Subject, tmp_path: Path) -> None:
    run, root = finished
    few = opened(run.id, "test", 5, root, Path("data"))
    other = replace(opened(run.id, "train", 24, root, Path("data")), name="other")
    out = tmp_path / "out"
    for subjects, choices, said in (
        ([subject], Choices(patch=3), "--patch: is for other views"),
        ([subject], Choices(layer=3), "--layer: is for other views"),
        ([few], Choices(), "--images: gives 5 with --count; --at features needs 8 or more"),
        ([subject, subject], Choices(), "is given twice"),
        ([subject, other], Choices(), "is shown other images than .*--images test"),
    ):
        with pytest.raises(ConfigError, match=said):
            look("features", subjects, choices, out)
    assert not out.exists()
