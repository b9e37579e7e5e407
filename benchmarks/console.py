"""What goes to a terminal: sentences, tables, plain values; amounts and times in words.

Texts from records and logs may have been written by a stranger: they must not move the cursor or set the title.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # rich is loaded where something is printed: `inductive --help` is quick without it
    from rich.console import Console

KEPT = "\n\t"
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control and format characters (escape, right to left), halves, separators
LINE_SECONDS = 30.0  # between two lines of something that is counted
PIPE_WIDTH = 250  # columns in a pipe, so that an id stays on its line
BARS = "▁▂▃▄▅▆▇█"


def terminal(*, stderr: bool = False) -> Console:
    """The console of standard output, or of standard error."""
    from rich.console import Console

    wide = not (sys.stderr if stderr else sys.stdout).isatty() and "COLUMNS" not in os.environ
    return Console(stderr=stderr, width=PIPE_WIDTH if wide else None)


def say(console: Console, text: str) -> None:
    """Prints a text as it is: no markup, no colours, no wrapping of long ids, no control characters."""
    console.print(printable(text), highlight=False, markup=False, soft_wrap=True)


def table(console: Console, title: str, columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints a table; `columns` maps a heading to its alignment ('left' or 'right')."""
    from rich.table import Table
    from rich.text import Text

    made = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for heading, justify in columns.items():
        made.add_column(heading, justify="right" if justify == "right" else "left", overflow="fold")
    for row in rows:
        made.add_row(*(Text(printable(str(value))) for value in row))
    console.print(made)


@contextmanager
def counting(console: Console, what: str, total: int) -> Iterator[Callable[[], None]]:
    """While something is done `total` times: a bar with the time left on a terminal, elsewhere a line every half
    minute. What it gives is called after each time."""
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(what, markup=False), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as progress:
            bar = progress.add_task(what, total=total)
            yield lambda: progress.advance(bar)
        return
    done, last = 0, time.monotonic()

    def count() -> None:
        nonlocal done, last
        done += 1
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            say(console, f"{what}: {done:,} of {total:,}")

    yield count


@contextmanager
def busy(console: Console, what: str) -> Iterator[None]:
    """While something is done whose length nobody knows: a moving sign on a terminal, elsewhere a line."""
    if console.is_terminal:
        from rich.text import Text

        with console.status(Text(printable(f"{what} ..."))):
            yield
        return
    say(console, f"{what} ...")
    yield


def print_json(values: Any) -> None:
    """Prints plain values on standard output, for `--json`."""
    print(json.dumps(values, indent=1))


def count(amount: int, noun: str) -> str:
    """'1 job', '1,200 jobs'; `noun` is the plural and ends in s."""
    return f"{amount:,} {noun.removesuffix('s') if amount == 1 else noun}"


def duration(seconds: float) -> str:
    """'45 s', '7 min 30 s', '2 h 05 min', '3 d 4 h'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """Finite numbers as a row of bars, the lowest ▁ and the highest █; of more than `width`, the mean of each stretch.

    Returns '' for none."""
    cells = min(width, len(values))
    ends = [round(cell * len(values) / cells) for cell in range(cells + 1)] if cells else [0]
    heights = [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(ends)]
    low, high = min(heights, default=0.0), max(heights, default=0.0)
    step = (high - low) / (len(BARS) - 1) or 1.0
    return "".join(BARS[round((height - low) / step)] for height in heights)


def printable(text: str) -> str:
    """The text with what a terminal would obey, or a reader not see, as its escape: `\\x1b`, `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(_escaped(one) if _obeyed(one) else one for one in text)


def _obeyed(one: str) -> bool:
    return one not in KEPT and unicodedata.category(one) in UNSEEN


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
