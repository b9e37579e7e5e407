"""The families of comparisons that a study declares, with the models of an arm that each may compare."""

from collections.abc import Iterator

import pandas as pd

from analysis.frame.rows import each_group
from benchmarks.plan.comparisons import ComparisonFamily
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study


def run_of_each_label(runs: pd.DataFrame, study: Study) -> dict[str, Run]:
    """One run of the study for each label of `runs` (rows of `Frame.runs`)."""
    by_id = {run.id: run for run in study.runs}
    return {label: by_id[of_label["run"].iloc[0]] for label, of_label in each_group(runs, "label")}


def declared_families(runs: pd.DataFrame, study: Study) -> Iterator[tuple[ComparisonFamily, dict[str, Run]]]:
    """Each declared family with what it may compare of an arm, as `run_of_each_label`: the models of the studies that
    declare it, as another study's were not declared to be compared."""
    for family in study.comparisons:
        ids = {run.id for part in study.parts or (study,) if family in part.comparisons for run in part.runs}
        yield family, run_of_each_label(runs[runs["run"].isin(ids)], study)
