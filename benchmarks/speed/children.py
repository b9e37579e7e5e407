"""A clock that counts what this process's children use as its own: for tables whose work is done in other processes."""

import os
from pathlib import Path

from benchmarks.speed.clock import MachineClock

PROC = Path("/proc")


class FamilyClock(MachineClock):
    """`MachineClock`, but processes that descend from this one, running or gone, are no others."""

    def others(self) -> float | None:
        busy = super().others()
        return None if busy is None else busy - family_seconds(os.getpid(), PROC)


def family_seconds(ancestor: int, proc: Path) -> float:
    """CPU seconds of all living descendants of a process, with those of the children that they have waited for.

    From proc(5): field 4 of /proc/PID/stat is the parent, 14 to 17 are utime, stime, cutime and cstime in ticks.
    """
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for path in proc.glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        pid = int(path.parent.name)
        ticks[pid] = sum(map(int, fields[11:15]))
        children.setdefault(int(fields[1]), []).append(pid)
    found, waiting = 0, list(children.get(ancestor, []))
    while waiting:
        pid = waiting.pop()
        found += ticks[pid]
        waiting += children.get(pid, [])
    return found / os.sysconf("SC_CLK_TCK")
