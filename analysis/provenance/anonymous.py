"""A report for double-blind review: nothing in it says on whose machine, under which account or commit it was made.

Free text that may name anything (errors, problems) is cut to its kind; paths and hosts are replaced wherever they
stand, also in the options of a model and in the study's own text.
"""

import dataclasses
import re
from collections.abc import Iterable

import pandas as pd

from analysis.frame.frame import Frame
from analysis.provenance.digests import Trace
from analysis.provenance.trust import Trust
from benchmarks.plan.study import Study
from benchmarks.redaction import PATH, PLACE, Redactor

KEPT_ENVIRONMENT = ("python", "cpu", "gpu")


def hidden_frame(frame: Frame, redactor: Redactor) -> Frame:
    """The frame without what its free texts may name."""

    def shown(table: pd.DataFrame) -> pd.DataFrame:
        reasons = [
            "" if state in ("running", "lost") else kind(str(reason))
            for state, reason in zip(table["state"], table["reason"], strict=True)
        ]
        return redacted_table(table.assign(reason=pd.Series(reasons, index=table.index, dtype="str")), redactor)

    problems = frame.problems.assign(problem="cannot be read")
    return dataclasses.replace(
        frame, rows=shown(frame.rows), runs=shown(frame.runs), problems=problems, recipes=redactor.values(frame.recipes)
    )


def redacted_table(table: pd.DataFrame, redactor: Redactor, keep: Iterable[str] = ("run",)) -> pd.DataFrame:
    """A table without paths and hosts in any column of texts but `keep`."""
    table = table.copy()
    for name in table.select_dtypes(include=["object", "string"]).columns.difference(list(keep)):
        table[name] = [redactor.values(value) for value in table[name]]
    return table


def kind(reason: str) -> str:
    """'FileNotFoundError: /home/a/x' -> 'FileNotFoundError'; what is no exception stays, without its paths."""
    name = re.match(r"[\w.]*(?:Error|Exception|Interrupt|Exit|Warning)\b", reason)
    return name[0].rpartition(".")[2] if name else PATH.sub(PLACE, reason)


def hidden_trace(one: Trace, redactor: Redactor) -> Trace:
    """A trace without hosts and commit; its digests stay."""
    environment = {key: one.environment[key] for key in KEPT_ENVIRONMENT if key in one.environment}
    config, execution = redactor.values(one.config), redactor.values(one.execution)  # sources name files of weights
    return dataclasses.replace(one, environment=environment, hosts=(), config=config, execution=execution)


def hidden_study(study: Study, redactor: Redactor) -> Study:
    """A study whose words name no path or host."""
    left_out = tuple((redactor.text(cell), redactor.text(reason)) for cell, reason in study.left_out)
    return dataclasses.replace(
        study,
        question=redactor.text(study.question),
        cost=redactor.text(study.cost),
        expect=redactor.text(study.expect),
        left_out=left_out,
    )


def hidden_trust(found: Trust, redactor: Redactor) -> Trust:
    """What the checks found, without paths and hosts."""
    return Trust(
        tuple(
            dataclasses.replace(
                one, text=redactor.text(one.text), details=tuple(redactor.text(line) for line in one.details)
            )
            for one in found.findings
        )
    )
