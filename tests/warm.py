"""The command line in processes that are forked with everything imported: three seconds less for each call of a test.

A forked process has its own folder, environment, output and exit code, as one that was started. Of the start itself it
shows nothing: tests of that start Python. `python tests/warm.py SOCKET` serves calls one after the other.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 1 << 20  # bytes of a call


class Warm:
    """Starts the server when it is first needed, and ends it with the tests."""

    def __init__(self, folder: Path):
        self.folder, self.server, self.calls = folder, None, 0
        self.place = str(folder / "socket")

    def call(
        self, arguments: list[str], folder: Path, environment: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Calls `inductive` with the arguments, and returns what came of it. Raises subprocess.TimeoutExpired."""
        if self.server is None:
            whole = {**os.environ, "PYTHONPATH": str(ROOT)}
            self.server = subprocess.Popen([sys.executable, __file__, self.place], env=whole)
        self.calls += 1
        out, err = (self.folder / f"{self.calls}.{name}" for name in ("out", "err"))
        order = {"arguments": arguments, "folder": str(folder), "environment": dict(environment)}
        with self._connected() as there:
            there.settimeout(timeout)
            there.sendall(json.dumps({**order, "out": str(out), "err": str(err)}).encode())
            there.shutdown(socket.SHUT_WR)
            try:
                code = int(there.makefile().read())
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(arguments, timeout, out.read_text(), err.read_text()) from error
        return subprocess.CompletedProcess(arguments, code, out.read_text(), err.read_text())

    def _connected(self) -> socket.socket:
        """A connection to the server, which first has to import everything."""
        assert self.server is not None
        for _ in range(600):
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
        if self.server is not None:
            self.server.kill()
            self.server.wait()


def serve(place: str) -> None:
    """Forks a process for each call, and answers with its exit code."""
    import seaborn  # noqa: F401
    import torch

    import benchmarks.cli.main
    import benchmarks.running.execute
    import benchmarks.running.preflight  # noqa: F401

    torch.set_num_threads(1)  # no thread survives a fork
    server = socket.socket(socket.AF_UNIX)
    server.bind(place)
    server.listen()
    while True:
        there, _ = server.accept()
        order = json.loads(there.makefile().read(LONGEST))
        child = os.fork()
        if not child:
            there.close()
            server.close()
            become(order)
        there.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
        there.close()


def become(order: Mapping[str, Any]) -> None:
    """Ends this process as `inductive` does when it is called so."""
    os.setsid()
    for path, number in ((order["out"], 1), (order["err"], 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["inductive", *order["arguments"]]
    from benchmarks.cli.main import main

    main()  # raises SystemExit


if __name__ == "__main__":
    serve(sys.argv[1])
