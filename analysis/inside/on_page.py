"""What one run of each model does inside, on a report's page: where a study's [paper] says `look = true`."""

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from analysis import wording
from analysis.elements.reported import ReportedArm
from analysis.elements.sections import Chapter, Section
from analysis.frame.arms import arm_names
from analysis.frame.rows import each_group
from analysis.inside.look import VIEWS
from analysis.inside.panel import Choices, Panel
from analysis.inside.subject import Subject, opened
from benchmarks.errors import ConfigError, InductiveError, RecordError, StaleError
from benchmarks.records import roots
from models.options import ModelError

SHOWN = {  # of each view the figures that stand on a page, by how their names begin
    "attention": ("class-token", "mean-token", "distance"),
    "positions": ("similarity", "bias-by-offset", "rotation-by-offset"),
}
IMAGES = 4
TITLE = "Inside one run of each model: attention and positions"


def inside_chapter(arms: Sequence[ReportedArm], root: Path, data: Path | None) -> Chapter:
    """A section a model and arm, of its finished run with weights, most training images and the lowest draw and seed,
    shown the first images of its validation part. `data`: the folder of the data sets. Where there is nothing to show,
    the section says why, in words of its own: what an error says may name places of this machine."""
    own = arm_names([one.arm for one in arms]).own
    models = [
        (f"{label}: {words}" if words else label, of_model)
        for one, words in zip(arms, own, strict=True)
        for label, of_model in each_group(one.runs, "label")
    ]
    folder = roots.opened(root)
    sections = tuple(_section(number, title, runs, folder, data) for number, (title, runs) in enumerate(models, 1))
    return Chapter("inside", "inside", TITLE, sections, further=True)


def _section(number: int, title: str, runs: pd.DataFrame, root: Path, data: Path | None) -> Section:
    done = runs[runs["state"] == "finished"].sort_values(["train_size", "draw", "seed"], ascending=[False, True, True])
    if done.empty:
        return Section(title, (), (), remark=f"Nothing is shown: no run has finished ({_states(runs)}).")
    kept = done[[(root / run / "weights.safetensors").exists() for run in done["run"]]]
    if kept.empty:
        return Section(title, (), (), remark="Nothing is shown: no weights of a finished run were kept.")
    run, size = kept.iloc[0]["run"], kept.iloc[0]["train_size"]
    about = f"The run {run}, {wording.number(size)} images."
    try:
        subject = opened(run, "validation", IMAGES, root, data)
    except (InductiveError, ModelError) as error:
        return Section(title, (), (), remark=f"{about} Nothing is shown: {_not_opened(error)}.")
    figures, reasons = [], []
    for view, names in SHOWN.items():
        try:
            figures += [
                replace(panel.drawing, name=f"inside-{number}-{panel.name}", arm=run)
                for panel in _panels(view, subject)
                if panel.name.startswith(names)
            ]
        except (InductiveError, ModelError) as error:
            reasons.append(f"No {view}: {_not_read(error, run)}.")
    return Section(title, tuple(figures), (), remark=" ".join([about, *reasons]))


def _panels(view: str, subject: Subject) -> Iterator[Panel]:
    yield from importlib.import_module(VIEWS[view]).panels([subject], Choices())


def _states(runs: pd.DataFrame) -> str:
    """'2 stale, as what they are made of has changed; 1 failed'."""
    words = {"stale": "stale, as what they are made of has changed"}
    counts = runs["state"].value_counts(sort=False)
    return "; ".join(f"{count} {words.get(str(state), state)}" for state, count in counts.items())


def _not_opened(error: Exception) -> str:
    """Why a finished run with weights is not there to look at, by the kind of error."""
    if isinstance(error, StaleError):
        return "what the run is made of has changed since"
    if isinstance(error, RecordError):
        return "its record, its weights or its images are not those that it was made with"
    if isinstance(error, ModelError):
        return "its network cannot be made here"
    return "its data set is not there, or not as it was"


def _not_read(error: Exception, run: str) -> str:
    """What a view says of the network itself, without the run, which stands before it; of anything else its kind."""
    if isinstance(error, ConfigError) and error.key == run:
        return error.message
    return "the network cannot be read at this size"
