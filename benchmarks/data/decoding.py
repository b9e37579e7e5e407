"""Photographs decoded ahead of whoever trains: worker processes, and a ring of memory that all of them share.

What is wanted is numbered, and request number k is a pure function of k. So the pixels are the same for any number of
workers, wherever one begins and whoever is killed. Requests lie in the ring, in order; workers take pieces of them from
one pipe, the kernel dealing them out, write pixels beside the requests, and say so on another. They import no torch
(unless torchcodec decodes), ignore the signals of a terminal or a cluster, and end when their parent does: the pipe
then has no writer. The ring is memory without a name: no size of /dev/shm limits it, and nothing is left of it.

Shapes: M images of a request, C channels, R pixels a side.
"""

import json
import math
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.data import decoders
from benchmarks.data.dataset import Images
from benchmarks.data.photographs import Photographs, Request, Store, Stream, Views, squares
from benchmarks.errors import InductiveError

JOB = struct.Struct("<QQIIIIIi")  # where its request lies, bytes of memory, its images, first, last, R, filter, ticket
DONE = struct.Struct("<ii")  # ticket; 0: done, else the request's text says why not
WORDS = 2048  # bytes of a request's text
PIECE = 16  # images that a worker takes at once, at most
AHEAD = 3  # requests that are in the ring, at least: one that is used, and those that are decoded
PIECES_AHEAD = 4  # for each worker, so that none waits while another is slow
MOST_AHEAD = 32
PATIENCE = 0.5  # seconds without a sign after which the workers are looked at
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
FILTERS = tuple(decoders.FILTERS)
ROOT = Path(__file__).parents[2]  # where the packages lie

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Slot:
    """Where a request of `count` images of one size lies in a memory, from `start`: a text, its numbers, its pixels."""

    start: int
    count: int
    side: int
    channels: int

    @property
    def bytes(self) -> int:
        return WORDS + self.count * (8 + 32 + self.side**2 * self.channels)

    def arrays(self, memory: mmap.mmap) -> tuple[NDArray[np.int64], NDArray[np.int32], Pixels]:
        """Images (M), windows (M 8) and pixels (M R R C)."""
        at, shape = self.start + WORDS, (self.count, self.side, self.side, self.channels)
        images = np.frombuffer(memory, "<i8", self.count, at)
        windows = np.frombuffer(memory, "<i4", self.count * 8, at + self.count * 8).reshape(-1, 8)
        pixels = np.frombuffer(memory, np.uint8, math.prod(shape), at + self.count * 40).reshape(shape)
        return images, windows, pixels


def show(store: Store, decoder: decoders.Shown, views: Views, out: Pixels) -> None:
    """Decodes images into `out` (M R R C). Raises InductiveError naming the first that is damaged."""
    for image, window, row in zip(views.images, views.windows, out, strict=True):
        data = store.read(int(image))
        try:
            decoder(data, store.manifest.channels, window, views, row)
        except decoders.UnreadableError as error:
            raise InductiveError(store.damaged(int(image), f"cannot be decoded ({error})")) from error


