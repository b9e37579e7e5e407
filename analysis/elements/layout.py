"""What is written in a figure fits into it, at whatever width: legends, axis labels, titles and labels of ticks.

Text keeps its size and nothing of it is cut: it goes on on another line, and the figure grows downwards. Widths come
from matplotlib's renderer, at its own resolution; other resolutions round glyphs otherwise, so a little room is left.
"""

import math
import textwrap
from collections.abc import Sequence
from functools import partial

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator
from scipy.optimize import isotonic_regression

WIDTH = 8.4  # inches, of a figure on the page
PHONE = 3.9  # inches, of the same figure where the page is as narrow as a phone
NARROW = 5.5  # inches, below which a legend beside the axes leaves them too little
BESIDE = 0.4  # share of the width that a legend beside the axes may take
COLUMNS = 3  # panels side by side, at most
PANEL = 1.6  # inches that a panel needs
SPARE = 0.97  # of the room there is; the rest is for rounding
LINE = 0.16  # inches, of a further line of a title or label
LINES = 2  # of a label beside an axis; the axes grow for a longer one
GAP = 0.03  # inches between labels of neighbouring ticks


def canvas(width: float, height: float) -> Figure:
    """An empty figure so wide, in inches; as high as `height` on the page, less where it is narrower."""
    return Figure(figsize=(width, min(height, 0.45 * width + 1.1)), layout="constrained")


