"""`--at features`: layers against each other, their frequencies, what they see, and whether they know their place.

Beside each run stands its network as it started: what the architecture does before it has learned anything.
"""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis.elements.palette import DOTTED, Look, looks
from analysis.frame.naming import differing, text
from analysis.inside.features import figures, numbers
from analysis.inside.features.figures import Depth, Likeness
from analysis.inside.features.numbers import Array
from analysis.inside.panel import Choices, Panel
from analysis.inside.subject import Subject, untrained_words
from benchmarks.errors import ConfigError
from models.network import Network

FEWEST = 8  # images: half of them for the probe, and more than HSIC needs
SEEN = 32  # images over which receptive fields are averaged, at most
CONTROL = "untrained"


@dataclass(frozen=True, eq=False)
class Measured:
    """A network to measure: of a subject, trained or as it started; how it is named and drawn."""

    subject: Subject
    network: Network
    name: str
    look: Look
    key: str  # in the names of arrays

    @property
    def trained(self) -> bool:
        """Whether it is the subject's own network, not what that was before training."""
        return self.network is self.subject.network

    @cached_property
    def layers(self) -> list[str]:
        """Names of its layers."""
        with torch.no_grad():
            return list(numbers.layers(self.network, self.subject.images[:1]))


def panels(subjects: Sequence[Subject], choices: Choices) -> list[Panel]:
    """The panels of the view. Raises ConfigError for choices that it does not have, for too few images, and for
    subjects that are shown different images."""
    if choices.patch is not None or choices.layer is not None:
        name = "--patch" if choices.patch is not None else "--layer"
        raise ConfigError(
            name, "is for other views; --at features shows all layers, and what the middle one depends on"
        )
    check_images(subjects)
    networks = measured(subjects)
    found = _likenesses(networks)
    with torch.no_grad():
        some = any(numbers.maps(one.network, one.subject.images[:1]) for one in networks)
    if some:  # an MLP has no places
        found += [*_spectra(networks), *_receptive_fields(networks), _places(networks)]
    return found


def check_images(subjects: Sequence[Subject]) -> None:
    """Raises ConfigError unless the subjects are different and shown the same images, and enough of them."""
    first, *others = subjects
    names = [one.name for one in subjects]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ConfigError(twice[0], "is given twice; a network with itself is shown anyway")
    if len(first.images) < FEWEST:
        raise ConfigError("--images", f"gives {len(first.images)} with --count; --at features needs {FEWEST} or more")
    for other in others:
        alike = first.pictures.shape == other.pictures.shape and np.array_equal(first.pictures, other.pictures)
        if first.resolution != other.resolution:  # then pixels differ, and the places in one part decide
            alike = first.where == other.where and first.labels.tolist() == other.labels.tolist()
        if not alike:
            raise ConfigError(
                other.name,
                f"is shown other images than {first.name}, so that their layers cannot be compared; allowed: runs of "
                f"one data set with one draw and train size, --images test, or images of your own",
            )


def measured(subjects: Sequence[Subject]) -> list[Measured]:
    """The subjects' networks, each followed by itself as it started where it is that of a run."""
    names = short_names(subjects)
    kinds = [(one.trained.run.model, one.trained.run.position) if one.trained else (one.name, "-") for one in subjects]
    styles = looks(
        pd.DataFrame([(n, *kind) for n, kind in zip(names, kinds, strict=True)], columns=["label", "model", "position"])
    )
    found = []
    for subject, name in zip(subjects, names, strict=True):
        key, look = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_"), styles[name]
        found.append(Measured(subject, subject.network, name, look, key))
        if subject.trained is not None:
            pale = look._replace(line=DOTTED, weight=0.6)
            found.append(Measured(subject, subject.untrained, f"{name}, {CONTROL}", pale, f"{key}_{CONTROL}"))
    return found


