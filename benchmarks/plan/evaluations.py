"""Which evaluations of a run a study wants: those at its test resolutions, and those of its [[evaluations]] tables.

A key of such a table may be a list, which is then an axis. What a kind of model does not have (a way of carrying
positions, patches, BatchNorm) is not asked of it; what no model of the study has is refused, with the nearest.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

import models
from benchmarks.data import duplicates
from benchmarks.errors import ConfigError, ImpossibleError
from benchmarks.plan.probes import NO_PROBE, check_probe, suited
from benchmarks.plan.run import (
    Aspect,
    BatchNorm,
    Evaluation,
    Frozen,
    Images,
    Interpolation,
    Part,
    Run,
    Views,
    default_evaluation,
    refuse_resolution,
    unknown_key,
    usually_shown,
    validated,
)
from models.hints import did_you_mean


class Request(Frozen):
    """One point of the axes of an [[evaluations]] table; without a resolution: at the run's test resolutions, or
    with a probe (a name, or `all`) at that of training; without a strength: at every one; without crop, interpolation
    or aspect: as the run's images are usually shown."""

    resolution: Annotated[int, Field(ge=1)] | None = None
    images: Images = "resize"
    crop: Annotated[float, Field(gt=0, le=1)] | None = None
    carry: str = "default"
    batchnorm: BatchNorm = "kept"
    views: Views = "one"
    probe: str = NO_PROBE
    strength: int | None = None
    resize_side: Annotated[int, Field(ge=0)] = 0
    interpolation: Interpolation | None = None
    aspect: Aspect | None = None


@dataclass(frozen=True)
class EvaluationTable:
    """What one table requests; `place` is where it stands in the file, `models[0].evaluations[1]`."""

    place: str
    each: tuple[Request, ...]


def read_tables(tables: Any, prefix: str) -> tuple[EvaluationTable, ...]:
    """The [[evaluations]] tables under `prefix` ('models[0].' or ''). Raises ConfigError for the first thing wrong."""
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise ConfigError(f"{prefix}evaluations", "is not a list of tables: write [[evaluations]]")
    found = []
    for number, table in enumerate(tables):
        place = f"{prefix}evaluations[{number}]"
        unknown_key(table, Request.model_fields, f"{place}.")
        axes = {key: value if isinstance(value, list) else [value] for key, value in table.items()}
        for key, values in axes.items():
            if not values:
                raise ConfigError(f"{place}.{key}", "is an empty list: an axis needs a value")
        points = (dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values()))
        found.append(EvaluationTable(place, tuple(_read_request(point, place) for point in points)))
    return tuple(found)


def _read_request(point: Mapping[str, Any], place: str) -> Request:
    request = validated(Request, point, f"{place}.")
    if request.probe != NO_PROBE:
        check_probe(request.probe, request.strength, f"{place}.probe", f"{place}.strength")
    elif request.strength is not None:
        raise ConfigError(f"{place}.strength", "is that of a probe, and there is none: probe = NAME")
    if request.resize_side and request.crop not in (None, 1):
        raise ConfigError(f"{place}.resize_side", "and crop say the same in two ways: one of them, the other left out")
    if request.resize_side and request.images != "resize":
        raise ConfigError(f"{place}.resize_side", f"is of images = 'resize'; {request.images!r} has no such step")
    return request


@dataclass
class UnmetRequests:
    """What was asked of models that do not have it, by (place, key, value), and what some model has."""

    refused: dict[tuple[str, str, str], str] = field(default_factory=dict)  # to what is there instead, in words
    met: set[tuple[str, str, str]] = field(default_factory=set)
    ways: dict[str, None] = field(default_factory=dict)

    def check(self) -> None:
        """Raises ConfigError for the first thing that no model of the study has."""
        for (place, key, value), what in self.refused.items():
            if (place, key, value) in self.met:
                continue
            if key == "carry":
                known = ("default", "all", *self.ways)
                what += f"; there are {', '.join(known)}{did_you_mean(value, known)}"
            raise ConfigError(f"{place}.{key}", f"{value!r}: no model of the study {what}")


def evaluations_of(
    run: Run, tables: tuple[EvaluationTable, ...], resolutions: list[int], parts: tuple[Part, ...], unmet: UnmetRequests
) -> Iterator[Evaluation | ImpossibleError]:
    """What is wanted of a run, part by part; an ImpossibleError, with its place, for what cannot be.

    `resolutions` are those of requests that name none. Notes in `unmet` what the run's model does not have.
    """
    for table in tables:
        for request in table.each:
            if not _has(run, request, table.place, unmet):
                continue
            probed = request.probe != NO_PROBE
            asked = [request.resolution] if request.resolution else [run.resolution] if probed else resolutions
            for resolution in asked:
                try:
                    changes = _changes(run, request, resolution, f"{table.place}.probe")
                    _refuse_mirrors(run, request, f"{table.place}.views")
                    _refuse_small(request, resolution, f"{table.place}.resize_side")
                    carries = _checked(run, request, resolution, f"{table.place}.resolution")
                except ImpossibleError as error:
                    yield error
                    continue
                crop, interpolation, aspect = usually_shown(run.model, run.options)
                at_home = resolution == run.resolution  # there every kind of images is the same
                of = ("test",) if probed else parts  # nothing is chosen by a probe
                for part, carry, (probe, strength) in itertools.product(of, carries, changes):
                    yield Evaluation(
                        part=part,
                        resolution=resolution,
                        images="resize" if at_home else request.images,
                        carry=carry,
                        crop=1.0 if request.resize_side else request.crop or crop,
                        batchnorm=request.batchnorm,
                        views=request.views,
                        probe=probe,
                        strength=strength,
                        resize_side=request.resize_side,
                        interpolation=request.interpolation or interpolation,
                        aspect=request.aspect or aspect,
                    )


