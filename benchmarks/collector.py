"""Python's collector of circles, switched off where ten thousand objects are made that live on and form no circle."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """No collection inside, and afterwards as before. Going through all the runs of a large study time and again, to
    find nothing, is a tenth of the time of planning it or of reading its records."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
