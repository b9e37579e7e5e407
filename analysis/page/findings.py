"""The findings of a study: every arm with all its tables. `answers` has what follows from them, in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import pandas as pd

from analysis.frame.arms import Arm, ArmData, split
from analysis.frame.frame import ARM, Frame
from analysis.questions.accuracy import data_efficiency
from analysis.questions.comparisons.compared import Compared, compare
from analysis.questions.data_needed import data_needed
from analysis.questions.data_needed.data_needed import Needed
from analysis.questions.fairness import fairness
from analysis.questions.over_data_sets import aggregate
from analysis.questions.positions import ablation
from analysis.questions.resolution import resolution
from analysis.questions.resolution.resolution_findings import Resolutions, resolutions_of
from benchmarks.plan.run import default_evaluation
from benchmarks.plan.study import Study

STATES = ("finished", "failed", "diverged", "stale", "lost", "interrupted", "running", "queued", "missing")


@dataclass(frozen=True)
class Anchors:
    """The anchors of an arm's runs, made from its number and the order of its labels."""

    arm: int
    labels: tuple[str, ...]

    def model(self, label: str) -> str:
        return f"a{self.arm}-m{self.labels.index(label) + 1}"

    def cell(self, label: str, train_size: int) -> str:
        return f"{self.model(label)}-n{train_size}"

    def pair(self, label: str, reference: str, train_size: int) -> str:
        return f"{self.cell(label, train_size)}-m{self.labels.index(reference) + 1}"

    def needed(self, place: int) -> str:
        """The table behind what is said of the reference of this place; begins with its kind (`head.FOREMOST`)."""
        return f"data-needed-{self.arm}-{place}"

    def crossings(self, place: int) -> str:
        return f"crossings-{self.arm}-{place}"


@dataclass(frozen=True)
class Findings:
    """An arm, by its number on the page, with all its tables in long form (see the modules that make them).

    Tables of what nothing may be claimed about, or that the arm has no runs for, are empty."""

    number: int

    data: ArmData
    by_train_size: pd.DataFrame
    by_test_resolution: pd.DataFrame
    retention: pd.DataFrame
    by_evaluation: pd.DataFrame
    positions: pd.DataFrame
    positions_away: pd.DataFrame
    ledger: pd.DataFrame
    cost: pd.DataFrame
    compared: Compared
    needed: Needed
    resolutions: Resolutions

    @property
    def pairs(self) -> pd.DataFrame:
        """The pairs of runs behind differences: label, reference, train_size, runs, reference_runs; each pair once."""
        wanted = ["label", "reference", "train_size", "runs", "reference_runs"]
        tables = [table[wanted] for table in (self.positions, self.compared.families) if not table.empty]
        return pd.concat(tables).drop_duplicates(wanted[:3]) if tables else pd.DataFrame(columns=wanted)

    @property
    def positions_declared(self) -> bool:
        """Whether declared families hold all comparisons of the position ablation, so that theirs are the answer."""
        declared, ablated = (
            set() if table.empty else set(table[["label", "reference"]].itertuples(index=False, name=None))
            for table in (self.compared.families, self.positions)
        )
        return bool(declared) and ablated <= declared

    @property
    def arm(self) -> Arm:
        return self.data.arm

    @property
    def links(self) -> Anchors:
        return Anchors(self.number, tuple(dict.fromkeys(self.data.runs["label"])))


def find(study: Study, frame: Frame, root: Path, resamples: int = 0) -> list[Findings]:
    """The findings of each arm, in the order of the study; `root` has the records, and so the predictions."""
    return [_find(number, arm, study, root, resamples) for number, arm in enumerate(split(frame), start=1)]


def _find(number: int, arm: ArmData, study: Study, root: Path, resamples: int) -> Findings:
    mine = set(arm.runs["run"])
    wanted = [(run, one) for run in study.runs if run.id in mine for one in study.evaluations[run.id]]
    resolutions = sorted(
        {one.resolution for run, one in wanted if one == default_evaluation(run, "test", one.resolution)}
    )
    claims = not arm.arm.interpolation_only
    by_train_size = data_efficiency.curve(arm)
    return Findings(
        number,
        arm,
        by_train_size,
        resolution.curve(arm, "accuracy", resolutions),
        resolution.curve(arm, "retention", resolutions) if claims else pd.DataFrame(),
        resolution.by_evaluation(arm, study),
        ablation.differences(arm),
        ablation.differences_away(arm, resolutions) if claims else pd.DataFrame(),
        fairness.ledger(arm),
        fairness.by_resolution(arm, {run.id: run for run in study.runs if run.id in mine}, resolutions),
        compare(arm, study, root, by_train_size, resamples),
        data_needed.needed(arm, study),
        resolutions_of(arm, study, resolutions),
    )


def csv_tables(frame: Frame, findings: Sequence[Findings]) -> dict[str, pd.DataFrame]:
    """The page's tables in long form by file name. Columns say the arm; `runs` has the ids behind a row."""
    tables = {
        "accuracy-by-train-size": _stacked(findings, "by_train_size"),
        "accuracy-by-test-resolution": _stacked(findings, "by_test_resolution"),
        "retention-by-test-resolution": _stacked(findings, "retention"),
        "position-ablation": _stacked(findings, "positions"),
        "position-ablation-by-test-resolution": _stacked(findings, "positions_away"),
        "fairness-ledger": _stacked(findings, "ledger"),
        "cost-by-resolution": _stacked(findings, "cost"),
        "evaluations": frame.rows,
        "runs": frame.runs,
    }
    sometimes = {
        "accuracy-by-evaluation": "by_evaluation",
        "comparisons": "compared.families",
        "likelihood-and-calibration": "compared.measures",
        "error-consistency": "compared.consistency",
        "variance-shares": "compared.variance",
        "test-set-bootstrap": "compared.resampled",
        "data-factor-at-reference": "needed.at_reference",
        "data-factor-by-train-size": "needed.by_train_size",
        "data-factor-by-accuracy": "needed.by_accuracy",
        "crossings": "needed.crossings",
        "fitted-curves": "needed.fits",
        "resolution-summary": "resolutions.summary",
        "resolution-summary-by-evaluation": "resolutions.by_evaluation",
        "carrying": "resolutions.carrying",
        "carrying-retention": "resolutions.carrying_retention",
        "carrying-summary": "resolutions.carrying_summary",
        "position-ablation-chosen-carry": "resolutions.positions_chosen",
    }
    stacked = {name: _stacked(findings, table) for name, table in sometimes.items()}
    stacked["over-data-sets"] = aggregate.over_data_sets([found.data for found in findings])
    return tables | {name: table for name, table in stacked.items() if len(table)}


def _stacked(findings: Sequence[Findings], name: str) -> pd.DataFrame:
    tables = []
    for number, found in enumerate(findings, start=1):
        table: pd.DataFrame = attrgetter(name)(found)
        if not table.empty:
            first = {"arm": number, **{column: getattr(found.arm, column) for column in ARM}}
            tables.append(pd.concat([pd.DataFrame([first] * len(table), index=table.index), table], axis=1))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["arm", *ARM])


def by_state(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs in each state that occurs, finished first, missing last."""
    parted = {state: runs[runs["state"] == state] for state in STATES}
    return {state: those for state, those in parted.items() if len(those)}
