"""`look --at attention`: what is read of a network, what is measured of it, what is refused."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from analysis.inside.attention import figures, numbers
from analysis.inside.attention.reading import extra_names, read
from analysis.inside.attention.view import chosen, measure, panels
from analysis.inside.look import look
from analysis.inside.panel import Choices
from analysis.inside.subject import Subject, opened, untrained_words
from benchmarks import randomness
from benchmarks.errors import ConfigError
from benchmarks.plan.run import Run
from models.network import Network
from models.swin import Windows


def network(name: str, size: str = "pico", image_size: int = 16, **options: Any) -> Network:
    made = models.create_model(name, size=size, image_size=image_size, in_channels=3, num_classes=5, **options)
    made.initialise(1)
    return made.eval()


def images(height: int = 16, width: int = 16, count: int = 2) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(3))


def random_rows(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5)).mul(2).softmax(dim=-1)


READABLE = [
    ("vit", {"class_token": True, "position": "learned_1d", "patch_size": 4}, (16, 16), (4, 4), 1),
    ("vit", {"position": "rope_axial", "patch_size": 4}, (16, 24), (4, 6), 0),
    ("convit", {"class_token": True, "patch_size": 4}, (16, 16), (4, 4), 1),
    ("ladder", {"mixer": "window_attention", "patch_size": 2}, (24, 16), (12, 8), 0),
    ("swin", {"patch_size": 2}, (20, 16), (10, 8), 0),  # whose windows are filled up
]


@pytest.mark.parametrize(("name", "options", "size", "grid", "extra"), READABLE)
def test_rows_sum_to_one_on_any_grid(name: str, options: Any, size: Any, grid: Any, extra: int) -> None:
    """Probabilities are rows: within 1e-6 of 1 (float32), on grids that are no squares, windows put back in place; the
    reference for grid and extra tokens is the options."""
    seen = read(name, network(name, **options), images(*size))
    first, last = seen.layers[0], seen.layers[-1]
    assert first.grid == grid and last.extra == extra
    for layer in seen.layers:
        count = layer.extra + layer.grid[0] * layer.grid[1]
        assert layer.probabilities.shape == (2, layer.heads, count, count)
        assert (layer.probabilities.double().sum(dim=-1) - 1).abs().max() < 1e-6
    assert seen.class_token == bool(extra)


def test_four_registers_are_extra_tokens() -> None:
    """Reference: timm's names; a class token and four registers stand before the patches."""
    made = models.create_model(
        "timm:vit_little_patch16_reg4_gap_256", image_size=64, in_channels=3, num_classes=5
    ).eval()
    seen = read("timm", made, images(64, 64, 1))
    assert {(layer.grid, layer.extra) for layer in seen.layers} == {((4, 4), 4)} and not seen.class_token
    assert extra_names(5, ("class token",)) == ["class token", *(f"register {number}" for number in range(1, 5))]
    assert extra_names(4, ()) == [f"register {number}" for number in range(1, 5)]


@pytest.mark.parametrize(
    ("name", "side", "extra", "read_by_head"),
    [
        ("eva02_tiny_patch14_224", 56, ["class token"], False),
        ("deit_tiny_distilled_patch16_224", 64, ["class token", "distillation token"], True),
    ],
)
def test_what_the_head_reads_is_told_from_what_is_there(
    name: str, side: int, extra: list[str], read_by_head: bool
) -> None:
    """Reference: timm's constructors, a head on the mean of the patches with a class token there, and one on the class
    token with a distillation token beside it."""
    made = models.create_model(f"timm:{name}", image_size=side, in_channels=3, num_classes=5).eval()
    seen = read("timm", made, images(side, side, 1))
    assert seen.class_token == read_by_head
    assert extra_names(seen.layers[-1].extra, seen.named) == extra
    assert extra_names(3, seen.named)[len(extra) :] == [f"register {n}" for n in range(1, 4 - len(extra))]


