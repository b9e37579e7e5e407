"""A measured table: as Markdown, as JSON, and as a block of a document between markers."""

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.errors import InductiveError
from benchmarks.files import write_atomic
from benchmarks.records.environment import environment
from benchmarks.speed.clock import MOST_OTHERS, Summary, Turn
from benchmarks.training.kernels import platform_bits


@dataclass(frozen=True)
class Table:
    """What a measurement came to: `about` says what was measured, `rows` are texts, `turns` all that was timed."""

    name: str
    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    turns: Mapping[str, Sequence[Turn]]

    def markdown(self, machine: Mapping[str, Any]) -> str:
        lines = [f"Measured {machine['date']} on {machine_words(machine)}.", "", self.about, ""]
        lines += markdown_rows(self.header, self.rows)
        return "\n".join([*lines, "", contention_words(self.turns)])

    def as_json(self) -> dict[str, Any]:
        turns = {name: [asdict(turn) for turn in taken] for name, taken in self.turns.items()}
        rows = [dict(zip(self.header, row, strict=True)) for row in self.rows]
        return {"name": self.name, "about": self.about, "rows": rows, "turns": turns}


def markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines of Markdown."""
    return [_row(header), _row(["---"] * len(header)), *map(_row, rows)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def machine_facts(device: str = "cpu") -> dict[str, Any]:
    """What the numbers depend on: the machine, the libraries, this process's threads, the load before it began, and the
    GPU that computed."""
    return {
        "date": datetime.date.today().isoformat(),
        **environment(),
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        **platform_bits("cpu"),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "threads": torch.get_num_threads(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def machine_words(machine: Mapping[str, Any]) -> str:
    """One line on the machine: '2 cores of AMD EPYC (AVX512), 23 GiB; torch 2.15.0, ...; 1 thread', the GPU first."""
    libraries = ", ".join(f"{name} {machine[name]}" for name in ("torch", "torchvision", "timm"))
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    hardware = f"{machine['cores']} cores of {machine['cpu']} ({machine['capability']}), {machine['memory_gib']} GiB"
    gpu = f"{machine['gpu']} beside " if machine.get("gpu") else ""
    return f"{gpu}{hardware}; Python {machine['python']}, {libraries}; {threads} in one process"


def contention_words(turns: Mapping[str, Sequence[Turn]]) -> str:
    """How much of the measurement had the machine to itself."""
    taken = [turn for several in turns.values() for turn in several]
    if not taken:
        return "Nothing in this table is a time."
    known = [turn.others for turn in taken if turn.others is not None]
    if not known:
        return "What other processes did could not be measured here: every turn counts."
    clean = sum(turn.clean for turn in taken)
    return (
        f"{clean} of {len(taken)} turns were clean (other processes used at most {MOST_OTHERS} of a core); only they "
        f"count. The most that others used was {max(known):.1f} cores."
    )


def ratio_words(summary: Summary) -> list[str]:
    """The cells of a ratio: its median with the quartiles, and the clean rounds it rests on."""
    if summary.ratio is None:
        return ["-", f"0 of {summary.taken}"]
    words = f"{summary.ratio:.3f} ({summary.low:.3f} to {summary.high:.3f})"
    return [words, f"{summary.clean} of {summary.taken}"]


def milliseconds(summary: Summary) -> str:
    return "-" if summary.seconds is None else f"{summary.seconds * 1e3:.1f}"


def write_block(document: Path, name: str, text: str, kind: str = "speed") -> None:
    """Replaces what stands in a document between `<!-- KIND:NAME -->` and `<!-- /KIND:NAME -->`.

    Raises InductiveError, naming the marker, when the document does not have both once and in this order.
    """
    begin, end = f"<!-- {kind}:{name} -->", f"<!-- /{kind}:{name} -->"
    try:
        old = document.read_text(encoding="utf-8")
    except OSError as error:
        raise InductiveError(f"{document}: cannot be read ({error})") from error
    before, found, rest = old.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed) or begin in rest or end in before + after:
        raise InductiveError(f"{document}: needs the lines {begin} and {end} once each, in this order")
    write_atomic(document, f"{before}{begin}\n{text}\n{end}{after}".encode())


GPUS_END = "<!-- /gpus -->"


def write_card_block(document: Path, card: str, name: str, text: str) -> None:
    """Replaces a table of a GPU in a document, under a heading of its own; one that is not there yet is added.

    The tables of all GPUs stand before the line `<!-- /gpus -->`. Raises InductiveError as `write_block` does, or where
    the document lacks that line.
    """
    block = f"{name} on {card}"
    old = document.read_text(encoding="utf-8") if document.exists() else ""
    if f"<!-- speed:{block} -->" not in old and old.count(GPUS_END) == 1:
        empty = f"<!-- speed:{block} -->\n<!-- /speed:{block} -->\n\n{GPUS_END}"
        write_atomic(document, old.replace(GPUS_END, empty).encode())
    elif GPUS_END not in old:
        raise InductiveError(f"{document}: needs the line {GPUS_END}, before which the tables of GPUs stand")
    write_block(document, block, f"### {card}: {name}\n\n{text}")
