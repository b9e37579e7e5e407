"""The words of a report (`wording.TERMS`), each with its formula, and the names in it: of models, encodings, ways."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import models
from analysis.elements.reported import ReportedArm
from analysis.frame.naming import NONE
from analysis.wording import TERMS
from models.catalogue.ladder import MIXERS
from models.catalogue.ready_made import is_ready_made
from models.options import parse_way
from models.positions.encodings import CARRYING, ENCODINGS

FORMULAS: Mapping[str, str] = {
    "accuracy": "a = (1/N) Σᵢ [ŷᵢ = yᵢ]",
    "tuning curve": "c(k) = inf {a : F(a)ᵏ ≥ 1/2}",
    "interval": "m ± t(0.975; k − 1) · s / √k",
    "paired difference": "dᵢ = aᵢ − bᵢ",
    "simultaneous interval": "d ± c(0.95; ν) · s √(2 / k)",
    "chance": "c = maxₖ pₖ, pₖ the share of class k in the test part",
    "retention": "(a(r) − c) / (a(R) − c), c chance",
    "accuracy kept": "(1/S) Σₛ aₛ / a",
    "data-equivalence factor": "n / N_A(a_B(n))",
    "images needed": "N_B(a_A(n)) / n",
    "crossing N*": "{n : |d(n)| ≤ t(0.975; k − 1) · s(n) / √k}",
    "fitted curve": "e = a n⁻ᵇ, or c + a n⁻ᵇ; m4: (e − c) / (e₀ − e)^α = a n⁻ᵇ, e₀ the error of guessing",
    "area": "∫ a d log r / log(r₂ / r₁)",
    "best test resolution": "argmaxᵣ a_validation(r)",
    "test-set error": "√(a (1 − a) / N)",
    "MACs, FLOPs": "FLOPs = 2 × MACs",
    "negative log-likelihood": "−(1/N) Σᵢ log p(yᵢ | xᵢ)",
    "calibration error": "Σ_b (N_b / N) |a_b − p_b|",
    "error consistency": "(o − e) / (1 − e), e = a a′ + (1 − a)(1 − a′)",
    "shares of variance": "σ²_subset + σ²_seed + σ²_both",
}


class Term(NamedTuple):
    """A word of the page, what it means, and its formula ('' where it has none)."""

    word: str
    meaning: str
    formula: str = ""


def glossary(arms: Sequence[ReportedArm]) -> tuple[Term, ...]:
    """The words in the order in which a reader meets them; then the names of the models of `arms`."""
    words = (Term(word, meaning, FORMULAS.get(word, "")) for word, meaning in TERMS.items())
    return (*words, *_names(arms))


def _names(arms: Sequence[ReportedArm]) -> Iterator[Term]:
    """Each family, mixer, encoding and way of carrying positions, as it is declared. Nothing is said of networks of
    libraries, nor of what a plugin declares that is not loaded."""
    found = {name: dict.fromkeys(one for arm in arms for one in arm.runs[name]) for name in ("model", "position")}
    for model in found["model"]:
        family, _, mixer = model.partition(" ")
        if not is_ready_made(family) and not models.unknown([family]):
            yield Term(family, models.family(family).summary)
        if mixer in MIXERS:
            yield Term(model, MIXERS[mixer].summary)
    for position in found["position"]:
        if position in ENCODINGS:
            yield Term(position, ENCODINGS[position].summary)
    carried = dict.fromkeys(way for arm in arms for way in arm.rows["carry"] if way != NONE)
    for name in dict.fromkeys(parse_way(way)[0] for way in carried):
        if name in CARRYING:
            yield Term(f"carry {name}", CARRYING[name])
