"""Where the records come from: library versions, commit, hardware, digests of the data."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from analysis import wording
from analysis.frame.naming import NONE, decoder, hardware
from analysis.provenance.digests import Trace

LIBRARIES = ("torch", "torchvision", "timm", "numpy", "cuda", "cudnn", "driver")  # the last three on CUDA alone


@dataclass(frozen=True)
class Provenance:
    """(what, values in words) for what is known of all records of a report."""

    facts: tuple[tuple[str, str], ...]


def provenance(found: Sequence[Trace]) -> Provenance:
    """What the runs that have begun say of where they were made; several values each with their number of runs."""
    begun = [one for one in found if one.execution]
    rows: list[tuple[str, Callable[[Trace], str]]] = [
        ("libraries", libraries),
        ("Python", lambda one: str(one.environment.get("python", NONE))),
        ("platform", lambda one: str(one.environment.get("platform", NONE))),
        ("hardware", lambda one: hardware(one.execution, one.environment)),
        ("decoder of photographs", lambda one: decoder(one.execution)),
        ("commit", lambda one: str(one.environment.get("commit", NONE))),
        *((f"data, {name}", _of_data(name)) for name in _data_sets(begun)),
    ]
    facts = []
    for what, say in rows:
        values = [value for value in map(say, begun) if value not in ("", NONE)]
        if values:
            facts.append((what, counted(values)))
    return Provenance(tuple(facts))


def libraries(one: Trace) -> str:
    """'torch 2.6.0, numpy 2.1.0': versions that decide bits."""
    return ", ".join(f"{name} {one.execution[name]}" for name in LIBRARIES if name in one.execution)


def counted(values: Iterable[str]) -> str:
    """'a', or 'a (12 runs); b (3 runs)', most frequent first."""
    counts = Counter(values)
    if len(counts) == 1:
        return next(iter(counts))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(f"{value} ({wording.count(number, 'runs')})" for value, number in ordered)


def _data_sets(begun: Iterable[Trace]) -> list[str]:
    return list(dict.fromkeys(_dataset(one) for one in begun if one.execution.get("data")))


def _dataset(one: Trace) -> str:
    return str(one.config.get("dataset", NONE))


def _of_data(name: str) -> Callable[[Trace], str]:
    def say(one: Trace) -> str:
        digests: dict[str, Any] = one.execution.get("data") or {}
        if _dataset(one) != name:
            return ""
        sums = [f"{part} SHA-256 {digests[part][:16]}" for part in ("test", "train") if part in digests]
        return ", ".join([*sums, *filter(None, [digests.get("official")])])

    return say
