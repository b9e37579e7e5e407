"""Python in processes that are forked with everything imported: seconds less for each that a test starts.

A forked process has its own session, folder, environment, output and exit code, as one that was started, and so has the
fork server of its runs, which nothing of the process itself reaches: it is forked before the process begins. Of the
start itself a forked process shows nothing: tests of that start Python. `python tests/warm.py SOCKET` is the server.
"""

import atexit
import fcntl
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import types
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 1 << 20  # bytes of an order
FILES = 64  # that an order may bring along
IMPORTED = (  # whatever takes long
    *("benchmarks.cli.main", "benchmarks.running.preload", "benchmarks.running.preflight"),
    *("analysis.report", "seaborn", "slurm.submit"),
)


@dataclass
class Started:
    """A process of the server's, by its pid; it leads a process group of its own."""

    arguments: list[str]
    pid: int
    answers: Any  # a line from the server: the exit code, as Popen has it
    connection: socket.socket
    out: Path
    err: Path
    code: int | None = None

    def wait(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """What came of it. Kills it and raises subprocess.TimeoutExpired when it takes longer."""
        if self.code is None:
            self.connection.settimeout(timeout)
            try:
                self.code = int(self.answers.readline())
            except TimeoutError as error:
                self.kill()
                raise subprocess.TimeoutExpired(self.arguments, timeout, self.said(), self.err.read_text()) from error
            finally:
                self.close()
        return subprocess.CompletedProcess(self.arguments, self.code, self.said(), self.err.read_text())

    def said(self) -> str:
        """Its output so far."""
        return self.out.read_text()

    def close(self) -> None:
        """Hears no more of it."""
        self.answers.close()
        self.connection.close()

    def kill(self) -> None:
        """SIGKILL to its process group, where there still is one."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


class Warm:
    """Starts the server when it is first needed, and ends it with the tests."""

    def __init__(self, folder: Path):
        self.folder, self.server, self.started = folder, None, list[Started]()
        self.place = str(folder / "socket")

    def start(
        self,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        together: bool = False,
        anew: bool = False,
    ) -> Started:
        """Starts what `python ARGUMENTS` would (`-c CODE ...`, `-m MODULE ...`, `SCRIPT ...`), or `inductive ...`, its
        errors `together` with its output or apart. Of the environment, what is read at an import changes nothing,
        unless Python is started `anew`."""
        if self.server is None:
            whole = {**os.environ, "PYTHONPATH": str(ROOT)}
            self.server = subprocess.Popen([sys.executable, __file__, self.place], env=whole)
        out, err = (self.folder / f"{len(self.started)}.{name}" for name in ("out", "err"))
        for path in (out, err):
            path.touch()
        order = {"arguments": list(arguments), "folder": str(folder), "environment": dict(environment), "anew": anew}
        there = self._connected()
        there.sendall(json.dumps({**order, "out": str(out), "err": str(out if together else err)}).encode())
        there.shutdown(socket.SHUT_WR)
        answers = there.makefile()
        self.started.append(Started(list(arguments), int(answers.readline()), answers, there, out, err))
        return self.started[-1]

    def _connected(self) -> socket.socket:
        """A connection to the server, which first has to import everything."""
        assert self.server is not None
        for _ in range(1200):
            there = socket.socket(socket.AF_UNIX)
            try:
                there.connect(self.place)
            except (FileNotFoundError, ConnectionRefusedError):
                there.close()
                if self.server.poll() is not None:
                    raise RuntimeError(f"{__file__} ended with {self.server.returncode}") from None
                time.sleep(0.1)
            else:
                return there
        raise RuntimeError(f"{__file__} does not answer")

    def end(self) -> None:
        for one in self.started:
            one.close()
        if self.server is not None:
            self.server.kill()
            self.server.wait()


def serve(place: str) -> None:
    """Forks a process for each order, and answers with its pid and, in the end, its exit code."""
    for module in IMPORTED:
        importlib.import_module(module)
    server = socket.socket(socket.AF_UNIX)
    server.bind(place)
    server.listen()
    while True:
        there, _ = server.accept()
        with suppress(ChildProcessError):  # those that waited for processes which have ended
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not os.fork():
            server.close()
            keep(there)
        there.close()


def keep(there: socket.socket) -> None:
    """Forks what is ordered and waits for it. In a process of its own, so that several can be under way."""
    order = json.loads(there.makefile().read(LONGEST))
    child = os.fork()
    if not child:
        there.close()
        try:
            become(order)
        except BaseException as end:  # noqa: BLE001  (whatever ends a program)
            leave(end)
    there.sendall(f"{child}\n".encode())
    there.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
    os._exit(0)


def become(order: Mapping[str, Any]) -> None:
    """Ends this process as one that was started so."""
    os.setsid()
    for path, number in ((order["out"], 1), (order["err"], 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    if order["anew"]:
        first, *others = order["arguments"]
        command = ["-m", "benchmarks.cli.main"] if first == "inductive" else [first]
        os.execv(sys.executable, [sys.executable, *command, *others])
    warnings._processoptions(filter(None, os.environ.get("PYTHONWARNINGS", "").split(",")))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep_a_fork_server()
    sys.argv = order["arguments"]
    if sys.argv[0] == "inductive":
        from benchmarks.cli.main import main

        main()
    elif sys.argv[0] == "-c":
        run_code(sys.argv.pop(1))
    elif sys.argv[0] == "-m":
        runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
    sys.exit()


def leave(end: BaseException) -> None:
    """Ends this process as Python ends a program that raised `end`, without taking every module apart, which takes
    seconds: what was imported is imported in many processes, and so first has to be copied."""
    code = 1
    if isinstance(end, SystemExit):
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    else:
        sys.excepthook(type(end), end, end.__traceback__)
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if isinstance(end, KeyboardInterrupt):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


def run_code(code: str) -> None:
    """Runs a program as `python -c` does."""
    sys.modules["__main__"] = main = types.ModuleType("__main__")
    exec(compile(code, "<string>", "exec"), main.__dict__)  # noqa: S102  (a test's own)


def keep_a_fork_server() -> None:
    """Forks a process that waits until `multiprocessing` starts a fork server, and then is it. From now on nothing that
    this process does reaches it but what a started one is given: files, environment, folder and blocked signals."""
    ours, theirs = socket.socketpair()
    everything = signal.valid_signals()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, everything)
    child = os.fork()
    if not child:
        ours.close()
        be_fork_server(theirs)
    theirs.close()
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    start = util.spawnv_passfds

    def spawnv_passfds(path: Any, arguments: Sequence[Any], files: Sequence[int]) -> int:
        code = os.fsdecode(arguments[-1])
        if "forkserver" not in code or ours.fileno() < 0:  # the tracker of resources, or a second server
            return int(start(path, arguments, files))
        mask = [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])]
        order = {"code": code, "files": list(files), "blocked": mask, "folder": str(Path.cwd())}
        socket.send_fds(ours, [json.dumps({**order, "environment": dict(os.environ)}).encode()], list(files))
        ours.close()
        return child

    util.spawnv_passfds = spawnv_passfds


def be_fork_server(orders: socket.socket) -> None:
    """Waits for the order, which may never come, and becomes what it says."""
    text, files, _, _ = socket.recv_fds(orders, LONGEST, FILES)
    if not text:
        os._exit(0)
    order = json.loads(text)
    beyond = max(order["files"]) + 1  # where none stands in the place of another
    for file, number in zip([fcntl.fcntl(file, fcntl.F_DUPFD, beyond) for file in files], order["files"], strict=True):
        os.dup2(file, number)
    for number in {int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2, *order["files"]}:  # noqa: PTH208
        with suppress(OSError):  # the listing's own
            os.close(number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    signal.pthread_sigmask(signal.SIG_SETMASK, order["blocked"])
    with suppress(SystemExit):  # its last client is gone
        run_code(order["code"])
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1])