def short_names(subjects: Sequence[Subject]) -> list[str]:
    """Model and positions; where several have the same, with the settings that differ; ids where that is not enough."""
    names = [
        " ".join(
            [one.trained.run.model, *([one.trained.run.position] if "position" in one.trained.run.options else [])]
        )
        if one.trained
        else one.name
        for one in subjects
    ]
    for name in {name for name in names if names.count(name) > 1}:
        alike = [place for place, other in enumerate(names) if other == name]
        settings = {place: _settings(subjects[place]) for place in alike}
        keys = differing(list(settings.values()))
        for place, own in settings.items():
            names[place] = " ".join([name, *(f"{key}={text(own[key])}" for key in keys if key in own)])
    return names if len(set(names)) == len(names) else [one.name for one in subjects]


def _settings(subject: Subject) -> dict[str, Any]:
    """The settings of a subject's run that have one value each: the model's options first."""
    if subject.trained is None:
        return {}
    run = subject.trained.run
    return {**run.options, **{key: value for key, value in run if key != "id" and isinstance(value, str | int | float)}}


def _likenesses(networks: Sequence[Measured]) -> list[Panel]:
    """CKA of every network with itself and with what it was untrained, and of every two trained ones."""
    layers = [one.layers for one in networks]
    images = [one.subject.images for one in networks]
    whole = numbers.cka(numbers.features_of([one.network for one in networks], images))
    ends = [0, *itertools.accumulate(map(len, layers))]

    def panel(name: str, title: str, pairs: Sequence[tuple[int, int]]) -> Panel:
        drawn, arrays = [], {}
        for a, b in pairs:
            matrix = whole[ends[a] : ends[a + 1], ends[b] : ends[b + 1]]
            drawn.append(Likeness(matrix, layers[a], layers[b], networks[a].name, networks[b].name))
            arrays[f"cka_{networks[a].key}_{networks[b].key}"] = matrix
            arrays |= {f"layers_{networks[place].key}": np.array(layers[place]) for place in (a, b)}
        return Panel(
            name,
            title,
            partial(figures.likeness, drawn),
            arrays,
            "Linear CKA of every two layers, rows against columns",
            f"By the unbiased estimator, over {len(images[0])} images. 1: alike but for rotation and scale; "
            "0: unrelated; grey: the layer is the same for all images.",
        )

    places = list(enumerate((place for place, one in enumerate(networks) if one.trained), start=1))
    control = {a: a + 1 for a, (one, after) in enumerate(itertools.pairwise(networks)) if one.subject is after.subject}
    found = []
    for number, a in places:
        pairs = [(a, a), *([(control[a], control[a]), (a, control[a])] if a in control else [])]
        found.append(panel(f"cka-{number}", f"Layers against each other: {networks[a].name}", pairs))
    for (m, a), (n, b) in itertools.combinations(places, 2):
        pairs = [(a, b), *([(control[a], control[b])] if a in control and b in control else [])]
        title = f"Layers of {networks[a].name} against those of {networks[b].name}"
        found.append(panel(f"cka-{m}-{n}", title, pairs))
    return found


def _spectra(networks: Sequence[Measured]) -> list[Panel]:
    """Fourier amplitudes of all layers, and those at the highest frequency by depth."""
    found = {one.key: numbers.spectra(one.network, one.subject.images) for one in networks}
    how = f"Mean over channels and {len(networks[0].subject.images)} images; the diagonal of the spectrum."
    panels = []
    for number, (_, group) in enumerate(itertools.groupby(networks, lambda one: one.subject.name), start=1):
        of_subject = [one for one in group if found[one.key]]
        if of_subject:
            panels.append(
                Panel(
                    f"spectra-{number}",
                    f"Frequencies in each layer: {of_subject[0].name}",
                    partial(figures.spectra, {one.name: found[one.key] for one in of_subject}),
                    {f"{layer}_{one.key}": line for one in of_subject for layer, line in found[one.key].items()},
                    "Logarithm of the Fourier amplitude of feature maps less that at frequency 0, against frequency",
                    f"{how} The lower, the smoother the map.",
                )
            )
    highest = [_depth(one, {name: line[-1] for name, line in found[one.key].items()}) for one in networks]
    by_depth = Panel(
        "high-frequencies",
        "High frequencies by depth",
        partial(figures.by_depth, {"": highest}, "Δ log amplitude, highest frequency", (None, None)),
        _by_layer(highest, networks),
        "Logarithm of the Fourier amplitude at the highest frequency of a layer's map less that at frequency 0",
        f"{how} The lower, the smoother the map. {_dotted(networks)}",
    )
    return [by_depth, *panels]


