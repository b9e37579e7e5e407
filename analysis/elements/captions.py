"""What the marks of a figure mean, in a few words: of each figure those marks that it has.

Which it has is read off the table behind it (`mean`, `low`, `high`): no bars are explained where there is no interval.
"""

import pandas as pd

RUNS = "small points: runs"
MEANS = "lines: means"
CHANCE = "dotted: chance"


def bars(table: pd.DataFrame, interval: str = "95 % t-intervals", names: str = "label", rows: bool = False) -> str:
    """What bars are, where some row has an interval, and that they are shifted where several `names` share a place and
    do not have `rows` of their own; else ''."""
    if not (table["low"].notna() & table["high"].notna()).any():
        return ""
    several = table.loc[table["mean"].notna(), names].nunique() > 1 and not rows
    return f"bars: {interval}{', shifted sideways' if several else ''}"


def legend(*parts: str) -> str:
    """Those that say anything, as one sentence; '' of none."""
    text = "; ".join(part for part in parts if part)
    return f"{text[0].upper()}{text[1:]}." if text else ""
