"""The table [paper] of a study: how its report looks in print. It changes no run, no number and no id."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from benchmarks.errors import ConfigError
from benchmarks.plan.run import Frozen, unknown_key, validated


class Paper(Frozen):
    """Names are the labels that the report gives models, such as 'vit rope_axial'."""

    labels: dict[str, str] = Field(default_factory=dict, description="what a model is called instead of its label")
    order: list[str] = Field(default_factory=list, description="labels that come first, in this order")
    highlight: list[str] = Field(default_factory=list, description="labels in bold, with thicker lines")
    column_width: Annotated[float, Field(ge=50, le=400)] | None = Field(
        None, description="width of the figures in PDF and PNG, millimetres"
    )
    look: bool = Field(False, description="also show attention and positions of one run of each model")


def read_paper(table: Any) -> Paper:
    """The [paper] table of a study. Raises ConfigError naming the key."""
    if not isinstance(table, Mapping):
        raise ConfigError("paper", f"{table!r} is not a table: write [paper]")
    unknown_key(table, Paper.model_fields, "paper.")
    paper = validated(Paper, table, "paper.")
    for label, name in paper.labels.items():
        if not name.strip():
            raise ConfigError(
                f"paper.labels.{label}", f"{name!r} is no name that can be read; without the line it is '{label}'"
            )
    return paper


def merged(papers: list[Paper]) -> Paper:
    """Those of several studies as one. Raises ConfigError where they call one model by two names."""
    labels: dict[str, str] = {}
    for paper in papers:
        for label, name in paper.labels.items():
            if labels.setdefault(label, name) != name:
                raise ConfigError(f"paper.labels.{label}", f"is '{labels[label]}' in one study, '{name}' in another")
    return Paper(
        labels=labels,
        order=list(dict.fromkeys(label for paper in papers for label in paper.order)),
        highlight=list(dict.fromkeys(label for paper in papers for label in paper.highlight)),
        column_width=next((paper.column_width for paper in papers if paper.column_width is not None), None),
        look=any(paper.look for paper in papers),
    )
