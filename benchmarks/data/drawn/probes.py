"""The drawn data sets, as they are declared: `drawn:PROBE-PIXELS`, such as `drawn:counting-32`.

Each is drawn at its resolution, from the same scenes at every one. The training part and the test part differ in
nothing but chance, unless the probe says so; then the validation part, which is taken from the training part, tells
what is learned where the test tells what it was learned by.
"""

import re
from dataclasses import dataclass

from benchmarks.data.dataset import DRAWN, Dataset
from benchmarks.errors import ConfigError
from models.catalogue.sizes import SCALES
from models.hints import did_you_mean

TRAIN, TEST = 5000, 2000  # images; each is a multiple of every number of classes
SMALLEST, LARGEST = 16, 256  # pixels
LISTED = 32  # the resolution at which `inductive list datasets` has them


@dataclass(frozen=True)
class Probe:
    """What is known of a probe at every resolution.

    `ceiling` is the test accuracy of whoever knows the rule, `chance` of whoever guesses; shares of 1.
    `file` is the module beside this one whose `function` reads it.
    """

    about: str
    channels: int
    classes: tuple[str, ...]
    file: str
    function: str = "read"
    ceiling: float = 1.0

    @property
    def chance(self) -> float:
        return 1 / len(self.classes)


PROBES = {
    "where": Probe(
        "which of two colours is on the left; in training that goes with the half of the image, in the test with the "
        "other half, so that place alone scores 0",
        3,
        ("red left", "green left"),
        "where",
    ),
    "composition": Probe(
        "whether the parts of a face are in their places; every image has the same parts",
        1,
        ("parts misplaced", "face"),
        "composition",
    ),
    "same_near": Probe(
        "whether two shapes are the same, their centres 0.32 to 0.39 of the image apart",
        1,
        ("different", "same"),
        "same",
        "read_near",
    ),
    "same_far": Probe(
        "whether two shapes are the same, their centres 0.62 to 0.69 of the image apart",
        1,
        ("different", "same"),
        "same",
        "read_far",
    ),
    "counting": Probe(
        "how many discs there are, one to five, of any size and brightness",
        1,
        ("one", "two", "three", "four", "five"),
        "counting",
    ),
    "locality": Probe(
        "disc or cross, of any size and brightness, anywhere",
        1,
        ("disc", "cross"),
        "locality",
    ),
    "locality_permuted": Probe(
        "the images of `locality`, their pixels in one and the same other order",
        1,
        ("disc", "cross"),
        "locality",
        "read_permuted",
    ),
    "texture_or_shape": Probe(
        "disc or cross; in training the texture says it as well, in the test it is the other's, so that the accuracy "
        "is the share decided by shape, and texture alone scores 0",
        1,
        ("disc", "cross"),
        "texture_or_shape",
    ),
}


def declared(name: str) -> Dataset:
    """The drawn data set of this name. Raises ConfigError for an unknown probe, with the nearest, and for pixels that
    are none, out of range or begin with a zero, which would be another run of the same images."""
    known, _, pixels = name.removeprefix(DRAWN).rpartition("-")
    if known not in PROBES:
        known, pixels = (known or pixels), ""
        if known not in PROBES:
            raise ConfigError(
                "dataset",
                f"unknown drawn data set '{name}'; there are {', '.join(names())}{did_you_mean(known, PROBES)}",
            )
    digits = pixels.lstrip("0")
    there = re.fullmatch("[0-9]{1,3}", digits) is not None and SMALLEST <= int(digits) <= LARGEST
    if digits != pixels or not there:
        raise ConfigError(
            "dataset",
            f"'{name}' needs its pixels, {SMALLEST} to {LARGEST}: {DRAWN}{known}-{digits if there else LISTED}",
        )
    probe, side = PROBES[known], int(pixels)
    return Dataset(
        f"{DRAWN}{known}-{side}",
        f"drawn: {probe.about} ({side}x{side}, {'grey' if probe.channels == 1 else 'colour'})",
        probe.channels,
        side,
        next((scale for scale in SCALES if scale >= max(side, LISTED)), SCALES[-1]),
        (TRAIN // len(probe.classes),) * len(probe.classes),
        TEST,
        False,
        f"benchmarks.data.drawn.{probe.file}:{probe.function}",
        f"drawn by the suite: {probe.about}; chance {probe.chance:.0%}, best possible {probe.ceiling:.0%}",
    )


def probe_of(name: str) -> Probe:
    """The probe of a declared data set."""
    return PROBES[name.removeprefix(DRAWN).rpartition("-")[0]]


def names() -> tuple[str, ...]:
    """Every drawn data set at one resolution, as lists of data sets have them."""
    return tuple(f"{DRAWN}{name}-{LISTED}" for name in PROBES)
