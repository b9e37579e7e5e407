"""Probes: one thing changed in the test images of a finished run, or in their labels, by steps of growing strength.

This is the table of all of them. What each does to images is the function of its name in
benchmarks/training/probed/probes.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.errors import ConfigError, ImpossibleError
from models.hints import did_you_mean

NO_PROBE = "-"  # the images as they are
ALL = "all"
COARSEST, FINEST = 4, 14  # patches along a side that `patch_drop` may cut an image into


def drop_grid(side: int) -> int:
    """Patches along each side for `patch_drop`: as many as divide an image of `side` pixels, at most 14 (so 14 of 224
    pixels, as in "Intriguing properties of vision transformers", Naseer et al., 2021)."""
    return max(count for count in range(1, FINEST + 1) if side % count == 0)


def _fits_shift(pixels: float, side: int) -> str:
    return "" if 2 * pixels <= side else f"{pixels:g} pixels are more than half of an image of {side}"


def _fits_shuffle(grid: float, side: int) -> str:
    return "" if side % int(grid) == 0 else f"{side} pixels are no multiple of {grid:g}"


def _fits_drop(share: float, side: int) -> str:
    divides = drop_grid(side) >= COARSEST
    return "" if divides else f"{side} pixels have no divisor from {COARSEST} to {FINEST}"


@dataclass(frozen=True)
class Probe:
    """`does`: in words, {} for the value of a strength. `values`: of strength 1, 2, ... `control`: not an image
    of something any more, or not its label: every network should be at chance. `misfit(value, side)`: why images of
    `side` pixels cannot be changed so; '' where they can."""

    does: str
    values: tuple[float, ...]
    control: bool = False
    misfit: Callable[[float, int], str] = lambda value, side: ""

    @property
    def strengths(self) -> range:
        return range(1, len(self.values) + 1)

    @property
    def words(self) -> str:
        """What it does, with the values of all strengths: 'enlarged 1.1, 1.2, 1.4, 1.7, 2 times about the middle'."""
        return self.does.format(", ".join(f"{value:g}" for value in self.values))

    def value(self, strength: int) -> float:
        """What a strength stands for: pixels, degrees, a share."""
        return self.values[strength - 1]


SHARES = (0.9, 0.75, 0.6, 0.45, 0.3)  # of the side
PROBES = {
    "shift": Probe("moved by {} pixels along a diagonal, around the edges", (1, 2, 3, 4, 6), misfit=_fits_shift),
    "rotation": Probe("turned by {} degrees, to the left or to the right", (5, 10, 20, 30, 45)),
    "scale": Probe("enlarged {} times about the middle", (1.1, 1.2, 1.4, 1.7, 2.0)),
    "blur": Probe("blurred by a Gaussian of {} thirty-seconds of the side", (0.5, 1.0, 1.5, 2.0, 3.0)),
    "noise": Probe("with Gaussian noise of deviation {} (white is 1)", (0.04, 0.08, 0.12, 0.18, 0.26)),
    "brightness": Probe("darker or brighter by the share {}", (0.1, 0.2, 0.3, 0.5, 0.7)),
    "contrast": Probe("with {} of its contrast", (0.8, 0.6, 0.4, 0.25, 0.1)),
    "occlusion": Probe("behind a square of {} of the side", (0.2, 0.3, 0.4, 0.5, 0.6)),
    "patch_shuffle": Probe("cut into {} patches along each side, which are shuffled", (2, 4, 8), misfit=_fits_shuffle),
    "patch_drop": Probe("without {} of its patches", tuple(tenth / 10 for tenth in range(1, 10)), misfit=_fits_drop),
    "object_size": Probe("shrunk to {} of its side, in the middle of as many pixels as before", SHARES),
    "fewer_pixels": Probe("shrunk to {} of its side and enlarged again", SHARES),
    "noise_image": Probe("noise of the training images' mean and deviation, cut to 0..1", (1,), control=True),
    "permuted_labels": Probe("with another image's label", (1,), control=True),
}


def check_probe(probe: str, strength: int | None, probe_key: str, strength_key: str) -> None:
    """Raises ConfigError, at one of the keys, for a probe that is none (with the nearest), and for a strength that it
    does not have: of `all` one that no probe has."""
    if probe not in (ALL, *PROBES):
        known = (ALL, *PROBES)
        raise ConfigError(probe_key, f"'{probe}' is no probe; there are {', '.join(known)}{did_you_mean(probe, known)}")
    last = max(len(one.values) for name, one in PROBES.items() if probe in (ALL, name))
    if strength is not None and not 1 <= strength <= last:
        whose = "the probes go" if probe == ALL else f"{probe} goes" if last > 1 else f"{probe} has 1 alone; it goes"
        raise ConfigError(strength_key, f"{strength} is out of range: {whose} from 1 to {last}")


def suited(probe: str, strength: int | None, side: int, key: str) -> Iterable[tuple[str, int]]:
    """(probe, strength) of all that are asked for (`all`; None: every strength) and that images of `side` pixels can be
    changed by. Raises ImpossibleError at `key` where nothing is left of a probe that is named."""
    for name in PROBES if probe == ALL else (probe,):
        one = PROBES[name]
        wanted = [step for step in one.strengths if strength in (None, step)]
        reasons = {step: one.misfit(one.value(step), side) for step in wanted}
        if probe != ALL and all(reasons.values()):
            raise ImpossibleError(key, f"{name}: {reasons[wanted[0]]}")
        yield from ((name, step) for step in wanted if not reasons[step])
