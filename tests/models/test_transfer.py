"""Weights of one network in another: of other classes, of another training grid."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from models import ModelError, create_model
from models.network import Network
from models.trained.transfer import Fitted, fit, measured

TABLES = {  # learned tables whose shape is that of the training grid
    "learned_1d": ("position.table",),
    "learned_2d": ("position.columns", "position.rows"),
    "bias_2d": ("position.table",),
    "relative_2d": ("position.columns", "position.rows"),
}


def network(image_size: int = 16, classes: int = 10, seed: int = 0, **options: Any) -> Network:
    model = options.pop("model", "vit")
    asked = {"image_size": image_size, "in_channels": 3, "num_classes": classes, "size": "pico", "seed": seed}
    made = create_model(model, **asked, **options).eval()
    generator = torch.Generator().manual_seed(seed)  # biases and tables begin at 0, which every shape of 0 equals
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("larger", [False, True])
@pytest.mark.parametrize("position", TABLES)
def test_a_table_of_another_grid_does_what_the_default_way_did(position: str, larger: bool, class_token: bool) -> None:
    """Reference: the network the weights come from, evaluated at the other size by its default way of carrying."""
    there, here = (16, 24) if larger else (24, 16)
    trained = network(there, position=position, scale=8, class_token=class_token)
    started = network(here, seed=1, position=position, scale=8, class_token=class_token)
    assert fit(started, trained.state_dict(), "w") == Fitted((), TABLES[position])
    images = torch.randn(2, 3, here, here, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(started(images), trained(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("larger", [False, True])
@pytest.mark.parametrize("position", ["cpb", "fire"])
def test_offsets_keep_the_unit_of_the_weights(position: str, larger: bool) -> None:
    """Reference: the network the weights come from, evaluated at the other size by its default way of carrying; so it
    is again where the state dict of what started goes into a fresh network, or on from there to a third."""
    there, here = (16, 24) if larger else (24, 16)
    options = {"position": position, "scale": 8}
    trained, started, again, third = (network(size, seed=size, **options) for size in (there, here, here, there))
    assert fit(started, trained.state_dict(), "w", trained) == Fitted(kept=("position.measured",))
    again.load_state_dict(started.state_dict())
    assert fit(third, started.state_dict(), "w", started) == Fitted()  # the unit is its own
    images = torch.randn(2, 3, here, here, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        wanted = trained(images)
        for one in (started, again, third):
            torch.testing.assert_close(one(images), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", ["cpb", "fire"])
def test_the_same_weights_again_keep_what_recorded_steps_read(position: str) -> None:
    """A validation loads averaged weights and then those in training again, between steps that are recorded on a GPU
    and go on reading the tables of before. Reference: the very tensors."""
    trained, started = network(16, position=position, scale=8), network(24, seed=1, position=position, scale=8)
    fit(started, trained.state_dict(), "w", trained)
    images = torch.zeros(2, 3, 24, 24)
    started(images)
    before = dict(started.position._constants)
    started.load_state_dict({name: tensor.clone() for name, tensor in started.state_dict().items()})
    started(images)
    after = started.position._constants
    assert before and before.keys() == after.keys() and all(after[key] is table for key, table in before.items())


def test_weights_of_the_grid_after_those_of_another() -> None:
    """A network that had started from another grid takes weights of its own grid as they are. Reference: theirs."""
    other, own, started = network(16, position="cpb", scale=8), *(network(24, position="cpb", scale=8) for _ in "ab")
    fit(started, other.state_dict(), "w", other)
    started.load_state_dict(own.state_dict())
    images = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        torch.testing.assert_close(started(images), own(images))
    assert started.state_dict().keys() == own.state_dict().keys()


def test_offsets_in_windows_that_were_clipped_by_the_grid_keep_their_unit() -> None:
    """Reference: the biases of the network the weights come from, in windows of any size."""
    trained, started = network(8, model="swin_v2", scale=32), network(32, seed=1, model="swin_v2", scale=32)
    fit(started, trained.state_dict(), "w", trained)
    theirs, ours = measured(trained), measured(started)
    assert any(theirs[place].trained != ours[place].trained for place in ours)
    for place, encoding in ours.items():
        for window in ((2, 2), (4, 3)):
            with torch.no_grad():
                wanted, got = (one.bias(torch.zeros(1), window, 0) for one in (theirs[place], encoding))
            torch.testing.assert_close(got, wanted)


def test_a_network_that_kept_a_unit_has_its_own_normalised_grid() -> None:
    """`normalise` gives the longest offset of every grid the value that the longest of the training grid has, whose
    unit is another's. Reference: the coordinates by hand."""
    trained, started = network(16, position="cpb", scale=8), network(24, seed=1, position="cpb", scale=8)
    fit(started, trained.state_dict(), "w", trained)
    rows = trained.position.trained[0], started.position.trained[0]
    encoding = started.position
    own = encoding.offset_coordinates(encoding.trained)
    encoding.carry("normalise")
    assert torch.equal(encoding.offset_coordinates(encoding.trained), own)
    longest = math.log2(1 + 8 * (rows[1] - 1) / (rows[0] - 1)) / 3
    for side in (2, 5, 9):
        assert encoding.offset_coordinates((side, side)).max().item() == pytest.approx(longest, rel=1e-6)


