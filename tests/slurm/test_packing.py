"""Packing: every run in one job, jobs of equal length, arrays that a site takes."""

import math
import random

import pytest

from slurm.packing import FILL, Estimate, arrays, pack


@pytest.mark.parametrize("seed", range(20))
def test_every_run_once_and_jobs_of_equal_length(seed: int) -> None:
    """Graham's bound (1969): the longest job is below the mean load and one run more."""
    drawn = random.Random(seed)
    runs = [Estimate(f"run{number}", drawn.expovariate(1 / 100)) for number in range(drawn.randint(1, 200))]
    slots, limit = drawn.choice([1, 2, 8]), drawn.choice([300.0, 3600.0])
    jobs = pack(runs, slots, limit, least=1e9, most=1000)
    assert sorted(run for job in jobs for run in job) == sorted(run.id for run in runs)
    seconds = {run.id: run.seconds for run in runs}
    loads = [sum(seconds[run] for run in job) for job in jobs]
    assert max(loads) <= sum(loads) / len(jobs) + max(seconds.values()) + 1e-9
    assert len(jobs) == min(len(runs), max(1, math.ceil(sum(loads) / (slots * limit * FILL))))
    for job in jobs:
        assert [seconds[run] for run in job] == sorted((seconds[run] for run in job), reverse=True)


def test_packing_is_a_function() -> None:
    """The same jobs whatever the order of equal runs."""
    runs = [Estimate(f"run{number}", 10.0) for number in range(7)]
    assert pack(runs, 1, 40.0, 1e9, 99) == pack(runs[::-1], 1, 40.0, 1e9, 99)
    assert pack([], 2, 10.0, 1.0, 99) == []


@pytest.mark.parametrize(
    ("runs", "slots", "least", "most", "jobs"),
    [
        (1000, 2, 900.0, 200, 16),  # 15,000 s of work on two slots, 900 s a job at least
        (1000, 2, 900.0, 10, 10),  # the queue has room for ten
        (40, 2, 900.0, 200, 1),  # too little to share
        (6, 4, 1.0, 200, 1),  # a job's slots are filled before there are two
        (1000, 2, 900.0, 0, 3),  # no room at all: as few as the limit of 7,200 s allows, all of them held back
    ],
)
def test_a_sweep_is_spread_over_the_cluster(runs: int, slots: int, least: float, most: int, jobs: int) -> None:
    """Reference: the numbers beside each case, by hand."""
    work = [Estimate(f"run{number}", 30.0) for number in range(runs)]
    assert len(pack(work, slots, 7200.0, least, most)) == jobs


def test_a_run_longer_than_the_limit_has_a_job() -> None:
    """It is continued by the same job, requeued."""
    assert pack([Estimate("long", 1e6)], 1, 60.0, 10.0, 99) == [["long"]]


@pytest.mark.parametrize(
    ("count", "largest", "sizes"), [(5, 10, [5]), (11, 10, [6, 5]), (64, 63, [32, 32]), (0, 3, [])]
)
def test_arrays(count: int, largest: int, sizes: list[int]) -> None:
    """As few as the site's limit allows, as equal as can be, in order."""
    jobs = [[str(number)] for number in range(count)]
    found = arrays(jobs, largest)
    assert [len(array) for array in found] == sizes
    assert [job for array in found for job in array] == jobs
