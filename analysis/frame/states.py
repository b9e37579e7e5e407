"""The states of runs, and which of them belong together."""

import pandas as pd

STATES = ("finished", "failed", "diverged", "stale", "lost", "interrupted", "running", "queued", "missing")
DONE = ("finished", "stale")  # trained to the end and evaluated
ACTIVE = ("queued", "running", "interrupted", "lost")  # may still get a result
WITHOUT_RESULT = ("diverged", "failed")  # ended, but not with an accuracy
RECORDED = ("finished", "stale", "diverged")  # have a result that a rerun can be compared with


def by_state(runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs in each state that occurs, finished first, missing last."""
    parted = {state: runs[runs["state"] == state] for state in STATES}
    return {state: those for state, those in parted.items() if len(those)}
