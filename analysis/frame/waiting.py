"""Evaluations that a study wants of finished runs and that are not there yet, or not any more: reported as runs are."""

import pandas as pd

from analysis import wording
from analysis.frame.frame import Frame
from analysis.frame.states import DONE
from benchmarks.plan.evaluations import in_words
from benchmarks.plan.probes import PROBES
from benchmarks.plan.study import Study
from benchmarks.records.states import BY_TODAYS_CODE


def waiting(frame: Frame, study: Study) -> list[tuple[str, tuple[str, ...]]]:
    """(what, ids of the finished runs that lack it): ('24 px', ids), ('24 px, canvas', ids), in the study's order; then
    what earlier code has measured and `run` measures again: ('8 px by today's measuring code', ids).

    `frame` has the records of the study, or of those it is joined of. A run that has not finished is no part of it: it
    is reported by its state."""
    there, earlier = _pairs(frame.rows), _pairs(by_earlier_code(frame))
    done = set(frame.runs["run"][frame.runs["state"].isin(DONE)])
    wanted = [(run, study.evaluations[run.id]) for run in study.runs if run.id in done]
    missing = in_words((run, [one for one in ones if (run.id, one.id) not in there]) for run, ones in wanted)
    again = in_words((run, [one for one in ones if (run.id, one.id) in earlier]) for run, ones in wanted)
    return [*missing, *((BY_TODAYS_CODE.format(what), runs) for what, runs in again)]


def by_earlier_code(frame: Frame) -> pd.DataFrame:
    """The rows of evaluations that are shown although earlier code has measured them. Those of a stale run are none:
    nothing measures them again until somebody accepts its sources."""
    return frame.rows[~frame.rows["current"] & (frame.rows["state"] == "finished")]


def _pairs(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """(run, evaluation), by their ids."""
    return set(zip(rows["run"], rows["evaluation"], strict=True))


def outdated_words(frame: Frame) -> list[str]:
    """What is said of evaluations of probes by measuring code of before, whether or not a study wants them: how many,
    and of which probes."""
    found = []
    known = frame.outdated["probe"].isin(PROBES)
    for rows, what in (
        (frame.outdated[known], "made by measuring code of before, left out until `inductive probe` makes them again"),
        (frame.outdated[~known], "made by another version, whose probes this one does not have, left out"),
    ):
        if len(rows):
            probes = wording.names(dict.fromkeys(rows["probe"]))
            found.append(f"{wording.count(len(rows), 'evaluations')} under probes ({probes}): {what}.")
    return found
