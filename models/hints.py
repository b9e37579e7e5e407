"""The nearest allowed word, for error messages. Loads nothing but the standard library."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What others call what is called otherwise here.
ALIASES = {
    "lr": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "image_size": "resolution",
    "img_size": "resolution",
    "pos_embed": "position",
    "samples": "train_size",
}


ALIKE = 0.6  # the share of two words' letters that are the same in order: below it a hint would puzzle
BEGUN = 3  # letters of a word's beginning that tell it


def nearest(word: str, allowed: Iterable[str]) -> str:
    """The one of the `allowed` words that is close to `word`, or another name of the same; '' where none is.

    >>> nearest("lr", ["flip", "learning_rate"])
    'learning_rate'
    """
    known = list(allowed)
    if ALIASES.get(str(word)) in known:
        return ALIASES[str(word)]
    begun = [name for name in known if len(str(word)) >= BEGUN and name.startswith(str(word))]
    matches = difflib.get_close_matches(str(word), known, n=1, cutoff=ALIKE) or begun
    return matches[0] if matches else ""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """A hint "; did you mean `nearest`?" where one of the `allowed` words is close to `word`, else an empty string.

    >>> did_you_mean("positon", ["patch", "position"])
    '; did you mean `position`?'
    >>> did_you_mean("colour", ["patch", "position"])
    ''
    """
    near = nearest(word, allowed)
    return f"; did you mean `{near}`?" if near else ""
