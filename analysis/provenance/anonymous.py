"""A report for double-blind review: nothing in it says on whose machine, under which account or commit it was made.

Free text that may name anything (errors, problems) is cut to its kind; paths and hosts are replaced wherever they
stand, also in the options of a model, in a data set's name and in the study's own text. That is done before anything is
computed, so that figures have it; but ids of runs, which lead to their records, are replaced in what is written.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

import pandas as pd

from analysis.frame.frame import Frame
from analysis.provenance.digests import Trace
from analysis.provenance.trust import Trust
from benchmarks.plan.run import Run
from benchmarks.plan.study import Study
from benchmarks.redaction import PATH, PLACE, Redactor

KEPT_ENVIRONMENT = ("python", "cpu", "gpu")
Value = TypeVar("Value")


def redactor_of(runs: Iterable[Run], found: Iterable[Trace]) -> Redactor:
    """What hides the hosts of the traces, and every path: those in the settings of the runs, whose whole text after
    'folder:' or 'file:' is the path, stay apart. Of relative ones those with a slash are meant."""
    texts = (re.match(r"(?:(?:file|folder):)?(.*/.*)", text) for run in runs for text in _texts(run.settings()))
    return Redactor((host for one in found for host in one.hosts), (text[1] for text in texts if text))


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)


def written(value: Value, redactor: Redactor) -> Value:
    """What is to be written, without paths and hosts in any text of it, ids of runs included."""
    shown: Any = value
    if isinstance(value, pd.DataFrame):
        shown = redacted_table(value, redactor, keep=())
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        shown = type(value)(*(written(one, redactor) for one in value))
    elif isinstance(value, (list, tuple)):
        shown = type(value)(written(one, redactor) for one in value)
    elif isinstance(value, Mapping):
        shown = {written(key, redactor): written(inner, redactor) for key, inner in value.items()}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.init}
        shown = dataclasses.replace(value, **{name: written(inner, redactor) for name, inner in fields.items()})
    elif isinstance(value, str):
        shown = redactor.text(value)
    return cast("Value", shown)


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
        frame,
        rows=shown(frame.rows),
        runs=shown(frame.runs),
        problems=problems,
        recipes=redactor.values(frame.recipes),
        datasets={redactor.text(name): data for name, data in frame.datasets.items()},
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
        expects=tuple(
            one if one.dataset is None else one.model_copy(update={"dataset": redactor.text(one.dataset)})
            for one in study.expects
        ),
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
