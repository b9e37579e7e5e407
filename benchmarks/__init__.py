"""What is trained, on what, and how long: studies, runs, records and the command line."""

import os
import signal
import sys
from types import FrameType


def end_early(number: int, frame: FrameType | None) -> None:
    """Ctrl-C while the command imports what it needs: one line, no traceback."""
    os.write(2, b"interrupted\n")
    os._exit(130)


if sys.argv[0].rpartition("/")[2] == "inductive" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_early)  # until cli.main handles it