def _changes(run: Run, request: Request, resolution: int, key: str) -> list[tuple[str, int]]:
    """The probes of a request, each with its strength. Raises ImpossibleError where its images have the wrong size."""
    if request.probe == NO_PROBE:
        return [(NO_PROBE, 0)]
    return list(suited(request.probe, request.strength, run.probed_side(request.images, resolution), key))


def _has(run: Run, request: Request, place: str, unmet: UnmetRequests) -> bool:
    """Whether the run's model has all that is requested."""
    has = []
    if request.carry not in ("default", "all"):
        unmet.ways |= dict.fromkeys(models.carry_ways(run.model, options=run.options))
        way = models.own_way(run.model, options=run.options, text=request.carry)
        has.append(("carry", request.carry, way is not None, "is carried to another grid so"))
    if request.images == "patch":
        patches = _abilities(run).patch is not None
        has.append(("images", "patch", patches, "cuts its images into patches by one convolution"))
    if request.batchnorm == "reestimated":
        has.append(("batchnorm", "reestimated", _abilities(run).batch_norm, "has a BatchNorm"))
    for key, value, there, what in has:
        if there:
            unmet.met.add((place, key, value))
        else:
            unmet.refused.setdefault((place, key, value), what)
    return all(there for *_, there, _ in has)


def _abilities(run: Run) -> models.Abilities:
    return models.abilities(run.model, size=run.size, options=run.options, train_resolution=run.resolution)


def _refuse_mirrors(run: Run, request: Request, key: str) -> None:
    """Raises ImpossibleError for mirror images where they would mean something else."""
    if request.views == "mirrored" and not run.data.flips:
        raise ImpossibleError(key, f"mirror images of {run.dataset} mean something else: 'one' is all there is")


def _refuse_small(request: Request, resolution: int, key: str) -> None:
    """Raises ImpossibleError where less is left of an image than is to be shown of it."""
    if request.resize_side and request.resize_side < resolution:
        words = f"images of {request.resize_side} px have no middle of {resolution} px; the nearest is {resolution}"
        raise ImpossibleError(key, words)


def _checked(run: Run, request: Request, resolution: int, key: str) -> tuple[str, ...]:
    """The ways of carrying to evaluate with; raises ImpossibleError for images that the model cannot take."""
    if request.images == "patch":
        try:
            models.check_patch(_abilities(run).patch or 1, resolution, run.resolution)
        except models.ModelError as error:
            raise ImpossibleError(key, f"model {run.model}: {error}") from error
        return ("-",)  # as many tokens as in training
    refuse_resolution(run, resolution, key)
    ways = models.carry_ways(run.model, options=run.options)
    if resolution == run.resolution or not ways:
        return ("-",)
    if request.carry == "all":
        return ways
    if request.carry == "default":
        return ways[:1]
    return (models.own_way(run.model, options=run.options, text=request.carry) or "-",)


def leave_out_duplicates(evaluations: Iterable[Evaluation]) -> bool:
    """Whether any of the evaluations leaves out the test images that are in the training part, too."""
    return any(evaluation.part == duplicates.PART for evaluation in evaluations)


def in_words(missing: Iterable[tuple[Run, Iterable[Evaluation]]]) -> list[tuple[str, tuple[str, ...]]]:
    """Evaluations that runs lack, as people speak of them: (what, ids of the runs), in the order of appearance.

    '24 px' for the default evaluation at that resolution, '24 px, canvas' for another, where a model's default way of
    carrying positions goes without saying. The part is named where it is the validation part, or the test without
    duplicates, alone."""
    runs: dict[str, dict[str, None]] = {}
    parts: dict[str, set[str]] = {}
    for run, evaluations in missing:
        for one in evaluations:
            usual = default_evaluation(run, one.part, one.resolution)
            one = one.model_copy(update={"strength": 0})  # of a probe they are named together
            how = one.model_copy(update={"carry": "-"}).words if one.carry == usual.carry else one.words
            what = f"{one.resolution} px" if one == usual else f"{one.resolution} px, {how}"
            runs.setdefault(what, {})[run.id] = None
            parts.setdefault(what, set()).add(one.part)
    alone = {what: next(iter(found)) for what, found in parts.items() if len(found) == 1 and "test" not in found}
    return [(f"{what} ({alone[what]})" if what in alone else what, tuple(ids)) for what, ids in runs.items()]
