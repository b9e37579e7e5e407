"""Runs side by side on this machine: one process a run, forked from a warm server; its slot is a core, or a GPU that
several may share.

Children ignore the signals of the terminal and watch a pipe from their parent: a byte on it, or its end, means save
and exit. So Ctrl-C reaches them in order, and a parent that is killed leaves nobody training on.
"""

import ctypes
import math
import multiprocessing
import os
import platform
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess, SpawnProcess
from typing import Any

from benchmarks.cores import cores
from benchmarks.errors import InductiveError, OwnedError, StaleError
from benchmarks.running import gpus
from benchmarks.running.progress import Display
from benchmarks.running.task import Ending, Settings, Task
from benchmarks.running.together.links import Door, LostNodeError
from benchmarks.running.together.members import Members, ranks_of
from models import ModelError

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # hang-up: the terminal was closed
IGNORED = (*STOPPING, signal.SIGUSR1, signal.SIGUSR2)
PRELOAD = "benchmarks.running.preload"

STOP = "stopping: every run finishes its step and saves"
SAVING = "already stopping: the runs are being saved, nothing is lost; this takes a few seconds"


@dataclass
class _Active:
    task: Task
    process: ForkServerProcess | SpawnProcess
    pipe: Connection
    slot: int
    began: float = field(default_factory=time.monotonic)
    ending: tuple[str, str] | None = None
    left_behind: bool = False


def slots(device: str) -> int:
    """How many runs go side by side by default: one a GPU, else one a core that this process may use; one on mps."""
    if device == "cuda":
        return max(1, len(gpus.given()))
    if device == "mps":
        return 1
    return cores()


