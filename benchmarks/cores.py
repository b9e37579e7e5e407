"""How many cores this process may use."""

import os


def cores() -> int:
    """Those that the system gives it (affinity, as of a job), where it says so, else those of the machine."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
