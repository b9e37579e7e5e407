"""The nearest allowed word, for error messages. Loads nothing but the standard library."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """A hint "; did you mean `nearest`?" where one of the `allowed` words is close to `word`, else an empty string.

    >>> did_you_mean("positon", ["patch", "position"])
    '; did you mean `position`?'
    >>> did_you_mean("colour", ["patch", "position"])
    ''
    """
    matches = difflib.get_close_matches(str(word), list(allowed), n=1, cutoff=0.5)
    return f"; did you mean `{matches[0]}`?" if matches else ""