@pytest.mark.parametrize("position", ["none", "sincos_2d", "rope_axial", "cpb", "alibi_2d", "conditional"])
def test_what_has_no_table_of_the_grid_fits_as_it_is(position: str) -> None:
    """Reference: equality of every tensor that both have."""
    trained, started = network(16, position=position, scale=8), network(24, seed=1, position=position, scale=8)
    assert fit(started, trained.state_dict(), "w") == Fitted()
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, started.state_dict()[name])


def test_swin_windows_that_were_clipped_by_the_grid() -> None:
    """At a small training size the window of a stage is its whole grid; its offset image grows with the window.
    Reference: the shapes, and that a network of the same size takes everything as it is."""
    trained, started = network(8, model="swin", scale=32), network(32, seed=1, model="swin", scale=32)
    shapes = {name: tensor.shape for name, tensor in started.state_dict().items()}
    other = [name for name, tensor in trained.state_dict().items() if tensor.shape != shapes[name]]
    assert other
    assert fit(started, trained.state_dict(), "w").carried == tuple(sorted(other))
    assert all(name.endswith("bias_table") for name in other)


def test_an_encoding_that_cannot_be_carried_is_refused_by_name() -> None:
    """`relative_1d` reads another grid in the raster of its own: one offset of the new grid has no one row there."""
    trained, started = network(16, position="relative_1d", scale=8), network(24, position="relative_1d", scale=8)
    with pytest.raises(ModelError, match=r"^w: position\.table is of another training grid \(.*cannot be carried"):
        fit(started, trained.state_dict(), "w")


def test_a_head_of_other_classes_starts_fresh() -> None:
    """Reference: the head as it was drawn, the rest as it was given."""
    trained, started = network(classes=10), network(classes=7, seed=1)
    drawn = {name: tensor.clone() for name, tensor in started.state_dict().items()}
    assert fit(started, trained.state_dict(), "w") == Fitted(("head.bias", "head.weight"), ())
    for name, tensor in started.state_dict().items():
        assert torch.equal(tensor, drawn[name] if name.startswith("head.") else trained.state_dict()[name])


UP = "blocks.0.mlp.up.weight"
Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop(UP), rf"^w: missing {UP}$"),
        (lambda w: w.update(wmlp=w.pop(UP)), rf"^w: missing {UP}; not of this network: wmlp$"),
        (lambda w: w.update({f"{UP}s": w.pop(UP)}), rf"not of this network: {UP}s; did you mean `{UP}`"),
        (lambda w: w.update(extra=torch.zeros(1)), r"^w: not of this network: extra$"),
        (lambda w: w.update({"head.weight": torch.zeros(10, 3)}), r"^w: head\.weight is \(10, 3\), here \("),
    ],
)
def test_what_does_not_fit_is_named(change: Change, message: str) -> None:
    """Reference: the names by hand, with the nearest."""
    weights = dict(network().state_dict())
    change(weights)
    with pytest.raises(ModelError, match=message):
        fit(network(seed=1), weights, "w")
