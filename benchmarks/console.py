"""Texts from records and logs on a terminal: what a stranger has written must not move its cursor or set its title."""

import unicodedata

KEPT = "\n\t"
UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control and format characters (escape, right to left), halves, separators


def printable(text: str) -> str:
    """The text with what a terminal would obey, or a reader not see, as its escape: `\\x1b`, `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(_escaped(one) if _obeyed(one) else one for one in text)


def _obeyed(one: str) -> bool:
    return one not in KEPT and unicodedata.category(one) in UNSEEN


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii")
