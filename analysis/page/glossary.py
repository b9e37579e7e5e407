"""The words of a report (`wording.TERMS`), each with its formula."""

from collections.abc import Mapping
from typing import NamedTuple

from analysis.wording import TERMS

FORMULAS: Mapping[str, str] = {
    "accuracy": "a = (1/N) Σᵢ [ŷᵢ = yᵢ]",
    "tuning curve": "c(k) = inf {a : F(a)ᵏ ≥ 1/2}",
    "interval": "m ± t(0.975; k − 1) · s / √k",
    "paired difference": "dᵢ = aᵢ − bᵢ",
    "simultaneous interval": "d ± c(0.95; ν) · s √(2 / k)",
    "chance": "1 / K",
    "retention": "(a(r) − 1/K) / (a(R) − 1/K)",
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


def glossary() -> tuple[Term, ...]:
    """In the order in which a reader meets them."""
    return tuple(Term(word, meaning, FORMULAS.get(word, "")) for word, meaning in TERMS.items())