def _receptive_fields(networks: Sequence[Measured]) -> list[Panel]:
    """Effective receptive fields of every network, and their sizes by depth."""
    fields = {one.key: numbers.receptive_fields(one.network, one.subject.images[:SEEN]) for one in networks}
    seen = min(SEEN, len(networks[0].subject.images))
    sizes = {"above 4.55 % of the most": numbers.field_size, "the fewest that hold half": numbers.core_size}
    groups = {
        title: [_depth(one, {layer: size(field) for layer, field in fields[one.key].items()}) for one in networks]
        for title, size in sizes.items()
    }
    arrays: dict[str, Any] = {}
    for name, group in zip(("size", "core"), groups.values(), strict=True):
        arrays |= _by_layer(group, networks, name)
    by_depth = Panel(
        "receptive-field-size",
        "Size of the effective receptive field by depth",
        partial(figures.by_depth, groups, "pixels along a side", (0, None)),
        arrays,
        "Side of the square as large as the pixels on which the middle feature of a layer depends: those on which it "
        "depends more than 4.55 % as much as on that on which it depends most, and the fewest that hold half of it all",
        f"Root mean square of the Jacobian over {seen} images. {_dotted(networks)}",
    )
    maps = [
        Panel(
            f"receptive-field-{number}",
            f"Effective receptive fields: {one.name}",
            partial(
                figures.receptive_fields,
                fields[one.key],
                {layer: numbers.field_size(field) for layer, field in fields[one.key].items()},
            ),
            {**fields[one.key], "layers": np.array(list(fields[one.key]))},
            "How much the middle feature of each layer depends on each pixel of the image, from 1 % (dark) of the most "
            "(light), logarithmic; with the side of the square as large as the pixels above 4.55 %",
            f"Root mean square of the Jacobian over {seen} images.",
        )
        for number, one in enumerate((one for one in networks if fields[one.key]), start=1)
    ]
    return [by_depth, *maps]


def _places(networks: Sequence[Measured]) -> Panel:
    """R^2 of a linear probe of places, by depth."""
    images = networks[0].subject.images
    found = {one.name: numbers.decoded_places(numbers.halves(one.network, one.subject.images)) for one in networks}
    groups: dict[str, list[Depth]] = {}
    for place, title in enumerate(("x, from left to right", "y, from top to bottom")):
        groups[title] = [
            _depth(one, {name: float(r2[place]) for name, r2 in found[one.name].items()}) for one in networks
        ]
    arrays = {
        name: array
        for axis, group in zip("xy", groups.values(), strict=True)
        for name, array in _by_layer(group, networks, f"r2_{axis}").items()
    }
    half = len(images) // 2
    return Panel(
        "places",
        "Does a feature know its place?",
        partial(figures.by_depth, groups, "R² of the place, on held-out images", (-0.05, 1.05)),
        arrays,
        "Share of the variance of a place's coordinates that a linear map of the features there explains",
        f"Ridge regression on {half} images, measured on {len(images) - half} others. 1: the feature tells its place "
        f"exactly; 0: not at all. {_dotted(networks)}",
    )


def _dotted(networks: Sequence[Measured]) -> str:
    """What the dotted lines are."""
    return f"Dotted: {untrained_words([one.subject for one in networks])}."


def _depth(one: Measured, values: Mapping[str, float]) -> Depth:
    """A value by layer of a network; NaN where a layer has none."""
    layers = [name for name in one.layers if name != "pooled"]
    return Depth(one.name, one.look, layers, np.array([values.get(name, np.nan) for name in layers]))


def _by_layer(lines: Sequence[Depth], networks: Sequence[Measured], name: str = "values") -> dict[str, Array]:
    """The arrays of lines over depth: the values, and the names of the layers."""
    found: dict[str, Any] = {}
    for line, one in zip(lines, networks, strict=True):
        found |= {f"{name}_{one.key}": line.values, f"layers_{one.key}": np.array(line.layers)}
    return found
