"""A figure of a report: how it is drawn, the table behind it, what it shows; and the figure as bytes of a format.

Nothing uses pyplot, so there is no global state, and `svg` and `printed` give the same bytes each time, in whatever
process.
"""

import io
import multiprocessing
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from analysis.elements.axes import STYLE
from analysis.elements.fonts import quiet
from analysis.elements.layout import PHONE, WIDTH
from analysis.elements.palette import INK

A_PROCESS = 8  # drawings for which another process is worth its start (some 2 s)
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


@contextmanager
def drawn(
    drawings: Sequence[Drawing], kinds: Sequence[str], column: float | None = None, processes: int = 1
) -> Iterator[Callable[[Drawing], Pictures]]:
    """What gives the pictures of each of the drawings. With several `processes` many are drawn side by side, by at most
    so many, while other work is done. They start afresh, as forks of a process that has threads may hang, and so run
    the main script again: only a caller that knows its script allows several."""
    made = partial(pictures, kinds=kinds, column=column)
    processes = min(processes, len(drawings) // A_PROCESS)
    if processes < 2:
        found = {one.name: made(one) for one in drawings}
        yield lambda drawing: found[drawing.name]
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        coming = {one.name: pool.submit(made, replace(one)) for one in drawings}  # without a figure drawn here
        yield lambda drawing: coming[drawing.name].result()
