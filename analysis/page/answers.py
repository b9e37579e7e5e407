"""The answers of a study in words, as they follow from its findings."""

from collections.abc import Iterator, Sequence

import pandas as pd

from analysis import wording
from analysis.frame.cells import at_home
from analysis.frame.frame import Frame
from analysis.frame.rows import each_group, each_row
from analysis.page.findings import Findings, by_state
from analysis.page.head import Head, OfArm, Said, head
from analysis.questions.accuracy import data_efficiency
from analysis.questions.comparisons import comparisons
from analysis.questions.data_needed import data_needed_answers
from analysis.questions.over_data_sets import aggregate
from analysis.questions.positions import ablation
from analysis.questions.resolution import resolution
from analysis.wording import Answer, Scope


def answers(frame: Frame, findings: Sequence[Findings]) -> Head:
    """The answers, each with the anchor of the section it comes from, in the order of reading."""
    over_sets = aggregate.answers([found.data for found in findings])
    return head(
        [(answer, "states") for answer in _state_answers(frame)],
        [OfArm(found.arm, tuple(_claims(found)), tuple(_limits(found, frame.starved_below))) for found in findings],
        [(answer, "train-size") for answer in over_sets],
    )


def _claims(found: Findings) -> Iterator[Said]:
    yield from ((answer, "train-size") for answer in data_efficiency.answers(found.data, found.compared.families))
    yield from data_needed_answers.answers(found.data, found.needed, found.links)
    said = {
        "comparisons": comparisons.answers(found.data, found.compared.families),
        "positions": ([] if found.positions_declared else ablation.answers(found.data, found.compared.families)),
        "test-resolution": resolution.answers(found.data),
    }
    yield from ((answer, anchor) for anchor, those in said.items() for answer in those)


def _limits(found: Findings, starved_below: float) -> Iterator[Said]:
    yield from ((answer, "train-size") for answer in _starved_answers(found, starved_below))
    yield from ((answer, "train-size") for answer in (*_collapsed_answers(found), *_level_answers(found)))
    yield from ((answer, "ledger") for answer in _unequal_answers(found))


def _state_answers(frame: Frame) -> list[Answer]:
    states = frame.runs["state"].value_counts()
    finished = int(states.get("finished", 0))
    if finished == len(frame.runs):
        return []
    others = [f"{wording.count(len(runs), 'runs')} {state}" for state, runs in by_state(frame.runs).items()]
    others = [text for text in others if not text.endswith(" finished")]
    if finished + int(states.get("stale", 0)) == 0:
        return [Answer("No answer yet", Scope(), f"no run of this study has finished ({wording.names(others)}).")]
    body = f"{finished:,} of {len(frame.runs):,} runs are finished; {wording.names(others)}. Answers use what is there."
    return [Answer("Incomplete", Scope(), body)]


def _starved_answers(found: Findings, starved_below: float) -> list[Answer]:
    table = found.by_train_size
    starved = table[table["starved"]]
    if starved.empty:
        return []
    cells = [
        f"{label} with {wording.names(map(wording.number, sizes['train_size']))} images"
        for label, sizes in each_group(starved, "label")
    ]
    body = (
        f"{len(starved)} of {len(table)} cells stay below {wording.percent(starved_below)} accuracy on their "
        f"own training images, so more updates might raise them: {wording.names(cells)}."
    )
    return [Answer("Starved", Scope(found.arm.words), body)]


def _collapsed_answers(found: Findings) -> list[Answer]:
    """Runs far below their cell, beside which its interval is not what it says."""
    home = at_home(found.data.rows)
    cells = [
        f"{label} with {wording.number(size)} images ({wording.names(_percents(rows[rows['collapsed']]))} in "
        f"{len(rows)} runs, whose median is {wording.percent(rows['accuracy'].median())})"
        for (label, size), rows in each_group(home, ["label", "train_size"])
        if rows["collapsed"].any()
    ]
    if not cells:
        return []
    body = (
        f"a run lies far below the others of its cell, so its mean and interval are of two kinds of runs and cover "
        f"less than 95 %: {wording.names(cells)}. More seeds show how often that happens."
    )
    return [Answer("Collapsed", Scope(found.arm.words), body)]


def _percents(rows: pd.DataFrame) -> list[str]:
    return [wording.percent(value) for value in sorted(rows["accuracy"])]


def _level_answers(found: Findings) -> list[Answer]:
    """Cells of several units that are all equal: no interval, which is not certainty."""
    table = found.by_train_size
    level = table[(table["n"] > 1) & table["low"].isna()]
    if level.empty:
        return []
    body = (
        f"{len(level)} of {len(table)} cells have no interval, since all their seeds reach the same number of test "
        f"images: no spread was seen, which is not the same as none."
    )
    return [Answer("Without interval", Scope(found.arm.words), body)]


def _unequal_answers(found: Findings) -> list[Answer]:
    words = {
        "parameters_backbone": "backbone parameters",
        "macs": "MACs",
        "images_per_second": "the hardware on which images/s was measured",
        "updates": "updates",
        "images_seen": "images seen",
        "batch_norm_short": "the images that BatchNorm normalised by",
        "initial": "how weights start",
        "augmentation": "augmentation",
        "recipe": "the recipe",
        "trials": "tuning trials",
        "planned": "planned runs",
    }
    odd = [
        f"{text} ({wording.names(labels)})"
        for column, text in words.items()
        if (labels := [row.label for row in each_row(found.ledger) if column in row.unequal.split()])
    ]
    body = f"{wording.names(odd)}; the ledger has the numbers."
    return [Answer("Not equal between the models", Scope(found.arm.words), body)] if odd else []
