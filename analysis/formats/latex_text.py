"""Any text as LaTeX prints it, in whatever encoding its fonts have: signs, accents and Greek by TeX's own commands."""

import re
import unicodedata
from itertools import pairwise

SIGNS = {  # what pdflatex has no letter for
    "−": r"\ensuremath{-}", "×": r"\ensuremath{\times}", "≠": r"\ensuremath{\neq}", "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}", "±": r"\ensuremath{\pm}", "√": r"\ensuremath{\surd}", "→": r"\ensuremath{\to}",
    "▽": r"\ensuremath{\bigtriangledown}", "†": r"\ensuremath{\dagger}", "‡": r"\ensuremath{\ddagger}",
    "↔": r"\ensuremath{\leftrightarrow}",
    "·": r"\ensuremath{\cdot}", "∞": r"\ensuremath{\infty}",
    "–": "--", "—": "---", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\ldots{}", "\u00a0": "~",
}  # fmt: skip
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_",
    "~": r"\ensuremath{\sim}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "[": "{[}",
}  # fmt: skip

LETTERS = {
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}",
}  # fmt: skip
ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0308\u0304\u0306\u030c\u030a\u030b\u0307\u0327\u0323\u0331",
                   "`'^~\"=uvrH.cdb", strict=True))  # fmt: skip
BELOW = "cdb"  # accents that leave the dot of an i
GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "varepsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "ς": "varsigma",
    "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "varphi", "χ": "chi", "ψ": "psi", "ω": "omega", "µ": "mu",
    "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Υ": "Upsilon",
    "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
LIKE_LATIN = dict(zip("οΑΒΕΖΗΙΚΜΝΟΡΤΧ", "oABEZHIKMNOPTX", strict=True))  # Greek letters for which TeX has no name
KNOWN = {
    **{letter: rf"\ensuremath{{\{name}}}" for letter, name in GREEK.items()},
    **LIKE_LATIN, **LETTERS, **SIGNS, **SPECIAL,
}  # fmt: skip


OPENING = re.compile(r'(?<![^\s(\[{/–—“‘-])"')  # a straight quote where a word begins
CODE = re.compile(r"U\+[0-9A-F]{4,}")


def escape(text: str) -> str:
    """Text as LaTeX prints it, in any encoding of its fonts. A letter that it lacks is written as its code, U+4E2D;
    lines break between such codes. A paragraph's end would break off the argument of a command: it becomes a space."""
    joined = re.sub(r"\s*\n\s*", " ", text)
    letters = [_letter(letter) for letter in unicodedata.normalize("NFC", OPENING.sub("“", joined))]
    apart = [r"\allowbreak{}" if CODE.match(one) and CODE.match(other) else "" for one, other in pairwise(letters)]
    return "".join(letter + after for letter, after in zip(letters, [*apart, ""], strict=False))


def _letter(letter: str) -> str:
    if letter in KNOWN or letter.isascii():
        return KNOWN.get(letter, letter)
    apart = unicodedata.normalize("NFD", letter)
    base, accent = apart[0], ACCENTS.get(apart[1:])
    if accent is None or not base.isascii():
        return f"U+{ord(letter):04X}"
    return rf"\{accent}{{\{base}}}" if base in "ij" and accent not in BELOW else rf"\{accent}{{{base}}}"
