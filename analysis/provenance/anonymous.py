"""A report for double-blind review: nothing in it says on whose machine, under which account or commit it was made.

Free text that may name anything (errors, problems) is cut to its kind; paths and hosts are replaced wherever they
stand, also in the options of a model and in the study's own text.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from analysis.frame.frame import Frame
from analysis.provenance.digests import Trace
from analysis.provenance.trust import Finding, Trust
from benchmarks.plan.study import Study

# An absolute path, or one below a home. Not what follows a letter or a dot: 'and/or', '../x'.
PATH = re.compile(r"(?<![\w./~<])(?:~[\w.-]*/|/)[^\s/'\",;()<>\[\]]+(?:/[^\s/'\",;()<>\[\]]+)*/?")
KEPT_ENVIRONMENT = ("python", "cpu", "gpu")
PLACE, HOST = "PATH", "HOST"


class Redaction:
    """What replaces paths and the names of these hosts in a text, and in whatever is made of texts."""

    def __init__(self, hosts: Iterable[str]):
        names = {name for host in hosts for name in (host, host.partition(".")[0]) if len(name) > 1}
        words = "|".join(re.escape(name) for name in sorted(names, key=lambda name: (-len(name), name)))
        self.hosts = re.compile(rf"(?<![\w-])(?:{words})(?![\w-])") if words else None

    def text(self, text: str) -> str:
        """The text with PATH for each path and HOST for each host."""
        text = PATH.sub(PLACE, text)
        return self.hosts.sub(HOST, text) if self.hosts else text

    def values(self, value: Any) -> Any:
        """The same for every text in a value of lists and mappings, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.values(key): self.values(inner) for key, inner in value.items()}
        return [self.values(one) for one in value] if isinstance(value, (list, tuple)) else value

    def table(self, table: pd.DataFrame, keep: Iterable[str] = ("run",)) -> pd.DataFrame:
        """The same for every column of texts but `keep`."""
        table = table.copy()
        for name in table.select_dtypes(include=["object", "string"]).columns.difference(list(keep)):
            table[name] = [self.values(value) for value in table[name]]
        return table


def hidden_frame(frame: Frame, redaction: Redaction) -> Frame:
    """The frame without what its free texts may name."""

    def shown(table: pd.DataFrame) -> pd.DataFrame:
        reasons = [
            "" if state in ("running", "lost") else kind(str(reason))
            for state, reason in zip(table["state"], table["reason"], strict=True)
        ]
        return redaction.table(table.assign(reason=pd.Series(reasons, index=table.index, dtype="str")))

    problems = frame.problems.assign(problem="cannot be read")
    return dataclasses.replace(
        frame,
        rows=shown(frame.rows),
        runs=shown(frame.runs),
        problems=problems,
        recipes=redaction.values(frame.recipes),
    )


def kind(reason: str) -> str:
    """'FileNotFoundError: /home/a/x' -> 'FileNotFoundError'; what is no exception stays, without its paths."""
    name = re.match(r"[\w.]*(?:Error|Exception|Interrupt|Exit|Warning)\b", reason)
    return name[0].rpartition(".")[2] if name else PATH.sub(PLACE, reason)


def hidden_trace(one: Trace, redaction: Redaction) -> Trace:
    """A trace without hosts and commit; its digests stay."""
    environment = {key: one.environment[key] for key in KEPT_ENVIRONMENT if key in one.environment}
    config, execution = redaction.values(one.config), redaction.values(one.execution)  # sources name files of weights
    return dataclasses.replace(one, environment=environment, hosts=(), config=config, execution=execution)


def hidden_study(study: Study, redaction: Redaction) -> Study:
    """A study whose words name no path or host."""
    left_out = tuple((redaction.text(cell), redaction.text(reason)) for cell, reason in study.left_out)
    return dataclasses.replace(
        study,
        question=redaction.text(study.question),
        cost=redaction.text(study.cost),
        expect=redaction.text(study.expect),
        left_out=left_out,
    )


def hidden_trust(found: Trust, redaction: Redaction) -> Trust:
    """What the checks found, without paths and hosts."""
    return Trust(
        tuple(
            Finding(redaction.text(one.text), one.alarming, tuple(redaction.text(line) for line in one.details))
            for one in found.findings
        )
    )
