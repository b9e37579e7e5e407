"""Evaluations that a study wants of finished runs and that are not there yet: reported as runs are."""

from analysis.frame.frame import Frame
from analysis.frame.states import DONE
from benchmarks.plan.evaluations import in_words
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
