"""Walking over DataFrames, typed as what it is: names decide the columns, so the values are Any."""

from collections.abc import Iterator
from typing import Any

import pandas as pd


def each_row(table: pd.DataFrame, columns: list[str] | None = None) -> Iterator[Any]:
    """The rows as named tuples; with `columns` only those, without repetitions."""
    if columns is not None:
        table = table[columns].drop_duplicates()
    return iter(table.itertuples(index=False))


def each_group(table: pd.DataFrame, by: str | list[str], ordered: bool = False) -> Iterator[tuple[Any, pd.DataFrame]]:
    """(key, rows) in the order of first appearance, or of the keys when `ordered`. A column that is NaN would drop
    rows here; `analysis.frame.frame` makes none that is ever grouped by."""
    return iter(table.groupby(by, sort=ordered))
