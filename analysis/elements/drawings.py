"""A figure of a report: how it is drawn, the table behind it, what it shows; and the figure as bytes of a format.

Nothing uses pyplot, so there is no global state, and `svg` and `printed` give the same bytes each time, in whatever
process.
"""

import io
import multiprocessing
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Protocol, TypeVar

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE
from analysis.elements.fonts import quiet
from analysis.elements.layout import PHONE, WIDTH
from analysis.elements.palette import INK

WORTH_IT = 8  # drawings for which other processes are worth their start (some 2 s)
PRELOAD = "analysis.page.content"  # imports every figure
Pictures = Mapping[str, bytes]  # of one drawing, by kind: wide and narrow (SVG of a page), pdf, png


@dataclass(frozen=True)
class Drawing:
    """A figure, drawn for its width; the name of its files (also before every id in its SVG); the table
    behind it in long form; what it shows (its axes, what is compared), what its marks mean, and of which arm, which a
    page says above it and print in the caption. `width` in inches on the page, where it is not as wide as the page."""

    name: str
    draw: Callable[..., Figure] = field(compare=False)  # draw(width=inches)
    data: pd.DataFrame = field(compare=False)
    shows: str
    legend: str
    arm: str
    width: float = WIDTH

    @cached_property
    def figure(self) -> Figure:
        """As wide as on the page."""
        return self.draw(width=self.width)

    @property
    def alt(self) -> str:
        """What stands for the figure where it is not seen."""
        return f"{self.shows}; {self.arm}{'.' if self.data.empty else '; the tables have the numbers.'}"

    @property
    def caption(self) -> str:
        """What stands below the figure on the page: what it shows, and what its marks mean."""
        return f"{self.shows}. {self.legend}".rstrip()

    @property
    def printed_caption(self) -> str:
        """The same where no heading is near, with the arm."""
        return f"{self.shows}; {self.arm}. {self.legend}".rstrip()


def svg(figure: Figure, name: str) -> str:
    """The figure as an <svg> element for an HTML page: the same bytes for the same figure, no address, no date.

    `name` (letters, digits, hyphens) goes before every id, so that several figures can stand in one page. What is
    drawn in INK takes the colour of the page's text."""
    buffer = io.StringIO()
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text)  # HTML knows both
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)
    return text.replace(INK, "currentColor")


def printed(figure: Figure, kind: str) -> bytes:
    """The figure as "pdf" or "png" for print: the same bytes for the same figure, no date, no version."""
    buffer = io.BytesIO()
    nothing = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}[kind]
    with matplotlib.rc_context({**STYLE, "pdf.fonttype": 42}):  # 42: text stays text, as journals ask
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=nothing)
    return buffer.getvalue()


def pictures(drawing: Drawing, kinds: Sequence[str], column: float | None = None) -> dict[str, bytes]:
    """A drawing in each of the kinds: "wide" and "narrow" are SVG for a page and a phone, "pdf" and "png" for print,
    `column` inches wide where that is given."""
    found: dict[str, bytes] = {}
    with quiet():
        if "wide" in kinds:
            found["wide"] = svg(drawing.figure, drawing.name).encode()
        if "narrow" in kinds:
            found["narrow"] = svg(drawing.draw(width=PHONE), f"{drawing.name}-narrow").encode()
        in_print = [kind for kind in kinds if kind in ("pdf", "png")]
        if in_print:
            figure = drawing.figure if column is None else drawing.draw(width=column)
            found |= {kind: printed(figure, kind) for kind in in_print}
    return found


class Illustrated(Protocol):
    """What has figures, such as a chapter of a page."""

    @property
    def drawings(self) -> Iterable[Drawing]:
        """In order."""


Page = TypeVar("Page", bound=Illustrated)


class Drawn:
    """What gives the pictures of drawings; see `drawn`."""

    def __init__(self, made: Callable[[Drawing], Pictures], pool: ProcessPoolExecutor | None):
        self._made = made
        self._pool = pool
        self._waiting: list[Drawing] = []
        self._coming: dict[Drawing, Future[Pictures]] = {}
        self._here: dict[Drawing, Pictures] = {}

    def begin(self, drawings: Iterable[Drawing]) -> None:
        """Has them drawn by the other processes, while this one goes on, once enough are begun to be worth it."""
        if self._pool is None:
            return
        self._waiting += drawings
        if self._coming or len(self._waiting) >= WORTH_IT:
            for one in self._waiting:
                self._coming[one] = self._pool.submit(self._made, replace(one))  # without a figure drawn here
            self._waiting.clear()

    def begun(self, page: Page) -> Page:
        """The same, its drawings begun."""
        self.begin(page.drawings)
        return page

    def __call__(self, drawing: Drawing) -> Pictures:
        if drawing in self._coming:
            return self._coming[drawing].result()
        if drawing not in self._here:
            self._here[drawing] = self._made(drawing)
        return self._here[drawing]


@contextmanager
def drawn(kinds: Sequence[str], column: float | None = None, processes: int = 1) -> Iterator[Drawn]:
    """What gives the pictures of drawings. With several `processes` those that are begun are drawn side by side, by so
    many. They are forked from a server that has imported once what draws, as forks of this process, which may have
    threads, could hang; and so they run the main script again: only a caller that knows its script allows several."""
    made = partial(pictures, kinds=kinds, column=column)
    if processes < 2 or not kinds:
        yield Drawn(made, None)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    with ProcessPoolExecutor(processes, context) as pool:
        yield Drawn(made, pool)
