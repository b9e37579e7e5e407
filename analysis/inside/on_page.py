"""What one run of each model does inside, on a report's page: where a study's [paper] says `look = true`."""

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis import wording
from analysis.elements.sections import Chapter, Section
from analysis.frame.frame import Frame
from analysis.frame.rows import each_group
from analysis.inside.look import VIEWS
from analysis.inside.panel import Choices, Panel
from analysis.inside.subject import Subject, opened
from benchmarks.errors import InductiveError
from models.options import ModelError

SHOWN = {  # of each view the figures that stand on a page, by how their names begin
    "attention": ("class-token", "mean-token", "distance"),
    "positions": ("similarity", "bias-by-offset", "rotation-by-offset"),
}
IMAGES = 4
TITLE = "Inside one run of each model: attention and positions"


def inside_chapter(frame: Frame, root: Path, data: Path | None) -> Chapter:
    """A section a model, of its finished run with most training images and the lowest draw and seed, shown the first
    images of its validation part. `data`: the folder of the data sets. Where there is nothing to show, the section says
    why."""
    sections = tuple(
        _section(number, label, of_model, root, data)
        for number, (label, of_model) in enumerate(each_group(frame.runs, "label"), 1)
    )
    return Chapter("inside", "inside", TITLE, sections, further=True)


def _section(number: int, label: str, runs: pd.DataFrame, root: Path, data: Path | None) -> Section:
    done = runs[runs["state"] == "finished"].sort_values(["train_size", "draw", "seed"], ascending=[False, True, True])
    if done.empty:
        return Section(label, (), (), remark="No run has finished.")
    run, size = done.iloc[0]["run"], done.iloc[0]["train_size"]
    try:
        subject = opened(run, "validation", IMAGES, root, data)
    except (InductiveError, ModelError) as error:
        return Section(label, (), (), remark=f"Nothing is shown: {_reason(error, run)}.")
    figures, reasons = [], []
    for view, names in SHOWN.items():
        try:
            figures += [
                replace(panel.drawing, name=f"inside-{number}-{panel.name}", arm=run)
                for panel in _panels(view, subject)
                if panel.name.startswith(names)
            ]
        except (InductiveError, ModelError) as error:
            reasons.append(f"No {view}: {_reason(error, run)}.")
    about = f"The run {run}, {wording.number(size)} images."
    return Section(label, tuple(figures), (), remark=" ".join([about, *reasons]))


def _panels(view: str, subject: Subject) -> Iterator[Panel]:
    yield from importlib.import_module(VIEWS[view]).panels([subject], Choices())


def _reason(error: Exception, run: str) -> str:
    """What an error says, without the run, which stands before it already."""
    return str(error).removeprefix(f"{run}: ")