def panels(amount: int, width: float, height: float, ylabel: str, alike: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with so many panels on the same axes, at most three of them side by side, and their axes; not `alike`
    are those with horizontal axes of their own.

    `height` of a row in inches, less where panels are narrow."""
    columns = max(1, min(COLUMNS, amount, int(width / PANEL)))
    rows = math.ceil(max(amount, 1) / columns)
    height = 0.7 + rows * min(height, 0.62 * width / columns + 0.6)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=alike, sharey=True, squeeze=False).ravel().tolist()
    for axes in grid[amount:]:
        axes.set_axis_off()
    for place, axes in enumerate(grid[:amount]):
        axes.tick_params(labelbottom=not alike or place + columns >= amount)  # also where the panel below is off
        axes.set_ylabel("" if place % columns else ylabel)
    return figure, grid[:amount]


def is_narrow(figure: Figure) -> bool:
    """Whether a legend beside the axes would leave them too little."""
    return float(figure.get_figwidth()) < NARROW


def place_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str], above: bool = False) -> None:
    """A legend beside the axes, or `above` them; below them where the figure is narrow, in as many columns as fit.

    A name that is wider than its room is wrapped. The figure grows by the height of a legend above or below, and to
    that of one beside."""
    width, height = map(float, figure.get_size_inches())
    beside = not above and not is_narrow(figure)
    where = "right upper" if beside else "upper left" if above else "lower center"
    make = partial(figure.legend, handles=list(handles), loc=f"outside {where}", handlelength=2.6, labelspacing=0.6)
    room = SPARE * width * (BESIDE if beside else 1)
    for columns in [1] if beside else range(min(len(names), 4), 0, -1):
        legend = make(labels=list(names), ncols=columns)
        wide, high = _size(legend, figure)
        if wide <= room or columns == 1:
            break
        legend.remove()
    if wide > room:
        of_text = max(_inches(name, figure) for name in names)
        legend.remove()
        legend = make(labels=[wrapped(name, room - (wide - of_text), figure) for name in names], ncols=1)
        wide, high = _size(legend, figure)
    figure.set_figheight(max(height, high + 0.1) if beside else height + high)


def settle(figure: Figure) -> Figure:
    """The figure, its axis labels and titles wrapped to the length of what they stand at; of ticks' labels that would
    run into each other only so many are shown as have room, from the last on."""
    labels = [(text, at, text.get_text()) for text, at in _labels(figure)]
    for text, _, _ in labels:
        text.set_text("x")  # whole, one could leave the axes no room
    _lay_out(figure)
    lacking = [
        _inches(words, figure, text.get_fontsize()) / LINES - at.bbox.height / figure.dpi
        for text, at, words in labels
        if text.get_rotation()
    ]
    height = figure.get_figheight() + max([0.0, *lacking])
    if lacking and max(lacking) > 0:
        figure.set_figheight(height)
        _lay_out(figure)
    for _ in range(3):  # wrapping one narrows the axes that the others are wrapped to
        before = [text.get_text() for text, _, _ in labels]
        for text, at, words in labels:
            room = at.bbox.height if text.get_rotation() else at.bbox.width
            text.set_text(wrapped(words, SPARE * room / figure.dpi, figure, text.get_fontsize()))
        if before == [text.get_text() for text, _, _ in labels]:
            break
        figure.set_figheight(height + _lines_added(figure))
        _lay_out(figure)
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _thin(axis, figure)
    # the same in whatever formats, in whatever order, it is written; "none" would draw it twice each time
    figure.set_layout_engine(None)
    return figure


def wrapped(text: str, room: float, figure: Figure, size: float | str | None = None) -> str:
    """The text in the fewest lines that are each at most `room` inches wide; words are broken where they are wider."""
    for letters in range(len(text), 0, -1):
        lines = textwrap.wrap(text, letters)
        if all(_inches(line, figure, size) <= room for line in lines):
            return "\n".join(lines)
    return text


def text_width(words: str, figure: Figure, size: float) -> float:
    """Inches that words in so many points are wide."""
    return _inches(words, figure, size)


def spread(figure: Figure, axes: Axes, heights: Sequence[float], size: float) -> list[float]:
    """`heights` on a linear vertical axis, moved as little as can be (least squares) so that texts of so many points at
    them do not run into each other and lie within the axes; the figure grows where these are too low."""
    _lay_out(figure)
    low, high = axes.get_ylim()
    inches = size / 72 * 1.3 * max(0, len(heights) - 1)  # of all lines below each other
    lacking = inches - axes.bbox.height / figure.dpi
    if lacking > 0:
        figure.set_figheight(float(figure.get_figheight()) + lacking)
        _lay_out(figure)
    gap = size / 72 * 1.3 * figure.dpi / axes.bbox.height * (high - low)
    order = sorted(range(len(heights)), key=heights.__getitem__)
    apart = isotonic_regression([heights[place] - rank * gap for rank, place in enumerate(order)]).x
    most = max(low, high - gap * (len(heights) - 1))
    moved = dict(zip(order, (min(max(y, low), most) + rank * gap for rank, y in enumerate(apart)), strict=True))
    return [float(moved[place]) for place in range(len(heights))]


def _lay_out(figure: Figure) -> None:
    """Puts the axes where constrained layout has them when the figure is drawn."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)


def _labels(figure: Figure) -> list[tuple[Text, Axes | Figure]]:
    """Titles and labels, each with what it stands at: an axes, or the whole figure."""
    found: list[tuple[Text, Axes | Figure]] = [(text, figure) for text in figure.texts]
    for axes in figure.axes:
        titles = [child for child in axes.get_children() if isinstance(child, Text) and child not in axes.texts]
        found += [(text, axes) for text in (*titles, axes.xaxis.label, axes.yaxis.label)]
    return [(text, at) for text, at in found if text.get_text()]


def _lines_added(figure: Figure) -> float:
    """Inches that titles, row by row of panels, and labels below the axes need for their second and further lines."""
    more: dict[object, float] = {}
    for text, at in _labels(figure):
        if not text.get_rotation():
            place = at.get_subplotspec() if isinstance(at, Axes) else None
            row = (place.rowspan.start if place else None, isinstance(at, Axes) and text is at.xaxis.label)
            more[row] = max(more.get(row, 0.0), text.get_text().count("\n") * LINE)
    return sum(more.values())


def _thin(axis: Axis, figure: Figure) -> None:
    """Hides the labels of ticks that run into a label after them, where the places of ticks are set."""
    if not isinstance(axis.get_major_locator(), FixedLocator):
        return
    renderer, gap = _renderer(figure), GAP * figure.dpi
    low, high = sorted(axis.get_view_interval())
    seen = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_text()]
    ends = ("x0", "x1") if axis is axis.axes.xaxis else ("y0", "y1")
    spans = [[getattr(text.get_window_extent(renderer), end) for end in ends] for text in seen]
    next_start = math.inf
    for (start, end), text in sorted(zip(spans, seen, strict=True), key=lambda one: one[0], reverse=True):
        if end + gap <= next_start:
            next_start = start
        else:
            text.set_visible(False)


def _renderer(figure: Figure) -> RendererAgg:
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    return canvas.get_renderer()


def _inches(line: str, figure: Figure, size: float | str | None = None) -> float:
    text = Text(0, 0, line, fontsize=size)
    text.set_figure(figure)
    return float(text.get_window_extent(_renderer(figure)).width) / figure.dpi


def _size(legend: Legend, figure: Figure) -> tuple[float, float]:
    box = legend.get_window_extent(_renderer(figure))
    return float(box.width) / figure.dpi, float(box.height) / figure.dpi
