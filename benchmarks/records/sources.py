"""Which source code and which facts a run depends on, and what has changed of them since a record was made.

From a run's entry points (its model, its encoding, its augmentations, the training path) `benchmarks.slices` finds the
definitions that can change its weights.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import models
from benchmarks.data.dataset import Dataset
from benchmarks.plan.probes import NO_PROBE, PROBES
from benchmarks.plan.recipes import Recipe, augmentations
from benchmarks.plan.run import Run
from benchmarks.slices import code_digest, digest_of, slice_digests
from models.catalogue.ready_made import is_ready_made, library_of

# Where images come from: what `benchmarks.training.images` chooses between, which is not followed.
RESIDENT = ("benchmarks.training.batches:Batches", "benchmarks.training.pixels:Selected")
STREAMED = ("benchmarks.training.streamed:StreamedBatches", "benchmarks.data.decoding:show")
# What groups of BatchNorm are made of, several ranks, and what is frozen: `benchmarks.training.ranks.share` and
# `models.trained.frozen` are not followed either.
GROUPS = ("benchmarks.training.ranks.normalisation:Groups",)
FROZEN = ("models.trained.frozen:freeze",)
RANKS = ("benchmarks.training.ranks.share:Share", "benchmarks.training.ranks.batches:OfRows")


def entry_points(run: Run) -> tuple[str, ...]:
    """The `module:symbol` names from which everything that can change a run's weights is reached."""
    return _entry_points(models.sources(run.model, options=run.options), run.data, run.recipe, bool(run.init_from))


def _entry_points(network: tuple[str, ...], data: Dataset, recipe: Recipe, starts_from: bool) -> tuple[str, ...]:
    """The same, from what of a run decides it."""
    return (
        "benchmarks.training.training:Training",
        *(STREAMED if data.photographs else RESIDENT),
        *(GROUPS if recipe.batch_norm_group else ()),
        *(FROZEN if recipe.trained != "all" else ()),
        "benchmarks.plan.run:Budget",
        "benchmarks.data.subsets:draw_subset",
        data.reader,
        *(f"benchmarks.training.augment:{name}" for name in augmentations(recipe, data.flips)),
        "models.catalogue.registry:create_model",
        *(("benchmarks.records.init_from:start",) if starts_from else ()),
        *network,
    )


def run_sources(run: Run) -> dict[str, str]:
    """Digest (8 hex digits) of each symbol a run's weights depend on, by `module:symbol`."""
    ours = _ours(
        (models.sources(run.model, options=run.options), run.data, run.recipe, bool(run.init_from)),
        run.part_sizes,
        run.steps,
        models.loaded_plugins(),
    )
    facts = _ready_made(run) | _regrouped(run)
    return {**ours, **{name: digest_of(repr(fact)) for name, fact in facts.items()}}


@lru_cache(maxsize=4096)
def _ours(
    decisive: tuple[tuple[str, ...], Dataset, Recipe, bool],
    part_sizes: tuple[int, int],
    steps: int,
    plugins: tuple[models.Plugin, ...],
) -> Mapping[str, str]:
    """Digests of our code, and of what data set and recipe come to, once for all runs in which they are the same.

    `decisive`: the arguments of `_entry_points`. `plugins` are those loaded, which decide what every name means."""
    _, data, recipe, _ = decisive
    facts = {
        f"data set {data.name}": (data.channels, data.native_resolution, data.train_counts),
        "augmentations": augmentations(recipe, data.flips),
        "images and steps": (part_sizes, steps),
    }
    return {
        **slice_digests(_entry_points(*decisive)),
        **{name: digest_of(repr(fact)) for name, fact in facts.items()},
    }


def with_ranks(now: Mapping[str, str], execution: Mapping[str, Any] | None) -> Mapping[str, str]:
    """Sources of a run, and where its execution says that several ranks compute it what they are made of."""
    ranks = (execution or {}).get("ranks", 1)  # absent in early records
    return {**now, **slice_digests(RANKS)} if ranks != 1 else now


SEVERAL_GRIDS = ("learned_1d", "learned_2d", "bias_2d", "relative_2d")  # encodings that fit tables to each grid


def _regrouped(run: Run) -> dict[str, str]:
    """A fact of the runs whose gradients of positions are added up in another order than in records that lack it.

    These are tables that are resized in training (`models.resizing`), and offsets that are clipped or mix values
    (`relative_2d`). All other runs of the same encodings have the bits they had.
    """
    clipped = run.options.get("relative_clip") or run.options.get("relative_values")
    several = run.recipe.train_resolutions and (run.position in SEVERAL_GRIDS or run.model == "coatnet")
    return {"gradients of positions": "by products and views"} if clipped or several else {}


def _ready_made(run: Run) -> dict[str, Any]:
    """What a ready-made network is made of that is no code of ours: its library, and the file of its weights."""
    if not is_ready_made(run.model):
        return {}
    facts: dict[str, Any] = {library_of(run.model): version(library_of(run.model))}
    shown = models.shown_as_published(run.model, run.options)
    if shown is not None:
        facts["mean and deviation as published"] = (shown.mean, shown.deviation)
    if run.options.get("head") == "kept":
        facts["classes of the head"] = run.data.class_names
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


MEASURING = ("benchmarks.training.evaluation:Measurer", "benchmarks.training.evaluation:evaluate")

# Digests of measuring code of before, and what code that measures the same has now. The first was made when the names
# of modules were part of it; since the second, images go to a GPU another way; since the third, other parameters of
# ready-made networks are spared weight decay.
SAME_CODE = dict.fromkeys(("619b7e6a", "10045c1b", "51dc4468"), "6b606192")


def evaluation_code(probe: str = NO_PROBE, photographs: bool = False) -> str:
    """Digest of the code that measures a finished run; with a probe, also of what that does, by which strengths, and to
    which pixels of photographs."""
    if probe == NO_PROBE:
        return code_digest((*MEASURING, RESIDENT[1]))
    pixels = "benchmarks.training.images:decoded" if photographs else RESIDENT[1]
    code = code_digest(
        ("benchmarks.training.probed.probing:Probing", f"benchmarks.training.probed.probes:{probe}", pixels)
    )
    return digest_of(f"{code} {PROBES[probe].values}")


def is_current(entry: Mapping[str, Any]) -> bool:
    """Whether an evaluation (its index entry, which names a decoder where images are photographs) was made by today's
    measuring code."""
    probe = entry.get("evaluation", {}).get("probe", NO_PROBE)
    if probe not in (NO_PROBE, *PROBES):
        return False
    return same_code(entry.get("code"), evaluation_code(probe, "decoder" in entry))


def same_code(recorded: str | None, code: str) -> bool:
    """Whether an evaluation was made by the measuring code whose digest is `code`."""
    return recorded is not None and known_code(recorded) == code


def known_code(recorded: str) -> str:
    """The digest that code which measures the same has today; the digest itself where there is none."""
    return SAME_CODE.get(recorded, recorded)
