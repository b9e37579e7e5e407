"""Re-estimated BatchNorm statistics against a two-pass mean and variance by numpy over all training images."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.training import batchnorm
from benchmarks.training.batchnorm import estimate, with_statistics


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        )


def pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 2, 8, 8), dtype=np.uint8)


def two_pass(x: Tensor) -> tuple[Any, Any]:
    """Mean and unbiased variance of each channel over images and places."""
    values = x.double().numpy()
    mean = values.mean((0, 2, 3))
    squares = ((values - mean[None, :, None, None]) ** 2).sum((0, 2, 3))
    return mean, squares / (values[:, 0].size - 1)


@torch.no_grad()
def test_all_layers_in_one_batch() -> None:
    """Every layer sees what comes out of the layers before it, normalised by their new statistics."""
    model, data = network(), pixels(200)
    x = torch.from_numpy(data).float() / 255
    found = estimate(model, data, lambda x: x - 0.5, channels_last=False)
    for layer, (mean, variance) in zip((1, 4), found, strict=True):
        before = x - 0.5
        for module in list(model)[:layer]:  # type: ignore[call-overload]  # a Sequential
            if isinstance(module, nn.BatchNorm2d):
                [first_mean, first_variance] = two_pass(before)
                shape = (1, -1, 1, 1)
                places = before[:, 0].numel()
                scale = np.sqrt(first_variance * (places - 1) / places + module.eps)  # a batch's own is biased
                before = (
                    (before.double() - torch.tensor(first_mean).view(shape)) / torch.tensor(scale).view(shape)
                ).float()
            else:
                before = module(before)
        expected = two_pass(before)
        np.testing.assert_allclose(mean, expected[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(variance, expected[1], rtol=1e-4)


@pytest.mark.parametrize("count", [1, 255, 257, 600])
@torch.no_grad()
def test_the_first_layer_over_any_number_of_batches(count: int) -> None:
    """Exact over all images, however the batches fall (257 would leave one image alone)."""
    model, data = network(), pixels(count)
    [(mean, variance), _] = estimate(model, data, lambda x: x, channels_last=count == 600)
    expected = two_pass(model[0](torch.from_numpy(data).float() / 255))  # type: ignore[index, operator]
    np.testing.assert_allclose(mean, expected[0], rtol=1e-5)
    np.testing.assert_allclose(variance, expected[1], rtol=1e-5)


def test_the_network_stays_as_it_is() -> None:
    """Buffers, mode and counters, after estimating and after use; twice the same bits."""
    model, data = network(), pixels(300)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = (estimate(model, data, lambda x: x, channels_last=False) for _ in range(2))
    assert all(torch.equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True))
    assert model.training and all(module.training for module in model)  # type: ignore[attr-defined]
    with with_statistics(model, first):
        assert torch.equal(model[1].running_mean, first[0][0].float())  # type: ignore[index]
        assert torch.equal(model[4].running_var, first[1][1].float())  # type: ignore[index]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_failure_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """What breaks otherwise: hooks and batch statistics in a network that is measured on."""
    model, data = network().eval(), pixels(300)
    monkeypatch.setattr(batchnorm, "BATCH", 100)
    seen = []

    def broken(x: Tensor) -> Tensor:
        seen.append(len(x))
        if len(seen) == 2:
            raise KeyError
        return x

    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(KeyError):
        estimate(model, data, broken, channels_last=False)
    assert seen == [100, 100]
    assert not any(module.training or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_called_between_batches_may_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: the estimate without it, by batches of 100; given up, the network is as it was."""
    model, data, calls = network().eval(), pixels(300), []
    monkeypatch.setattr(batchnorm, "BATCH", 100)
    expected = estimate(model, data, lambda x: x, channels_last=False)
    found = estimate(model, data, lambda x: x, channels_last=False, between=lambda: calls.append(None))
    assert len(calls) == 2
    assert all(map(torch.equal, *([t for pair in each for t in pair] for each in (found, expected))))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(StopIteration):
        estimate(model, data, lambda x: x, channels_last=False, between=iter([None]).__next__)
    assert not any(module.training or module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- memory ---


@pytest.mark.parametrize("layer", [nn.BatchNorm1d, nn.BatchNorm2d])
def test_sums_in_parts_are_the_sums(layer: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """Reference: numpy, of all images. As on a GPU, no more than three of the seven are in double precision at once."""
    x = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)) + 3
    x = x[:, :, None, None].expand(7, 5, 2, 2).contiguous() if layer is nn.BatchNorm2d else x
    monkeypatch.setattr(batchnorm, "_at_once", lambda x: 3)
    moments = batchnorm._Moments()
    moments(layer(5), (x,))
    values = x.double().numpy().reshape(7, 5, -1)
    assert moments.count == values[:, 0].size
    np.testing.assert_allclose(moments.sum, values.sum((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(moments.squares, (values**2).sum((0, 2)), rtol=1e-12)


def test_what_is_in_double_precision_at_once() -> None:
    """By hand: 32 MB on a GPU, one image where that has more; all images on a CPU, as records were made."""
    assert batchnorm._at_once(torch.empty(256, 64, 128, 128, device="meta")) == 4
    assert batchnorm._at_once(torch.empty(256, 64, 512, 512, device="meta")) == 1
    assert batchnorm._at_once(torch.empty(256, 64, 128, 128)) == 256


def short_of_memory(room: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], Any]:
    """The sizes of the batches that a transform sees, and that transform: it raises what torch raises of a full GPU.
    How often its memory is given back is noted as a 0."""
    seen: list[int] = []

    def transform(x: Tensor) -> Tensor:
        seen.append(len(x))
        if len(x) > room:
            raise torch.OutOfMemoryError(f"no room for {len(x)}")
        return x

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: seen.append(0))
    return seen, transform


def test_short_memory_halves_the_batch(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Reference: the estimate that has these batches from the start. The cache is emptied before any is halved."""
    model, data = network(), pixels(64)
    monkeypatch.setattr(batchnorm, "BATCH", 32)
    seen, transform = short_of_memory(10, monkeypatch)
    found = estimate(model, data, transform, channels_last=False)
    assert seen == [32, 0, 32, 0, 16, 0, *[8] * 8]
    assert "no memory to estimate BatchNorm over 16 images at once: from the first again with 8" in caplog.text
    monkeypatch.setattr(batchnorm, "BATCH", 8)
    expected = estimate(model, data, lambda x: x, channels_last=False)
    assert all(map(torch.equal, *([t for pair in each for t in pair] for each in (found, expected))))


def test_no_room_for_four_images_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends, with torch's own words, and the network as it was."""
    model, data = network(), pixels(9)
    monkeypatch.setattr(batchnorm, "BATCH", 8)
    seen, transform = short_of_memory(2, monkeypatch)
    with pytest.raises(torch.OutOfMemoryError, match="no room for 3"):
        estimate(model, data, transform, channels_last=False)
    assert seen == [5, 0, 5, 0, 3]
    assert not any(module._forward_pre_hooks for module in model.modules())
