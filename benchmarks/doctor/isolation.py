"""Checks made in a process apart, so that none stops the others: an error of a GPU spoils the process it happens in.

They share a process, whose CUDA starts once, for as long as nothing goes wrong; after a check that raised, died or
hung the rest go on in a new one, forked from the warm server that runs are forked from.
"""

import gc
import multiprocessing
import signal
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import torch

import models
from benchmarks.doctor.findings import Answer, Check, Finding
from benchmarks.running.local import run_tasks
from benchmarks.speed.cases import Quiet

PATIENCE, LEAVE = 300.0, 5.0  # seconds that a check may take, and a process to end


def answered(checks: Sequence[Check], patience: float = PATIENCE) -> Iterator[Finding]:
    """The finding of each check, as it ends."""
    run_tasks([], 1, Quiet())  # starts the server
    context = multiprocessing.get_context("forkserver")
    waiting = deque(checks)
    while waiting:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_answer_all, args=(theirs, tuple(waiting), models.loaded_plugins()))
        process.start()
        theirs.close()
        leave, sound = 0.0, True
        try:
            while waiting and sound:
                began = time.monotonic()
                answer = _next(ours, process, patience)
                check, sound = waiting.popleft(), answer.verdict != "failed"
                yield Finding(check.part, check.name, answer, time.monotonic() - began)
            leave = LEAVE
        finally:
            process.join(leave)
            process.kill()  # where it does not end, or nobody waits any more
            process.join()
            ours.close()


def _next(pipe: Connection, process: Any, patience: float) -> Answer:
    """The next answer of a process; `failed` where it died or takes too long."""
    try:
        if pipe.poll(patience):
            answer: Answer = pipe.recv()
            return answer
    except EOFError:
        process.join()
        code = process.exitcode
        return Answer("failed", f"its process died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})")
    process.kill()
    return Answer("failed", f"no answer within {patience:.0f} s")


def _answer_all(pipe: Connection, checks: Sequence[Check], plugins: Sequence[models.Plugin]) -> None:
    """The body of the process: checks in turn, until one has failed."""
    for plugin in plugins:
        models.load_plugin(plugin)
    for check in checks:
        answer = answer_of(check)
        release()  # a recorded step keeps its memory until Python has cleared its circles
        with suppress(OSError):  # nobody listens any more
            pipe.send(answer)
        if answer.verdict == "failed":
            return


def answer_of(check: Check) -> Answer:
    """The answer of a check, made here. What it raises is its answer, in a line; what torch warned of is added."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            answer = check.call()
        except Exception as error:  # noqa: BLE001  (the boundary of a check: whatever it is, it stops no other)
            answer = Answer("failed", one_line(f"{type(error).__name__}: {error}"))
    words = {one_line(str(one.message)) for one in warned if issubclass(one.category, UserWarning)}
    return replace(answer, words="; warning: ".join([answer.words, *sorted(words)]))


def release() -> None:
    """Gives back what memory of a GPU nothing uses any more."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def one_line(text: str, most: int = 300) -> str:
    """A text without line breaks, cut where it is very long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]}..."
