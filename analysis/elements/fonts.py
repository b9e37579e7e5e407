"""Letters that the font of printed figures lacks. The SVG of a page keeps its text: the browser has a font for it."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib.font_manager import findfont, get_font

from analysis import wording
from analysis.elements.axes import STYLE


def missing_letters(labels: Iterable[str]) -> dict[str, str]:
    """Of each label that has any, the letters for which PDF and PNG show a box, each once, in order."""
    known = _letters()
    found = {label: "".join(dict.fromkeys(letter for letter in label if ord(letter) not in known)) for label in labels}
    return {label: letters for label, letters in found.items() if letters}


def missing_letters_warnings(labels: Iterable[str]) -> list[str]:
    """The same in a sentence, with the way out; nothing where no letter is lacking."""
    found = [f"{' '.join(letters)} of “{label}”" for label, letters in missing_letters(labels).items()]
    if not found:
        return []
    return [
        f"figures in PDF and PNG show boxes for letters that their font, {STYLE['font.family']}, lacks: "
        f"{wording.names(found)}. The page has them; [paper] labels gives models other names."
    ]


@contextmanager
def quiet() -> Iterator[None]:
    """Without matplotlib's warning for each such letter, time after time: `missing_letters_warnings` has it once."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        yield


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(STYLE["font.family"])).get_charmap())
