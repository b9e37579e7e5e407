"""What the marks of a figure mean, in sentences: of each figure those marks that it has.

Which it has is read off the table behind it (`mean`, `low`, `high`): no bars are explained where there is no interval.
"""

import pandas as pd

RUNS = "Small points: runs."
MEANS = "Large points and lines: means."
CHANCE = "Dotted: chance."


def bars(table: pd.DataFrame, interval: str = "95 % t-intervals") -> str:
    """What bars are, where some row has an interval; else ''."""
    return f"Bars: {interval}." if (table["low"].notna() & table["high"].notna()).any() else ""


def side_by_side(table: pd.DataFrame, names: str = "label", what: str = "Models") -> str:
    """That marks of one place stand side by side, where there are several `names`; else ''."""
    if table.loc[table["mean"].notna(), names].nunique() < 2:
        return ""
    return f"{what} stand side by side at each place, so that their bars do not hide each other."


def legend(*sentences: str) -> str:
    """Those that say anything, as one text."""
    return " ".join(sentence for sentence in sentences if sentence)
