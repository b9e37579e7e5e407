"""Shared by the tests of the models: one thread, and weights far from their special initial values."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from models.checks import contract


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def randomise() -> Callable[[nn.Module], nn.Module]:
    return contract.randomise
