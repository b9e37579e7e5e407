"""Which source code and which facts a run depends on, and what has changed of them since a record was made.

From a run's entry points (its model, its encoding, its augmentations, the training path) `benchmarks.slices` finds the
definitions that can change its weights.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import models
from benchmarks.data.dataset import Dataset
from benchmarks.plan.recipes import Recipe, augmentations
from benchmarks.plan.run import Run
from benchmarks.slices import code_digest, digest_of, slice_digests
from models.catalogue.ready_made import is_ready_made, library_of


def entry_points(run: Run) -> tuple[str, ...]:
    """The `module:symbol` names from which everything that can change a run's weights is reached."""
    return (
        "benchmarks.training.training:Training",
        "benchmarks.plan.run:Budget",
        "benchmarks.data.subsets:draw_subset",
        run.data.reader,
        *(f"benchmarks.training.augment:{name}" for name in augmentations(run.recipe, run.data.flips)),
        "models.catalogue.registry:create_model",
        *(("benchmarks.records.init_from:start",) if run.init_from else ()),
        *models.sources(run.model, options=run.options),
    )


def run_sources(run: Run) -> dict[str, str]:
    """Digest (8 hex digits) of each symbol a run's weights depend on, by `module:symbol`."""
    ready_made = {name: digest_of(repr(fact)) for name, fact in _ready_made(run).items()}
    return {**slice_digests(entry_points(run)), **_facts(run.data, run.recipe, run.part_sizes, run.steps), **ready_made}


@lru_cache(maxsize=4096)
def _facts(data: Dataset, recipe: Recipe, part_sizes: tuple[int, int], steps: int) -> Mapping[str, str]:
    """Digests of what the data set and the recipe come to for a run."""
    facts = {
        f"data set {data.name}": (data.channels, data.native_resolution, data.train_counts),
        "augmentations": augmentations(recipe, data.flips),
        "images and steps": (part_sizes, steps),
    }
    return {name: digest_of(repr(fact)) for name, fact in facts.items()}


def _ready_made(run: Run) -> dict[str, str]:
    """What a ready-made network is made of that is no code of ours: its library, and the file of its weights."""
    if not is_ready_made(run.model):
        return {}
    facts = {library_of(run.model): version(library_of(run.model))}
    kind, _, place = str(run.options["weights"]).partition(":")
    if kind == "file":
        path = Path(place)
        there = path.is_file()
        facts[f"weights {path}"] = file_digest(path, path.stat().st_mtime_ns) if there else "not there"
    return facts


@lru_cache(maxsize=64)
def file_digest(path: Path, changed: int) -> str:
    """SHA-256 of a file as it was at a time of change (ns): read once for all runs that use it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Digests of measuring code that were made when the names of modules were part of them, and what the same code has now.
WITH_MODULES = {"619b7e6a": "10045c1b"}


def evaluation_code() -> str:
    """Digest of the code that measures a finished run."""
    return code_digest(("benchmarks.training.evaluation:Measurer", "benchmarks.training.evaluation:evaluate"))


def same_code(recorded: str | None, code: str) -> bool:
    """Whether an evaluation was made by the measuring code whose digest is `code`."""
    return recorded is not None and WITH_MODULES.get(recorded, recorded) == code
