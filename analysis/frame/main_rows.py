"""Which evaluations of a run stand for it: those that its study asks for by default, and the one at home."""

import pandas as pd

from analysis.frame.naming import NONE
from benchmarks.plan.probes import NO_PROBE


def unprobed(rows: pd.DataFrame) -> pd.DataFrame:
    """The evaluations of images as they are; those of probes have a question of their own."""
    return rows[rows["probe"] == NO_PROBE]


def probed(rows: pd.DataFrame) -> pd.DataFrame:
    """The evaluations that `unprobed` leaves out."""
    return rows[rows["probe"] != NO_PROBE]


def usual(rows: pd.DataFrame) -> pd.DataFrame:
    """The evaluations that tables and figures show: resized whole images (or as published), each model's default way of
    carrying positions, BatchNorm as trained, no mirror images. The room `questions/resolution` has the others."""
    return as_shown(unprobed(rows))


def as_shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The same of any evaluations, probed ones as well."""
    return rows[
        (rows["images"] == "resize")
        & rows["shown_default"]
        & (rows["views"] == "one")
        & rows["carry_default"]
        & (rows["batchnorm"] == "kept")
    ]


def at_home(rows: pd.DataFrame, part: str = "test") -> pd.DataFrame:
    """The evaluations at the training resolution, one a run."""
    rows = usual(rows)
    return rows[(rows["part"] == part) & (rows["test_resolution"] == rows["resolution"]) & (rows["carry"] == NONE)]
