"""The options of models: typed, and checked before any network is built (torch-free).

An option is declared once, with its type, what is allowed, its default and its meaning. Configurations, the
command line and the documentation all read this declaration, so they cannot disagree with the network.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from models.hints import did_you_mean

Scalar = bool | int | float | str
SEQUENCE = r"[1-9]\d*(-[1-9]\d*)*"  # the pattern of an option that lists whole numbers: 3-4-6-3


class ModelError(ValueError):
    """A refusal: what was given, what is allowed, and the nearest match."""


class OptionError(ModelError):
    """A refusal because of one option, whose name is kept in `option`; `message` is the text."""

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


class CombinationError(ModelError):
    """A refusal of values that are each allowed, but not together."""


@dataclass(frozen=True)
class Option:
    """One setting of a model.

    `default` is None where the size and the reference scale decide it (`models.catalogue.sizes`). `allowed` lists
    all values, where there is such a list; `minimum` and `maximum` bound a number (inclusive), `pattern` is a regular
    expression for a text, and `example` shows a text that matches.
    """

    name: str
    type: type[Scalar]
    default: Scalar | None
    meaning: str
    allowed: tuple[Scalar, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    example: str | None = None

    def check(self, value: object, where: str) -> Scalar:
        """The `value` in the option's own type.

        Raises OptionError where the option does not allow it; `where` begins the message.

        Types are strict: a bool is no int and a text is no number; an int given for a float becomes a float.
        """
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            raise self.refused(f"{where}: option `{self.name}` is {value!r}, not of type {self.type.__name__}")
        assert isinstance(value, bool | int | float | str)  # narrows the type; the line above has decided
        if self.allowed is not None and value not in self.allowed:
            near = (
                did_you_mean(value, [a for a in self.allowed if isinstance(a, str)]) if isinstance(value, str) else ""
            )
            allowed = ", ".join(str(a) for a in self.allowed)
            raise self.refused(f"{where}: option `{self.name}` is {value!r}; allowed: {allowed}{near}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            if not math.isfinite(value):
                raise self.refused(f"{where}: option `{self.name}` is {value}, not a finite number")
            low = self.minimum is not None and value < self.minimum
            if low or (self.maximum is not None and value > self.maximum):
                raise self.refused(f"{where}: option `{self.name}` is {value}; allowed: {self.bounds()}")
        if self.pattern is not None and not re.fullmatch(self.pattern, str(value)):
            raise self.refused(f"{where}: option `{self.name}` is {value!r}; expected something like {self.example!r}")
        return value

    def refused(self, message: str) -> OptionError:
        """The error to raise for a value of this option."""
        return OptionError(message, self.name)

    @property
    def is_sequence(self) -> bool:
        """Whether its text lists whole numbers, such as 3-4-6-3."""
        return self.pattern == SEQUENCE

    def bounds(self) -> str:
        """The allowed range in words: ``at least 1``, ``0.0 to 1.0``."""
        if self.maximum is None:
            return f"at least {self.minimum}"
        if self.minimum is None:
            return f"at most {self.maximum}"
        return f"{self.minimum} to {self.maximum}"


def parse_way(text: str) -> tuple[str, dict[str, float | str]]:
    """Read a way of carrying positions, as evaluations name it: the way and its choices.

    Raises ModelError where a part after the colon is not NAME=VALUE.

    >>> parse_way("interpolate:interpolation=bilinear")
    ('interpolate', {'interpolation': 'bilinear'})
    >>> parse_way("rescale_base:base=700")
    ('rescale_base', {'base': 700.0})
    """
    way, _, rest = text.partition(":")
    choices: dict[str, float | str] = {}
    for part in rest.split(",") if rest else []:
        name, equals, value = part.partition("=")
        if not (name and equals and value):
            raise ModelError(f"way {text!r}: {part!r} is not NAME=VALUE, as in rescale_base:base=700")
        choices[name] = float(value) if re.fullmatch(r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", value) else value
    return way, choices


def numbers(text: str) -> tuple[int, ...]:
    """Read a sequence option: ``"3-4-6-3"`` -> (3, 4, 6, 3)."""
    return tuple(int(part) for part in text.split("-"))
