"""An attempt's times and its log."""

import logging
import time
from pathlib import Path

from benchmarks.files import read_json
from benchmarks.records.attempts import claim
from benchmarks.running.attempt_log import LOG_BYTES, attempt


def test_endless_logs_are_bounded(tmp_path: Path) -> None:
    """Fault 27 of a sweep: ten megabytes of lines leave two files of one, with the last line in them."""
    log, line = logging.getLogger("inductive"), "x" * 1000
    with attempt(claim(tmp_path), "", time.perf_counter()) as job:
        for _ in range(10 * LOG_BYTES // len(line)):
            log.warning(line)
        log.warning("the last")
    files = sorted(job.claim.path.glob("log.txt*"))
    assert [path.name for path in files] == ["log.txt", "log.txt.1"]
    assert all(path.stat().st_size <= LOG_BYTES for path in files)
    assert files[0].read_text().rstrip().endswith("the last")


def test_where_the_time_went(tmp_path: Path) -> None:
    """Up to the first step, in training, in evaluation: parts of the whole, which begins before the attempt does."""
    began = time.perf_counter() - 2.0  # as if the images had taken two seconds to load
    with attempt(claim(tmp_path), "", began) as job:
        job.ready()
        job.ready()  # a run begun anew with smaller micro-batches was ready the first time
        with job.timed("training"):
            time.sleep(0.05)
    seconds = read_json(tmp_path / "attempts" / "0001" / "ended.json")["seconds"]
    assert seconds["start"] >= 2.0
    assert seconds["training"] >= 0.05
    assert seconds["evaluation"] == 0.0
    assert seconds["total"] >= seconds["start"] + seconds["training"] - 0.002  # all three are rounded to milliseconds
