"""What one attempt at a run has come to: its log, its times, and how it ended, whatever happened."""

import logging
import logging.handlers
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.files import read_json, write_json
from benchmarks.records.attempts import Claim
from benchmarks.records.environment import environment
from benchmarks.running.together.links import LostNodeError

log = logging.getLogger("inductive")


@dataclass(frozen=True)
class Outcome:
    """How an execution ended: finished, interrupted or diverged; `did` says what was done. `again`: it is to be begun
    again at once, by new processes."""

    state: str
    did: str
    again: bool = False


class StoppedError(Exception):
    """A measurement was given up, as the attempt is to stop."""


class Job:
    """What an attempt has come to so far; written to ended.json when it ends."""

    def __init__(self, claimed: Claim, began: float):
        self.claim, self.began = claimed, began
        self.execution: dict[str, Any] = {}
        self.outcome = Outcome("finished", "nothing")
        self.step, self.steps = 0, 0
        self.evaluating: tuple[int, int] | None = None  # which evaluation, from 1, of how many
        self.seconds = {"total": 0.0, "start": 0.0, "first_steps": 0.0, "training": 0.0, "evaluation": 0.0}
        self.images_per_second: float | None = None
        self.runs_per_gpu = 1  # that share its GPU; without one, side by side in its job
        self.evaluation_rates: dict[str, float] = {}  # images a second by evaluation id

    def ready(self) -> None:
        """Everything is there for the first step, or for the first evaluation where there is nothing to train."""
        self.seconds["start"] = self.seconds["start"] or time.perf_counter() - self.began

    def beat(self) -> None:
        """Gives a sign of life, with how far it is."""
        self.claim.beat(self.step, self.steps, self.images_per_second, self.evaluating)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def note(self, about: Mapping[str, Any]) -> None:
        """Adds to environment.json what is known only later: on which GPU the attempt is."""
        path = self.claim.path / "environment.json"
        write_json(path, read_json(path) | dict(about))

    def evaluated(self, evaluation: str, images: int, seconds: float) -> None:
        """Notes how fast an evaluation was."""
        if seconds > 0:
            self.evaluation_rates[evaluation] = round(images / seconds, 1)

    def end(self, state: str, error: str | None) -> None:
        self.seconds["total"] = time.perf_counter() - self.began
        seconds = {name: round(value, 3) for name, value in self.seconds.items()}
        rate = round(self.images_per_second, 1) if self.images_per_second else None
        self.claim.end(
            state=state,
            step=self.step,
            seconds=seconds,
            images_per_second=rate,
            runs_per_gpu=self.runs_per_gpu,
            evaluation_rates=self.evaluation_rates,
            error=error,
        )


LOG_BYTES = 1_000_000  # of an attempt's log; then the older half of two such files is dropped


class _LogFile(logging.handlers.RotatingFileHandler):
    """An attempt's log. When the disk is full its lines are lost, quietly: the failure itself is told elsewhere."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


@contextmanager
def attempt(claimed: Claim, command: str, began: float) -> Iterator[Job]:
    """Logs into the attempt's folder, and says at the end how it ended, whatever happened.

    `began`: what time.perf_counter said before anything was done for the run."""
    job = Job(claimed, began)
    handler = _LogFile(claimed.path / "log.txt", maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    try:
        write_json(claimed.path / "environment.json", {**environment(), "command": command})
        yield job
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        log.error("%s", text)
        try:
            job.end("interrupted" if isinstance(error, KeyboardInterrupt | LostNodeError) else "failed", text)
        except OSError as full:
            log.error("the end of this attempt could not be recorded: %s", full)
        raise
    else:
        job.end(job.outcome.state, None)
    finally:
        log.removeHandler(handler)
        handler.close()
