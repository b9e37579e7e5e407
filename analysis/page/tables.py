"""The CSV tables of a report: those of every question, and the records themselves."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.elements.question import Csv, Question
from analysis.elements.reported import ReportedArm
from analysis.frame.frame import ARM, Frame
from analysis.page.questions import QUESTIONS


def csv_tables(frame: Frame, arms: Sequence[ReportedArm]) -> dict[str, pd.DataFrame]:
    """The page's tables in long form by file name. Columns say the arm; `runs` has the ids behind a row."""
    tables = {"evaluations": frame.rows, "runs": frame.runs}
    for question in QUESTIONS:
        for csv in question.csvs:
            table = _stacked(question, csv, arms)
            if csv.always or len(table):
                tables[csv.name] = table
        made = ((csv.name, csv.table(arms)) for csv in question.csvs_of_all)
        tables |= {name: table for name, table in made if len(table)}
    return tables


def _stacked(question: Question[Any], csv: Csv[Any], arms: Sequence[ReportedArm]) -> pd.DataFrame:
    """The tables of all arms below each other, the columns that make an arm first."""
    tables = []
    for arm in arms:
        table = csv.table(arm.once(question.numbers))
        if not table.empty:
            first = {"arm": arm.number, **{column: getattr(arm.arm, column) for column in ARM}}
            tables.append(pd.concat([pd.DataFrame([first] * len(table), index=table.index), table], axis=1))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["arm", *ARM])
