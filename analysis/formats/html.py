"""The report as one HTML page that needs nothing else: no network, no file beside it, its own data in it.

Everything shown is text that Jinja2 escapes; the figures are SVG whose text matplotlib escapes. A content security
policy lets the page's own script run and nothing else, and nothing be fetched.
"""

import base64
import gzip
import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis import wording
from analysis.elements.drawings import Drawing, Pictures
from analysis.frame.frame import COLUMNS, EVALUATION, Frame
from analysis.frame.main_rows import unprobed
from analysis.page.content import Content
from analysis.provenance.digests import Trace

TEMPLATES = Path(__file__).parent / "templates"
HOVER = ("not separable", "under-trained", "exploratory", "condition", "retention")  # of wording.TERMS
SEAL = re.compile(r'(<meta name="inductive-seal" content=")([0-9a-f]*)(">)')


@dataclass(frozen=True)
class File:
    """A file that lies in the page: its name, what it is, and a data: address to save it from."""

    name: str
    about: str
    href: str


def environment() -> Environment:
    """Where pages are made: what is put into them is escaped, and a name that there is not is an error."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.globals |= {"defined": defined}
    return made


def page(
    content: Content, frame: Frame, found: Sequence[Trace], beside: bool, pictures: Callable[[Drawing], Pictures]
) -> str:
    """The page. `found` are the traces of its runs, and of the trials of a search; `beside` whether CSV tables lie
    beside it; `pictures` gives the wide and the narrow one of a drawing."""
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    text = (
        environment()
        .get_template("page.html.j2")
        .render(
            content=content,
            files=_files(frame, found),
            columns=COLUMNS,
            digests=_json_in_html({one.run: dict(one.parts) for one in found}),
            script=script,
            script_digest=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
            beside=beside,
            svg=svg_of(pictures),
        )
    )
    return SEAL.sub(rf"\g<1>{seal(text)}\g<3>", text, count=1)


def seal(text: str) -> str:
    """A digest of the page without its seal: whether somebody has changed it by hand."""
    return hashlib.sha256(SEAL.sub(r"\1\3", text, count=1).encode()).hexdigest()


def table_of_all(frame: Frame) -> pd.DataFrame:
    """One row per run and evaluation, probes apart; a run without an evaluation has one row, its evaluation empty."""
    return frame.runs.merge(unprobed(frame.rows)[["run", *EVALUATION]], on="run", how="left")[list(COLUMNS)]


def defined(text: str) -> Markup:
    """The text, escaped, its words of the field with their definition, to be read on hover, where each is met first."""
    seen: set[str] = set()

    def mark(found: re.Match[str]) -> str:
        word = found[0]
        if word in seen:
            return word
        seen.add(word)
        return f'<abbr title="{escape(wording.TERMS[word])}">{word}</abbr>'

    words = "|".join(map(re.escape, HOVER))
    return Markup(re.sub(rf"(?<![\w-])(?:{words})(?![\w-])", mark, str(escape(text))))


def svg_of(pictures: Callable[[Drawing], Pictures]) -> Callable[[Drawing, str], Markup]:
    """What puts the picture of a drawing into a page, by its kind: matplotlib has escaped the text in it."""
    return lambda drawing, kind: Markup(pictures(drawing)[kind].decode())


def _files(frame: Frame, found: Sequence[Trace]) -> list[File]:
    configurations = {
        one.run: {"run": dict(one.config), "execution": dict(one.execution)} for one in found if one.parts
    }
    return [
        _file(
            "runs.csv.gz",
            "one row per run and evaluation",
            lambda file: table_of_all(frame).to_csv(file, index=False, lineterminator="\n"),
        ),
        _file(
            "configurations.json.gz",
            "configuration and execution of every run",
            lambda file: _by_line(configurations, file),
        ),
    ]


def _by_line(values: Mapping[str, Any], file: TextIO) -> None:
    """One JSON object, a line for each key: json lays a whole one out five times as slowly."""
    for place, key in enumerate(sorted(values)):
        file.write(f"{',' if place else '{'}\n{json.dumps(key)}: {json.dumps(values[key], sort_keys=True)}")
    file.write("\n}" if values else "{}")


def _file(name: str, about: str, write: Callable[[TextIO], None]) -> File:
    packed = io.BytesIO()  # packed as it is written: the text of ten thousand records takes hundreds of megabytes
    packing = gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0)  # neither name nor time: equal bytes
    with packing, io.TextIOWrapper(io.BufferedWriter(packing, 1 << 20), encoding="utf-8", newline="") as file:
        write(file)
    return File(name, about, f"data:application/gzip;base64,{base64.b64encode(packed.getvalue()).decode()}")


def _json_in_html(value: Mapping[str, Any]) -> str:
    """JSON that cannot end the element that it stands in."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).replace("<", "\\u003c")
