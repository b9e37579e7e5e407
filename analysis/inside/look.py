"""The views, and what one writes: figures in three formats, the numbers beside each, a page that needs no network."""

import base64
import hashlib
import importlib
import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from analysis.elements.drawings import drawn
from analysis.formats.html import TEMPLATES, environment, svg_of
from analysis.inside.panel import Choices, Panel
from analysis.inside.subject import Subject
from benchmarks.console import count
from benchmarks.files import write_atomic

VIEWS = {  # by name: the module whose `panels(subjects, choices)` makes the panels
    "attention": "analysis.inside.attention.view",
    "positions": "analysis.inside.positions.view",
    "features": "analysis.inside.features.view",
    "training": "analysis.inside.training.view",
}


def look(
    view: str,
    subjects: Sequence[Subject],
    choices: Choices,
    out: Path,
    processes: int = 1,
    while_doing: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> list[Path]:
    """Writes a view of subjects into the folder `out`; the files written, the page first. `processes`: see
    `write_report`. `while_doing` shows what is being done, in words, as long as it takes.

    Raises ConfigError for what a network does not have or a choice that it does not allow, ModelError for images that
    it cannot take; then nothing is written.
    """
    with while_doing(f"measuring {view}"):
        panels: list[Panel] = importlib.import_module(VIEWS[view]).panels(subjects, choices)
    drawings = [panel.drawing for panel in panels]
    files: dict[str, bytes] = {"index.html": b""}  # the first, once the others are there
    progress = while_doing(f"drawing {count(len(panels), 'figures')}")
    with progress, drawn(("wide", "narrow", "png", "pdf"), processes=processes) as pictures:
        pictures.begin(drawings)
        for panel, drawing in zip(panels, drawings, strict=True):
            found = pictures(drawing)
            files |= {f"{panel.name}.png": found["png"], f"{panel.name}.pdf": found["pdf"]}
            files[f"{panel.name}.svg"] = standing_alone(found["wide"].decode()).encode()
            buffer = io.BytesIO()
            np.savez_compressed(buffer, **panel.numbers)  # type: ignore[arg-type]  # its stub takes them for allow_pickle
            files[f"{panel.name}.npz"] = buffer.getvalue()
        script = (TEMPLATES / "look.js").read_text(encoding="utf-8")
        files["index.html"] = (
            environment()
            .get_template("look.html.j2")
            .render(
                view=view,
                subjects=subjects,
                panels=[(panel, panel.drawing, Markup(panel.interactive)) for panel in panels],
                svg=svg_of(pictures),
                script=script,
                script_digest=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
            )
        ).encode()
    for name, data in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(out / name, data)
    return [out / name for name in files]


def standing_alone(svg: str) -> str:
    """An <svg> element of a page as a file of its own: with the addresses of its names, on white, text black."""
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return svg.replace("<svg ", f'<svg {names} style="background:white;color:black" ', 1)
