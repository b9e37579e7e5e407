"""The fairness ledger: what was equal between the models, and what was not; and what an image costs them."""

from collections.abc import Sequence

import pandas as pd

from analysis import wording
from analysis.elements.linked import Cell, ColumnHead, Row, Table, model_name
from analysis.elements.reported import Anchors, ReportedArm
from analysis.elements.sections import Chapter, Section, Styles, pixels
from analysis.frame.arms import ArmData
from analysis.frame.naming import NONE
from analysis.frame.rows import each_group, each_row
from analysis.questions.fairness.numbers import by_hardware, numbers, speeds
from analysis.wording import UNEQUAL


def chapters(arms: Sequence[ReportedArm], styles: Styles) -> list[Chapter]:
    """One chapter, with a section for each arm."""
    sections = tuple(fairness(arm) for arm in arms)
    intro = f"What was equal between the models, and what was not ({UNEQUAL})."
    return [Chapter("ledger", "fairness", "Fairness ledger", sections, intro, always=True)]


def fairness(arm: ReportedArm) -> Section:
    """What was equal between the models of the arm; and what an image costs them at each resolution."""
    of = arm.once(numbers)
    names, found_on = hardware_names(arm.data), speeds(arm.runs)
    several = "; ".join(
        f"{name}: {kind} ({wording.count(len(found_on[kind]), 'runs')})" for kind, name in names.items()
    )
    hardware = several or "".join(found_on) or wording.ABSENT
    beside = "medians over runs with no other run of the suite beside them"
    timed = f"Images/s: {beside}, on {hardware}." if found_on else NOT_ALONE
    remark = f"{timed} Recipes are written out under method."
    folded = [("cost of an image by resolution", cost_table(of.cost, arm.data, arm.links, pixels(arm)))]
    if not of.shared.empty:
        folded.append(("images/s by runs side by side", shared_table(of.shared, arm.data, arm.links)))
    return Section(arm.words, (), (ledger_table(of.ledger, arm.data, arm.links),), tuple(folded), remark=remark)


NOT_ALONE = "No run is known to have had its device to itself, so images/s are not given (runs.csv has them)."
LEDGER = {  # head of the column: column of `numbers.ledger` that marks it as unequal
    "backbone": "parameters_backbone",
    "position": "parameters_position",
    "head": "parameters_head",
    "MACs / image": "macs",
    "FLOPs / image": "macs",
    "images/s": "images_per_second",
    "updates": "updates",
    "images seen": "images_seen",
    "BatchNorm by less": "batch_norm_short",
    "initial weights": "initial",
    "augmentation": "augmentation",
    "recipe, where not equal": "recipe",
    "tuning trials": "trials",
    "finished runs": "planned",
}


def hardware_names(arm: ArmData) -> dict[str, str]:
    """Short names, H1, H2, ..., for the kinds of hardware that an arm was timed on; none where that is one."""
    kinds = speeds(arm.runs)
    return {kind: f"H{number}" for number, kind in enumerate(kinds, start=1)} if len(kinds) > 1 else {}


def ledger_table(table: pd.DataFrame, arm: ArmData, links: Anchors) -> Table:
    """The fairness ledger as the page shows it; every row leads to all runs of its model."""
    nothing = {"recipe"} if set(table["recipe"]) == {NONE} else set()  # columns that would be empty
    nothing |= set() if table["batch_norm_short"].any() else {"batch_norm_short"}
    nothing |= set() if table["images_per_second"].notna().any() else {"images_per_second"}
    columns = [head for head, column in LEDGER.items() if column not in nothing]
    hardware = hardware_names(arm)
    rows = []
    for row in each_row(table):
        texts = (
            wording.compact(row.parameters_backbone),
            wording.compact(row.parameters_position),
            wording.compact(row.parameters_head),
            wording.compact(row.macs),
            wording.compact(2 * row.macs),
            wording.compact(row.images_per_second),
            wording.span(row.updates_low, row.updates_high),
            wording.span(row.images_low, row.images_high),
            wording.count(row.batch_norm_short, "runs") if row.batch_norm_short else wording.ABSENT,
            row.initial if row.weights == NONE else f"{row.initial}: {row.weights}",
            row.augmentation,
            row.recipe,
            row.trials,
            f"{row.finished}/{row.planned}",
        )
        odd = row.unequal.split()
        others = [state for state in ("stale", "diverged", "failed", "missing", "active") if getattr(row, state)]
        noted = {
            "images_per_second": by_hardware(arm.runs[arm.runs["label"] == row.label], hardware) if hardware else "",
            "planned": ", ".join(f"{getattr(row, state)} {state}" for state in others),
        }
        cells = tuple(
            Cell(text, note=noted.get(column, ""), signs=UNEQUAL if column in odd else "", href=links.model(row.label))
            for text, column in zip(texts, LEDGER.values(), strict=True)
            if column not in nothing
        )
        rows.append(Row(model_name(row.label, arm, links), cells))
    about = "Parameters by part; MACs and FLOPs at the training resolution."
    return Table(about, "model", tuple(columns), tuple(rows), "ledger")


def cost_table(table: pd.DataFrame, arm: ArmData, links: Anchors, head: ColumnHead) -> Table:
    """`numbers.by_resolution` as the page shows it: MACs, below them FLOPs and images a second."""
    across = sorted(table["test_resolution"].unique().tolist())
    rows = []
    for label, group in each_group(table, "label"):
        cells = []
        for row in each_row(group.sort_values("test_resolution")):
            speed = "" if pd.isna(row.evaluated) else f"{wording.compact(row.evaluated)} images/s"
            flops = "" if pd.isna(row.flops) else f"{wording.compact(row.flops)} FLOPs"
            cells.append(Cell(wording.compact(row.macs), flops, href=links.model(label), aside=speed))
        rows.append(Row(model_name(label, arm, links), tuple(cells)))
    speed = "; and images/s, where measured alone" if table["evaluated"].notna().any() else ""
    about = f"One image in evaluation, by resolution: MACs; FLOPs, which are twice that{speed}."
    return Table(about, "model", tuple(map(head, across)), tuple(rows))


def shared_table(table: pd.DataFrame, arm: ArmData, links: Anchors) -> Table:
    """`numbers.by_runs_beside` as the page shows it: a column for each number of runs, and kind of hardware where these
    are several."""
    kinds = sorted(table["hardware"].unique())
    columns = sorted({(row.side_by_side, row.hardware) for row in each_row(table)})
    heads = tuple(
        ("alone" if beside == 1 else f"{beside} side by side") + (f", {kind}" if len(kinds) > 1 else "")
        for beside, kind in columns
    )
    rows = []
    for label, group in each_group(table, "label"):
        found = {(row.side_by_side, row.hardware): row.images_per_second for row in each_row(group)}
        cells = tuple(
            Cell(wording.compact(found[column]) if column in found else wording.ABSENT, href=links.model(label))
            for column in columns
        )
        rows.append(Row(model_name(label, arm, links), cells))
    on = f" on {kinds[0]}" if len(kinds) == 1 else ""
    about = f"Images/s in training{on}, by how many runs shared a GPU, or without one a job: medians over runs."
    return Table(about, "model", heads, tuple(rows))
