"""From runs to jobs: lists of runs of equal length, and arrays of jobs that a site takes. Pure functions."""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

JOB_START_SECONDS = 10.0  # assumed until a job's first run begins: srun, Python, what the fork server imports
FILL = 0.8  # of a job's time limit that its runs are estimated to take: estimates are too short now and then


@dataclass(frozen=True)
class Estimate:
    """What one run is expected to take on its slot, in seconds."""

    id: str
    seconds: float


def pack(runs: Sequence[Estimate], slots: int, limit: float, least: float, most: int) -> list[list[str]]:
    """Jobs for runs, longest first in each, on `slots` runs side by side.

    As many jobs as have at least `least` seconds of work each, but no more than `most`, so that a sweep uses what the
    cluster has; more only if these did not end within `limit` seconds.
    Each run goes to the job with the least work so far (longest processing time first: Graham, SIAM Journal on Applied
    Mathematics 17, 1969), so jobs take about as long as each other. A run longer than the limit has a job with it all
    the same: it is continued when its time is over.
    """
    if not runs:
        return []
    work = sum(run.seconds for run in runs) / slots
    spread = min(most, len(runs) // slots, int(work / least))
    count = min(len(runs), max(1, spread, math.ceil(work / (limit * FILL))))
    heap = [(0.0, number) for number in range(count)]
    jobs: list[list[str]] = [[] for _ in range(count)]
    for run in sorted(runs, key=lambda one: (-one.seconds, one.id)):
        load, number = heapq.heappop(heap)
        jobs[number].append(run.id)
        heapq.heappush(heap, (load + run.seconds, number))
    return [job for job in jobs if job]


def short_of_time(limit: float, start: float) -> str:
    """A warning ('' for none) where jobs that are told to save after `limit` seconds have less than three starts of
    `start` seconds: most of what they do is start."""
    if limit >= 3 * start:
        return ""
    return (
        f"warning: a job is told to save after {limit:.0f} s, and its start is estimated at {start:.0f} s; with larger "
        "`minutes` less of it is start"
    )


def arrays(jobs: Sequence[list[str]], largest: int) -> list[list[list[str]]]:
    """Jobs in arrays of at most `largest` elements, as equal as can be."""
    if not jobs:
        return []
    count = math.ceil(len(jobs) / largest)
    size = math.ceil(len(jobs) / count)
    return [list(jobs[start : start + size]) for start in range(0, len(jobs), size)]
