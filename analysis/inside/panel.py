"""A panel: one figure of a look inside, with the numbers behind it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.elements.drawings import Drawing
from analysis.elements.layout import WIDTH


@dataclass(frozen=True, eq=False)
class Panel:
    """A figure: `draw(width=inches)`; `name` of its files (letters, digits, hyphens); what it `shows`, in one line; a
    `legend` of what its marks mean; the arrays behind it, by name, which go into NAME.npz. `interactive`: HTML that
    stands below the figure on the page (its texts escaped), with the page's script `look.js`."""

    name: str
    title: str
    draw: Callable[..., Figure]
    numbers: Mapping[str, NDArray[Any]]
    shows: str
    legend: str = ""
    interactive: str = ""
    width: float = WIDTH

    @property
    def drawing(self) -> Drawing:
        """The same for what writes figures."""
        return Drawing(self.name, self.draw, pd.DataFrame(), self.shows, self.legend, self.title, self.width)


@dataclass(frozen=True)
class Choices:
    """What a user chose: the `patch` whose row is shown, counted from 1 in reading order, without class and register
    tokens (None: one in the middle); the `layer`, counted from 1 (None: the last)."""

    patch: int | None = None
    layer: int | None = None