class Decoding:
    """Makes pixels of a store's photographs, by a decoder of that name, in `workers` processes; without any in the one
    that asks. To be closed, or used as a context."""

    def __init__(self, store: Store, decoder: str = "pillow", workers: int = 0):
        """Raises ConfigError for a decoder that is unknown or not installed."""
        self.store, self.decoder = store, decoder
        decoders.check_decoder(decoder)
        self._show = decoders.DECODERS[decoder]
        self._workers = _Workers(store, decoder, workers) if workers else None

    @property
    def workers(self) -> int:
        return len(self._workers.processes) if self._workers else 0

    def __enter__(self) -> "Decoding":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers."""
        if self._workers is not None:
            self._workers.end()
        self.store.close()

    def stream(self, request: Request, end: int, most: tuple[int, int]) -> Stream:
        """The pixels of requests up to number `end`; `most` are the images and the side (pixels) of the largest."""
        slot = Slot(0, *most, self.store.manifest.channels)
        if self._workers is not None:
            return _Ahead(self._workers, request, end, slot)
        return _Here(self, request, slot)

    def show(self, views: Views, out: Pixels) -> None:
        """Decodes in this process; see `show`."""
        show(self.store, self._show, views, out)


class _Here(Stream):
    """Decodes what is asked for when it is asked for."""

    def __init__(self, decoding: Decoding, request: Request, slot: Slot):
        self.decoding, self.request = decoding, request
        self.memory = np.empty(slot.count * slot.side**2 * slot.channels, dtype=np.uint8)

    def _take(self, number: int) -> Pixels:
        views = self.request(number)
        shape = (len(views), views.side, views.side, self.decoding.store.manifest.channels)
        out = self.memory[: math.prod(shape)].reshape(shape)
        self.decoding.show(views, out)
        return out

    def close(self) -> None:
        self.memory = self.memory[:0]


class _Ahead(Stream):
    """Has workers decode the requests that follow on the one that is taken."""

    def __init__(self, workers: "_Workers", request: Request, end: int, slot: Slot):
        self.workers, self.request, self.end = workers, request, end
        self.piece = max(1, min(PIECE, math.ceil(slot.count / len(workers.processes) / 2)))
        pieces = math.ceil(slot.count / self.piece)
        self.ahead = min(MOST_AHEAD, max(AHEAD, 1 + math.ceil(len(workers.processes) * PIECES_AHEAD / pieces)))
        self.room = -(-slot.bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        self.start = workers.reserve(self.room * self.ahead)
        self.next = 0
        self.asked: dict[int, tuple[int, Slot]] = {}  # by number: ticket and slot

    def _take(self, number: int) -> Pixels:
        if number != self.next or not self.asked:
            self._drain()
            self.next = number
        self.asked.pop(number - 1, None)
        for ahead in range(self.next + len(self.asked), min(number + self.ahead, self.end)):
            self.asked[ahead] = self._ask(ahead)
        if number not in self.asked:  # behind the end: somebody counted wrong
            raise IndexError(f"request {number} of {self.end}")
        ticket, slot = self.asked[number]
        self.workers.wait(ticket, slot)
        self.next = number + 1
        return slot.arrays(self.workers.memory)[2]

    def _ask(self, number: int) -> tuple[int, Slot]:
        views = self.request(number)
        slot = Slot(
            self.start + number % self.ahead * self.room,
            *(len(views), views.side, self.workers.store.manifest.channels),
        )
        if slot.bytes > self.room:
            raise ValueError(f"request {number} takes {slot.bytes:,} bytes, and each has {self.room:,}")
        images, windows, _ = slot.arrays(self.workers.memory)
        images[:], windows[:] = views.images, views.windows
        return self.workers.ask(slot, FILTERS.index(views.filter), self.piece), slot

    def _drain(self) -> None:
        """Waits for all that is asked for, so that nobody writes into the ring any more."""
        for ticket, slot in self.asked.values():
            self.workers.wait(ticket, slot)
        self.asked.clear()

    def close(self) -> None:
        self._drain()
        self.workers.release(self.start, self.room * self.ahead)


class _Workers:
    """The processes, their two pipes, and the memory that they share."""

    def __init__(self, store: Store, decoder: str, count: int):
        self.store = store
        self._file = _memory_file()
        self._size, self._used = mmap.PAGESIZE, 0
        os.ftruncate(self._file, self._size)
        self.memory = mmap.mmap(self._file, self._size)
        taken, self._jobs = os.pipe()
        self._done, given = os.pipe()
        self._left: dict[int, int] = {}  # pieces of each ticket that are not done
        self._failed: set[int] = set()
        self._tickets = 0
        about = json.dumps([str(store.folder), decoder, self._file, taken, given])
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        command = [sys.executable, "-c", "from benchmarks.data.decoding import serve; serve()", about]
        pipes = (self._file, taken, given)
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=pipes, env=environment) for _ in range(count)
        ]
        os.close(taken)
        os.close(given)

    def reserve(self, count: int) -> int:
        """Room for so many bytes, behind all that is in use: where it begins."""
        start, self._used = self._used, self._used + count
        if self._used > self._size:
            self._size = self._used
            os.ftruncate(self._file, self._size)
            self.memory = mmap.mmap(self._file, self._size)  # arrays in the one before stay valid
        return start

    def release(self, start: int, count: int) -> None:
        """Gives room back; what lies before what is still in use goes back with that."""
        if start + count == self._used:
            self._used = start

    def ask(self, slot: Slot, filter: int, piece: int) -> int:
        """Has a request decoded in pieces. Returns its ticket."""
        self._tickets += 1
        ticket, self._left[self._tickets] = self._tickets, 0
        self.memory[slot.start : slot.start + WORDS] = bytes(WORDS)
        for first in range(0, slot.count, piece):
            last = min(first + piece, slot.count)
            self._left[ticket] += 1
            job = JOB.pack(slot.start, self._size, slot.count, first, last, slot.side, filter, ticket)
            with suppress(BrokenPipeError):  # no worker is left, as whoever waits is told
                os.write(self._jobs, job)  # one at a time: workers read whole ones
        return ticket

    def wait(self, ticket: int, slot: Slot) -> None:
        """Waits until a request is decoded. Raises InductiveError, saying why, where it cannot be."""
        while self._left.get(ticket):
            if not select.select([self._done], [], [], PATIENCE)[0]:
                self._look()
                continue
            said = os.read(self._done, DONE.size * 512)
            if not said:
                self._look()
                raise InductiveError("the processes that decode images have ended")
            for number, failed in DONE.iter_unpack(said):
                self._left[number] -= 1
                if failed:
                    self._failed.add(number)
        self._left.pop(ticket, None)
        if ticket in self._failed:
            text = self.memory[slot.start : slot.start + WORDS]
            raise InductiveError(text.rstrip(b"\0").decode("utf-8", "replace"))

    def _look(self) -> None:
        """Raises InductiveError where a worker has ended."""
        for process in self.processes:
            code = process.poll()
            if code is not None:
                how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                raise InductiveError(
                    f"a process that decodes images has ended ({how}; SIGKILL often means that memory was short): "
                    "nothing that was trained is lost, the run goes on from its last checkpoint when it is started "
                    "again"
                )

    def end(self) -> None:
        """Closes the pipes, at which every worker ends, and waits for them."""
        for descriptor in (self._jobs, self._done, self._file):
            os.close(descriptor)
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:  # it hangs in a system call
                process.kill()


def _memory_file() -> int:
    """Memory with a descriptor and no name; where there is no such thing, a file that nobody else finds."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("inductive")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def serve() -> None:
    """The body of a worker: pieces of requests from one pipe, until it has no writer."""
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    folder, name, file, jobs, done = json.loads(sys.argv[1])
    if name == "torchcodec":
        import torch

        torch.set_num_threads(1)
    store, decoder = Store(Path(folder)), decoders.DECODERS[name]
    memory = mmap.mmap(file, os.fstat(file).st_size)
    while job := os.read(jobs, JOB.size):
        start, size, count, first, last, side, filter, ticket = JOB.unpack(job)
        if size > len(memory):
            memory = mmap.mmap(file, size)
        images, windows, pixels = Slot(start, count, side, store.manifest.channels).arrays(memory)
        piece = slice(first, last)
        failed = 0
        try:
            show(store, decoder, Views(images[piece], windows[piece], side, FILTERS[filter]), pixels[piece])
        except InductiveError as error:
            failed = _say(memory, start, str(error))
        except Exception:  # noqa: BLE001  (the boundary of a process: said to the one that asked)
            failed = _say(memory, start, traceback.format_exc())
        try:
            os.write(done, DONE.pack(ticket, failed))
        except BrokenPipeError:
            return


