"""Weights from a local file: read without executing anything in it, and refused, with names, where they do not fit."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from models.hints import did_you_mean
from models.options import ModelError

WRAPPERS = ("state_dict", "model")  # keys under which training scripts put the weights
PREFIXES = ("module.", "net.")  # of data-parallel training; of this suite's own records of ready-made networks
SUFFIXES = (".safetensors", ".pth", ".pt")
GET = '`inductive prepare STUDY` downloads them, or give them as a file: weights = "file:PATH"'
SHOWN = 3  # names of each kind that an error lists


def offline() -> bool:
    """Whether downloads are off in this process, as in every run, by Hugging Face's own variable HF_HUB_OFFLINE."""
    return os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU. Raises ModelError for a file that is not there or holds no weights.

    Nothing in the file is executed.
    """
    if path.suffix not in SUFFIXES:
        near = did_you_mean(path.suffix, SUFFIXES)
        raise ModelError(f"weights {path}: {path.suffix!r} is no kind of weights; allowed: {', '.join(SUFFIXES)}{near}")
    try:
        if path.suffix == ".safetensors":
            state: object = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"weights {path}: there is no such file") from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError, safetensors.SafetensorError) as error:
        raise ModelError(f"weights {path}: cannot be read ({str(error).splitlines()[0]})") from error
    for wrapper in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"weights {path}: holds no table of tensors, neither bare nor under {' or '.join(WRAPPERS)}")
    weights = {str(name): tensor for name, tensor in state.items()}
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
    return weights


def misfit(what: str, own: Mapping[str, Tensor], given: Mapping[str, Tensor], error: Exception) -> ModelError:
    """The error for weights that a library would not load: names missing and not known, or shapes that differ."""
    reasons = []
    missing = [name for name in own if name not in given]
    if missing:
        reasons.append(f"missing {_some(missing)}")
    unknown = [f"{name}{did_you_mean(name, missing)}" for name in given if name not in own]
    if unknown:
        reasons.append(f"not of this network: {_some(unknown)}")
    shapes = [
        f"{name} is {tuple(given[name].shape)}, here {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if shapes and not reasons:
        reasons.append(_some(shapes))
    return ModelError(f"{what}: {'; '.join(reasons) or ' '.join(str(error).split())}")


def _some(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
