"""Evaluations that a study wants of finished runs and that are not there yet, or not any more: reported as runs are."""

from analysis import wording
from analysis.frame.frame import Frame
from analysis.frame.states import DONE
from benchmarks.plan.evaluations import in_words
from benchmarks.plan.probes import PROBES
from benchmarks.plan.study import Study


def waiting(frame: Frame, study: Study) -> list[tuple[str, tuple[str, ...]]]:
    """(what, ids of the finished runs that lack it): ('24 px', ids), ('24 px, canvas', ids), in the study's order.

    `frame` has the records of the study, or of those it is joined of. A run that has not finished is no part of it: it
    is reported by its state."""
    there = set(zip(frame.rows["run"], frame.rows["evaluation"], strict=True))
    done = set(frame.runs["run"][frame.runs["state"].isin(DONE)])
    return in_words(
        (run, [one for one in study.evaluations[run.id] if (run.id, one.id) not in there])
        for run in study.runs
        if run.id in done
    )


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