def _say(memory: mmap.mmap, start: int, text: str) -> int:
    """Leaves a text in a request; its last bytes, where it is too long. It covers what another piece has left there."""
    memory[start : start + WORDS] = text.encode()[-WORDS:].ljust(WORDS, b"\0")
    return 1


def decoded_by(images: Images, decoding: Decoding) -> Images:
    """The photographs of a data set, read from the store of a decoding and made pixels of by it."""
    train, test = images.train, images.test
    if not (isinstance(train, Photographs) and isinstance(test, Photographs)):
        return images
    train = replace(train, store=decoding.store, decoding=decoding)
    return replace(images, train=train, test=replace(test, store=decoding.store, decoding=decoding))


class Squares:
    """Photographs as squares of one size, without augmentation, for whoever reads them a slice at a time (M C R R).

    The slice that follows is decoded meanwhile. Two are equal when they show the same photographs alike.
    """

    def __init__(
        self, photographs: Photographs, side: int, shorter: int, filter: str = "bilinear", squashed: bool = False
    ):
        """`side` is the square's, cut from the middle once the shorter side of the image, or both where images are
        `squashed`, have `shorter` pixels."""
        self.photographs, self.side, self.shorter = photographs, side, shorter
        self.filter, self.squashed = filter, squashed
        self._stream: Stream | None = None
        self._from, self._count = 0, 0  # the first image and the number of images of its requests

    def __len__(self) -> int:
        return len(self.photographs)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), self.photographs.store.manifest.channels, self.side, self.side

    def __getitem__(self, which: slice | NDArray[np.integer]) -> Pixels:
        places = np.arange(len(self))[which]
        if not len(places):
            return np.empty((0, *self.shape[1:]), dtype=np.uint8)
        start, count = int(places[0]), len(places)
        if not np.array_equal(places, np.arange(start, start + count)):
            stream = self.photographs.decoding.stream(lambda number: self._views(places), 1, (count, self.side))
            try:
                return _channels_first(stream.take(0))
            finally:
                stream.close()
        if not self._follows(start, count):
            self.close()
            self._from, self._count = start, count
            requests = math.ceil((len(self) - start) / count)
            self._stream = self.photographs.decoding.stream(self._request, requests, (count, self.side))
        assert self._stream is not None
        pixels = _channels_first(self._stream.take((start - self._from) // self._count))[:count]
        if start + count == len(self):
            self.close()
        return pixels

    def _follows(self, start: int, count: int) -> bool:
        """Whether a slice is one of the requests that are decoded already."""
        if self._stream is None or start < self._from or (start - self._from) % self._count:
            return False
        return count == self._count or start + count == len(self)

    def _request(self, number: int) -> Views:
        first = self._from + number * self._count
        return self._views(np.arange(first, min(first + self._count, len(self))))

    def _views(self, places: NDArray[np.int64]) -> Views:
        windows = squares(self.photographs.sizes[places], self.side, self.shorter, self.squashed)
        return Views(self.photographs.rows[places], windows, self.side, self.filter)

    def close(self) -> None:
        """Gives back the memory of what is decoded ahead."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _key(self) -> tuple[Any, ...]:
        store = self.photographs.store
        return store.manifest.root, self.photographs.rows.tobytes(), self.side, self.shorter, self.filter, self.squashed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Squares) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def _channels_first(pixels: Pixels) -> Pixels:
    """M R R C -> M C R R, in memory of its own."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
