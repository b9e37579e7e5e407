"""A study's [paper] table applied to its records: other names for models, and their order. No number changes."""

import dataclasses

import pandas as pd

from analysis.frame.frame import Frame
from benchmarks.errors import ConfigError
from benchmarks.plan.paper import Paper
from models.hints import did_you_mean


def apply(frame: Frame, paper: Paper) -> Frame:
    """The frame with the labels that the paper gives, models in its order, the others behind as they were.

    Raises ConfigError for a label that no model of the study has, with the nearest, and for two models of one name.
    """
    labels = list(dict.fromkeys(frame.runs["label"]))
    if not labels:
        return frame
    renamed = {label: paper.labels.get(label, label) for label in labels}
    for key, names, known in (
        ("labels", list(paper.labels), labels),
        ("order", paper.order, [*labels, *renamed.values()]),
        ("highlight", paper.highlight, [*labels, *renamed.values()]),
    ):
        for name in names:
            if name not in known:
                there = ", ".join(dict.fromkeys(known))
                raise ConfigError(f"paper.{key}", f"no model is called '{name}'; there are {there}"
                                  f"{did_you_mean(name, known)}")  # fmt: skip
    twice = [name for name in renamed.values() if list(renamed.values()).count(name) > 1]
    if twice:
        raise ConfigError("paper.labels", f"two models would be called '{twice[0]}'")
    first = [renamed.get(name, name) for name in paper.order]
    order = {name: place for place, name in enumerate(dict.fromkeys([*first, *renamed.values()]))}

    def shown(table: pd.DataFrame) -> pd.DataFrame:
        table = table.assign(label=table["label"].map(renamed))
        if not paper.order:
            return table
        return table.sort_values("label", key=lambda names: names.map(order), kind="stable", ignore_index=True)

    return dataclasses.replace(frame, rows=shown(frame.rows), runs=shown(frame.runs))


def highlighted(paper: Paper) -> frozenset[str]:
    """The labels, as they are shown, that the paper highlights."""
    return frozenset(paper.labels.get(name, name) for name in paper.highlight)