def with_workers(settings: Settings, runs: int, nodes: int = 1) -> Settings:
    """The settings of so many runs side by side, on as many nodes together, with the processes that decode photographs
    for each, or for each of its ranks: the cores that the runs leave, where nobody has said how many, and for a GPU,
    whose run needs little of its core, one at least."""
    if settings.workers is not None:
        return settings
    ranks = max(1, runs * settings.gpus_per_run // nodes)
    return replace(settings, workers=max(int(settings.device != "cpu"), cores() // ranks - 1))


def gpus_of(slot: int, given: Sequence[str], ranks: int = 1) -> Sequence[str]:
    """The GPUs of a slot: slots go round the GPUs that this process was given, or groups of `ranks` of them, and never
    beyond them."""
    group = slot % max(1, len(given) // ranks)
    return given[group * ranks : (group + 1) * ranks]


def run_tasks(
    tasks: list[Task],
    jobs: int,
    reporter: Display,
    stopping: list[int] | None = None,
    seconds_to_save: Callable[[], float] | None = None,
    door: Door | None = None,
) -> list[Ending]:
    """Runs all tasks, `jobs` at a time, until done or stopped by SIGINT, SIGTERM or SIGHUP.

    Whoever handles signals by itself gives the list `stopping`, to which its handlers add their numbers, and
    `seconds_to_save`, called once all have been asked to stop: who has not saved by then (a process that hangs) is
    killed and left behind, its ending `lost`. Without it all are waited for. A task that fails stops no other. Where
    other nodes, behind the `door`, compute with this one and one of them is gone, the run's ending is `lost`, and no
    other is begun. After a stop the endings of tasks never started are missing. Raises KeyboardInterrupt once
    everything is saved when it was stopped.
    """
    waiting, active, endings = deque(tasks), list[_Active](), list[Ending]()
    free = list(range(jobs))
    with _stop_requested() if stopping is None else nullcontext(stopping) as stopped:
        context = None if stopped else _context(any(task.settings.device == "mps" for task in tasks))
        announced, patience, deadline = 0, 0.0, math.inf  # announced: how many of the signals in `stopped`
        while active or (waiting and not stopped):
            while waiting and free and not stopped:
                try:
                    active.append(_start(context, waiting[0], free[0], door))
                except (EOFError, ConnectionError):  # the fork server was killed, perhaps because memory is short
                    endings += [
                        Ending(task, "failed", "the fork server died; nothing was started", 0.0) for task in waiting
                    ]
                    waiting.clear()
                    break
                waiting.popleft()
                free.pop(0)
                reporter.started(active[-1].task)
            if len(stopped) > announced:
                for number in range(announced, len(stopped)):
                    reporter.message(SAVING if number else STOP)
                for one in active if not announced else []:
                    with suppress(OSError):  # it may have ended this moment
                        one.pipe.send_bytes(b"stop")
                if not announced and seconds_to_save is not None:
                    patience = seconds_to_save()
                    deadline = time.monotonic() + patience
                announced = len(stopped)
            wait([one.pipe for one in active] + [one.process.sentinel for one in active], timeout=0.2)
            for one in list(active):
                if _is_over(one, reporter, deadline, patience):
                    ending = _ending(one)
                    active.remove(one)
                    free.append(one.slot)
                    if ending.state == "again" and not stopped:
                        waiting.appendleft(one.task)
                        continue
                    if ending.state == "again":
                        ending = replace(ending, state="interrupted")
                    if ending.state == "lost":
                        waiting.clear()
                    endings.append(ending)
                    reporter.ended(ending)
        if stopped:
            if len(stopped) > announced:
                reporter.message(SAVING)
            raise KeyboardInterrupt
    return endings


def _is_over(one: _Active, reporter: Display, deadline: float, patience: float) -> bool:
    """Takes what a child has sent. Whether it has ended, or has been killed since it did not save in time."""
    _listen(one, reporter)
    if time.monotonic() > deadline and one.process.is_alive():
        _leave_behind(one, patience)
    if one.process.is_alive() and not one.left_behind:
        return False
    one.process.join(timeout=1.0 if one.left_behind else None)
    _listen(one, reporter)
    return True


def _listen(one: _Active, reporter: Display) -> None:
    """Takes what a child has sent: its progress, and how it ended."""
    with suppress(EOFError, OSError):
        while one.pipe.poll():
            kind, *values = one.pipe.recv()
            if kind == "step":
                reporter.step(one.task, *values)
            elif kind == "scores":
                reporter.scored(one.task, *values)
            elif kind == "evaluating":
                reporter.evaluating(one.task, *values)
            else:
                one.ending = (values[0], values[1])


def _leave_behind(one: _Active, patience: float) -> None:
    """Kills a child that has not saved in time; one in a system call dies once that returns, and is not waited for."""
    one.process.kill()
    one.left_behind = True
    one.ending = one.ending or ("lost", f"did not save within {patience:.0f} s: killed and left behind")


def _ending(one: _Active) -> Ending:
    code = one.process.exitcode
    state, line = one.ending or (
        "failed",
        f"its process exited without reporting (exit code {code}: {_signal_name(code)})",
    )
    one.pipe.close()
    return Ending(one.task, state, line, time.monotonic() - one.began)


def _signal_name(code: int | None) -> str:
    return signal.Signals(-code).name if code is not None and code < 0 else "no signal"


def _context(metal: bool) -> Any:
    """Where children come from. Apple's GPUs (Metal) can hang or crash in a process that was forked, even from a server
    that has not used them (https://github.com/pytorch/pytorch/pull/178037): there each has a fresh interpreter."""
    if not metal:
        return warm_context()
    with _signals_blocked():
        resource_tracker.ensure_running()
    return multiprocessing.get_context("spawn")


def warm_context() -> Any:
    """The fork server's context, the server started with all signals blocked: what it forks inherits that."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOAD])
    with _signals_blocked():
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)  # the resource tracker's start has unblocked two of them
        forkserver.ensure_running()
    return context


@contextmanager
def _signals_blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _stop_requested() -> Iterator[list[int]]:
    """A list that is filled by SIGINT or SIGTERM. A second signal changes nothing: everything is being saved."""
    seen: list[int] = []

    def note(number: int, frame: object) -> None:
        seen.append(number)  # nothing else: a handler may interrupt a print, which must not be entered twice

    before = {number: signal.signal(number, note) for number in STOPPING}
    try:
        yield seen
    finally:
        for number, handler in before.items():  # once stopped, only the last words are left: let nothing cut them
            signal.signal(number, signal.SIG_IGN if seen else handler)


def _start(context: Any, task: Task, slot: int, door: Door | None) -> _Active:
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, task, slot, door), daemon=False)
    with _signals_blocked():  # which a fresh interpreter inherits, until it ignores them
        process.start()
    theirs.close()
    return _Active(task, process, ours, slot)


def become_child() -> None:
    """What a process does first that computes a run, or a rank of one: whoever has started it tells it when to end."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED)
    keep_memory()


def _child(pipe: Connection, task: Task, slot: int, door: Door | None = None) -> None:
    """The body of a child process: one run, then the end."""
    become_child()
    nodes = 1 if door is None else door.nodes
    devices = gpus_of(slot, task.gpus, max(1, task.settings.gpus_per_run // nodes))
    if devices:
        os.environ[gpus.VISIBLE] = devices[0]
    ranks = ranks_of(task.root / task.run.id, task.settings.gpus_per_run)
    enough = ranks // nodes <= len(devices) or task.settings.device != "cuda"
    members = Members(ranks, devices, (pipe,), door) if ranks > 1 and ranks % nodes == 0 and enough else None
    if members is not None:
        members.last_word = lambda state, line: pipe.send(("end", state, line))
    tells = (_teller(pipe, "step"), _scorer(pipe), _teller(pipe, "evaluating"))
    try:
        state, line = work(task, _Pipe(pipe).ended, *tells, members)
    finally:
        if members is not None:
            members.end()
    with suppress(OSError):  # the parent may be gone
        pipe.send(("end", state, line))
    sys.exit(0 if state != "failed" else 1)


def work(
    task: Task,
    stop: Callable[[], bool],
    tell: Callable[[int, int, float | None], None],
    scored: Callable[[float, float | None], None] = lambda loss, validation: None,
    evaluating: Callable[[int, int], None] = lambda number, of: None,
    members: Members | None = None,
) -> tuple[str, str]:
    """Executes a task and puts what can go wrong into (state, line); a failure is recorded in the run's folder. The
    state is `again` where new processes are to resume the run at once."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # training never touches the network; read by libraries at their import
    from benchmarks.running.execute import execute  # loads torch, which who starts runs does without

    try:
        outcome = execute(
            task.run,
            task.root,
            task.evaluations,
            task.settings,
            stop,
            tell,
            task.until,
            scored,
            evaluating,
            members,
        )
    except OwnedError as error:
        return "owned", str(error)
    except StaleError as error:
        return "stale", str(error)
    except LostNodeError as error:
        return "lost", f"{error}: it goes on from its last checkpoint when it is begun again"
    except (InductiveError, ModelError) as error:
        return "failed", str(error)
    except Exception as error:  # noqa: BLE001  (the boundary of a run: recorded by execute, and it stops no other)
        return "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    return ("again" if outcome.again else outcome.state), outcome.did


class _Pipe:
    """The parent's pipe, asked whether it says stop; once it has, that stays."""

    def __init__(self, pipe: Connection):
        self.pipe, self.seen = pipe, False

    def ended(self) -> bool:
        if not self.seen:
            with suppress(EOFError, OSError):
                if not self.pipe.poll():
                    return False
                self.pipe.recv_bytes()
            self.seen = True
        return True


def _teller(pipe: Connection, kind: str) -> Callable[..., None]:
    """Sends how far a child is (number, of how many, and more) to the parent: a few times a second, and the last."""
    last = 0.0

    def tell(number: int, of: int, *more: Any) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > 0.25 or number == of:
            last = now
            with suppress(OSError):
                pipe.send((kind, number, of, *more))

    return tell


def _scorer(pipe: Connection) -> Callable[[float, float | None], None]:
    """Sends what a logged step has come to: a hundred times in a run, and each time it was validated."""

    def scored(loss: float, validation: float | None) -> None:
        with suppress(OSError):
            pipe.send(("scores", loss, validation))

    return scored


def keep_memory() -> None:
    """Tells glibc to keep what it has freed: without it every large tensor is mapped and unmapped (1.1 to 1.3x)."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in (
            (-4, 0),
            (-1, 2**31 - 1),
            (-2, 2**28),
        ):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(parameter, value)