def test_windows_are_not_taken_for_the_image() -> None:
    """timm's MaxViT, whose windows at the first stage have as many tokens as its last stage has places: one line."""
    made = models.create_model("timm:maxvit_pico_rw_256", image_size=64, in_channels=3, num_classes=5).eval()
    with pytest.raises(ConfigError, match=r"gives \d+ maps of attention in a layer for 1 image: parts of the image"):
        read("timm", made, images(64, 64, 1))


def test_attention_is_read_before_dropout() -> None:
    """A network in training mode, with dropout of half the attention, shows rows that sum to 1, the same each time;
    afterwards it is in training mode as before."""
    made = network("cct", attention_dropout=0.5).train()
    first, second = (read("cct", made, images()).layers for _ in range(2))
    assert made.training
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.probabilities, other.probabilities)
        assert (one.probabilities.sum(dim=-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize(("name", "size"), [("swin", (20, 16)), ("ladder", (24, 16))])
def test_windows_are_put_back_in_place(name: str, size: tuple[int, int]) -> None:
    """Reference: the layer itself. The matrix of all tokens, times the values of all tokens, is what the layer of
    (shifted, filled) windows gives, once the map behind it is the identity."""
    made = network(name, patch_size=2, **({"mixer": "window_attention"} if name == "ladder" else {}))
    layers = [module for module in made.modules() if isinstance(module, Windows)]
    given: list[Tensor] = []
    mixed: list[Tensor] = []
    for layer in layers:
        layer.out = nn.Identity()  # type: ignore[assignment]
        layer.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
        layer.register_forward_hook(lambda _, __, out: mixed.append(out))
    seen = read(name, made, images(*size))
    assert any(layer.shifted for layer in layers)
    for layer, tokens, out, read_ in zip(layers, given, mixed, seen.layers, strict=True):
        width = tokens.shape[-1]
        values = layer.qkv(tokens.reshape(2, -1, width))[..., 2 * width :]  # B N D
        values = values.unflatten(2, (layer.heads, layer.head_width)).transpose(1, 2)
        expected = (read_.probabilities @ values).transpose(1, 2).flatten(2)
        assert (out.reshape(2, -1, width) - expected).abs().max() < 1e-5


def test_windows_by_hand() -> None:
    """Reference: loops over a 3 x 4 grid, windows of 2 x 2, rolled by one: which token stands at every place."""
    places = numbers.window_places((3, 4), (2, 2), (1, 1))
    for window in range(4):
        for slot in range(4):
            row, column = 2 * (window // 2) + slot // 2, 2 * (window % 2) + slot % 2
            row, column = (row + 1) % 4, (column + 1) % 4
            assert places[window, slot] == (row * 4 + column if row < 3 else -1)


def test_timm_windows_are_put_back_in_place() -> None:
    """Reference: rows sum to 1, and a shifted layer attends across the borders of the one before, never between tokens
    further apart than a window."""
    made = models.create_model("timm:swin_tiny_patch4_window7_224", image_size=112, in_channels=3, num_classes=5).eval()
    seen = read("timm", made, images(112, 112, 1))
    for layer in seen.layers:
        assert (layer.probabilities.double().sum(dim=-1) - 1).abs().max() < 1e-6
    first, second = (layer.probabilities[0, 0] > 1e-6 for layer in seen.layers[:2])
    assert seen.layers[0].grid == (28, 28) and not torch.equal(first, second)
    far = numbers.pair_distances((28, 28), (1.0, 1.0)) > 6 * math.sqrt(2) + 1e-9
    assert not first[far].any() and not second[far].any()


def test_uniform_attention_inside_windows_is_uniform() -> None:
    """Reference: the network itself with queries of 0, whose softmax is uniform over what a query reaches: its entropy
    is 1 and its distance that of uniform attention, in shifted and filled windows, too."""
    made = network("swin", patch_size=2)
    for layer in made.modules():
        if isinstance(layer, Windows):
            for tensor in layer.parameters():
                torch.nn.init.zeros_(tensor)
    layers = read("swin", made, images(20, 16, 1)).layers
    assert layers[0].window != layers[0].grid
    for layer in layers:
        uniform = numbers.uniform_distance(layer.grid, (1.0, 1.0), layer.reach)
        distance = numbers.mean_distance(layer.probabilities, layer.grid, 0, (1.0, 1.0)).numpy()
        assert distance == pytest.approx(np.full((1, layer.heads), uniform), rel=1e-6)
        assert (numbers.entropy(layer.probabilities, layer.reach) - 1).abs().max() < 1e-6
        assert layer.reach is not None and torch.equal(layer.probabilities[0, 0] > 0, layer.reach)
    assert numbers.uniform_distance((2, 3), (1.0, 2.0), torch.ones(6, 6)) == pytest.approx(
        numbers.uniform_distance((2, 3), (1.0, 2.0))
    )


@pytest.mark.parametrize("discard", [0.0, 0.5])
def test_rollout_is_the_product_of_the_layers(discard: float) -> None:
    """Reference: loops over heads, rows and columns (Abnar and Zuidema, 2020), a layer having no class token yet; rows
    are divided by their own sums, not columns."""
    layers = [random_rows(2, 3, 4, 4), random_rows(2, 3, 5, 5), random_rows(2, 3, 5, 5) ** 2]
    found = numbers.rollout(layers, discard)
    for image in range(2):
        product = np.eye(5)
        for layer in layers:
            heads = layer[image].double().numpy()
            size = heads.shape[1]
            mean = np.array([[sum(head[i, j] for head in heads) / 3 for j in range(size)] for i in range(size)])
            lowest = sorted(mean.ravel().tolist())[: int(discard * size * size)]
            mean[np.isin(mean, lowest)] = 0
            step = np.eye(5)
            for i in range(size):
                for j in range(size):
                    step[5 - size + i, 5 - size + j] += mean[i, j]
            product = np.array([step[i] / sum(step[i]) for i in range(5)]) @ product
        assert np.abs(found[image].numpy() - product).max() < 1e-12
    assert (found.sum(dim=-1) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("grid", [(1, 7), (3, 5), (6, 6)])
def test_uniform_attention_has_the_closed_form_distance(grid: tuple[int, int]) -> None:
    """Reference: the mean over all pairs of a loop, and `mean_distance` of rows that are all equal, a class token and
    its own share left out."""
    rows, columns = grid
    places = [(4.0 * row, 2.0 * column) for row in range(rows) for column in range(columns)]
    brute = sum(math.dist(a, b) for a in places for b in places) / len(places) ** 2
    assert numbers.uniform_distance(grid, (4.0, 2.0)) == pytest.approx(brute, rel=1e-12)
    uniform = torch.full((1, 2, len(places) + 1, len(places) + 1), 0.1)
    uniform[..., 0] = 0.9
    found = numbers.mean_distance(uniform, grid, 1, (4.0, 2.0))
    assert found.numpy() == pytest.approx(np.full((1, 2), brute), rel=1e-6)


def test_entropy_lies_between_one_token_and_uniform() -> None:
    assert numbers.entropy(torch.full((1, 1, 9, 9), 1 / 9)).item() == pytest.approx(1, abs=1e-6)
    assert numbers.entropy(torch.eye(9)[None, None]).item() == 0


def test_the_mask_is_the_smallest_that_holds_its_share() -> None:
    """Reference: all subsets of seven patches."""
    weights = random_rows(1, 7)[0].double()
    subsets = [[place for place in range(7) if subset >> place & 1] for subset in range(1, 128)]
    smallest = min(len(one) for one in subsets if weights[one].sum() >= 0.6)
    mask = numbers.mass_mask(weights)
    assert mask.sum() == smallest and weights[mask].sum() >= 0.6


def test_outliers_are_told_by_the_median() -> None:
    assert numbers.outlier_share(torch.tensor([1.0, 1.0, 1.1, 0.9, 1.0, 1.0, 1.0, 10.0])) == 1 / 8


def test_a_mask_is_outlined_where_it_ends() -> None:
    """Reference: one cell has four sides, two neighbours six."""
    assert len(figures.outline(np.array([[False, True], [False, False]]))) == 4
    assert len(figures.outline(np.array([[True, True], [False, False]]))) == 6


def test_a_measure_is_that_of_all_images_at_once() -> None:
    """Reference: the functions on one batch, where `measure` goes from image to image."""
    made, given = network("vit", class_token=True, patch_size=4), images(count=3)
    found, seen = measure("vit", made, given), read("vit", made, given)
    for place, layer in enumerate(seen.layers):
        distance = numbers.mean_distance(layer.probabilities, layer.grid, 1, (4.0, 4.0)).numpy()
        assert np.abs(found.distance[place] - distance).max() < 1e-4
    rolled = numbers.rollout([layer.probabilities for layer in seen.layers])[:, 0, 1:].numpy()
    assert np.abs(found.rollout - rolled).max() < 1e-5


def test_untrained_is_initialised_at_random(finished: tuple[Run, Path]) -> None:
    """Reference: the network made with no weights at the run's seed, of a ready-made run that started from a file
    (which is gone) and of one that started from another run; both are told of."""
    run, root = finished
    subject = opened(run.id, "validation", 1, root, Path("data"))
    assert subject.trained is not None
    ready = {"model": "timm:test_vit", "size": "own", "resolution": 32, "options": {"weights": "file:gone.pt"}}
    for changes in (ready, {"init_from": "another-run"}):
        changed = run.model_copy(update=changes)
        other = replace(subject, trained=replace(subject.trained, run=changed))
        options = {"weights": "none"} if changes is ready else changed.options
        expected = models.create_model(
            changed.model, size=changed.size, image_size=changed.resolution, in_channels=1, num_classes=10,
            seed=randomness.key(run.seed, "initialisation"), initial=run.initial, **options,
        )  # fmt: skip
        found = other.untrained.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.state_dict().items())
        assert untrained_words([other]).endswith("not with the weights that its run started from")
    assert untrained_words([subject]) == "the network as initialised at random"


def subject_of(made: Network, given: Tensor, name: str = "made-up") -> Subject:
    pictures = np.zeros((len(given), *given.shape[2:], 3), np.uint8)
    labels = torch.full((len(given),), -1)
    return Subject(name, made, given, pictures, labels, tuple(range(len(given))), "made up", ())


REFUSED = [
    ("vit", Choices(patch=17), "--patch: is 17, outside the grid.*4 x 4.*1 to 16"),
    ("vit", Choices(patch=0), "--patch: is 0"),
    ("vit", Choices(layer=99), "--layer: is 99.*layers of attention 1 to"),
    ("resnet", Choices(), "ResNet, which has no layer of attention.*views: features, training"),
    ("attention_mlp", Choices(), r"tokens \(1\) do not stand on a grid"),
]


@pytest.mark.parametrize(("name", "choices", "message"), REFUSED)
def test_what_is_not_there_is_refused_with_the_reason(
    name: str, choices: Choices, message: str, tmp_path: Path
) -> None:
    """One line, nothing written."""
    options = {"vit": {"patch_size": 4}, "attention_mlp": {"size": "nano"}}.get(name, {})
    with pytest.raises(ConfigError, match=message) as raised:
        look("attention", [subject_of(network(name, **options), images())], choices, tmp_path / "out")
    assert "\n" not in str(raised.value) and not (tmp_path / "out").exists()


def test_a_patch_is_named_by_row_column_and_index() -> None:
    """Reference: case 10 of a course, the 100th patch of a 197 x 197 matrix on a grid of 14 x 14."""
    layer = read("vit", network("vit", image_size=56, patch_size=4, class_token=True), images(56, 56, 1)).layers[-1]
    where = chosen("vit", [layer], Choices(patch=100))
    assert layer.probabilities.shape[-1] == 197
    assert (where.grid, where.place, where.token) == ((14, 14), (7, 1), 100)


@pytest.fixture(scope="module")
def page(finished: tuple[Run, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is written of a trained run with mean pooling on digits: 4 x 4 patches."""
    run, root = finished
    out = tmp_path_factory.mktemp("look")
    subject = opened(run.id, "validation", 3, root, Path("data"))
    look("attention", [subject], Choices(patch=6), out)
    return out


def test_a_run_is_written_with_its_numbers(page: Path, finished: tuple[Run, Path]) -> None:
    """Reference: the run's own network, asked for its parts."""
    names = {path.stem for path in page.glob("*.npz")}
    assert names == {"rows", "mean-token", "heads", "points", "distance", "norms"}
    assert all((page / f"{name}.{kind}").exists() for name in names for kind in ("png", "pdf", "svg"))
    subject = opened(finished[0].id, "validation", 3, finished[1], Path("data"))
    with torch.no_grad():
        _, parts = subject.network.forward_parts(subject.images[:1])
    last = parts[sorted(key for key in parts if key.startswith("attention."))[-1]][0]
    numbers_ = np.load(page / "rows.npz")
    assert np.array_equal(numbers_["rows"], last[:, 5].numpy())
    assert (numbers_["patch"], numbers_["row"], numbers_["column"], numbers_["token"]) == (6, 2, 2, 5)
    assert np.load(page / "mean-token.npz")["rollout"].shape == (3, 4, 4)
    assert {"uniform_distance", "distance_layer_1", "distance_untrained_layer_1"} <= set(np.load(page / "distance.npz"))


def test_the_page_holds_what_a_click_shows(page: Path) -> None:
    """Reference: the numbers beside the figure; bytes are shares of a row's largest value."""
    import base64

    text = (page / "index.html").read_text(encoding="utf-8")
    found = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', text)[0])
    rows = np.load(page / "rows.npz")["rows"]
    heads = len(rows)
    stored = np.frombuffer(base64.b64decode(found["images"][0]["rows"][-1]), np.uint8).reshape(heads, 16, 16)[:, 5]
    largest = np.frombuffer(base64.b64decode(found["images"][0]["largest"][-1]), "<f4").reshape(heads, 16)[:, 5]
    assert np.abs(stored / 255 * largest[:, None] - rows).max() <= 0.5 / 255 * largest.max() + 1e-7
    assert "://" not in text  # it needs no network


@pytest.mark.parametrize("width", [8.4, 3.9])
def test_tiles_stay_within_the_figure(width: float) -> None:
    """No picture is wider than the figure, nor do two lie on each other."""
    tiles = [figures.Tile(np.zeros((4, 4)), f"head {number}\nto 1") for number in range(13)]
    figure = figures.mosaic([tiles, tiles[:4]], width=width)
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(box.x0 >= 0 and box.x1 <= 1.001 and box.y0 >= 0 and box.y1 <= 1 for box in boxes)
    apart: Callable[[Any, Any], bool] = lambda a, b: a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0  # noqa: E731
    assert all(apart(a, b) for place, a in enumerate(boxes) for b in boxes[:place])


def test_several_subjects_have_names_of_their_own() -> None:
    subjects = [subject_of(network("vit", patch_size=4), images(count=1), name) for name in ("one", "two")]
    names = [panel.name for panel in panels(subjects, Choices())]
    assert len(set(names)) == len(names) and {name[0] for name in names} == {"1", "2"}


@pytest.mark.parametrize("name", ["swin", "coatnet", "convit"])
def test_layers_of_other_grids_are_shown_and_left_out_of_rollout(name: str) -> None:
    """Reference: the grid of the network's last stage; every layer's heads are measured, of one more token or none."""
    made = network(name, **({"class_token": True, "patch_size": 4} if name == "convit" else {}))
    found = {panel.name: panel.numbers for panel in panels([subject_of(made, images(count=1))], Choices(layer=1))}
    rollout = found["class-token" if name == "convit" else "mean-token"]["rollout"]
    assert rollout.shape == (1, *made.grid(16, 16))
    layers = read(name, made, images(count=1)).layers
    assert {f"distance_layer_{number}" for number in range(1, len(layers) + 1)} <= set(found["distance"])
