"""The processes that compute one run together, and what passes between them: sums, in an order that never changes.

CPUs use gloo, GPUs NCCL. Every attempt has a world of its own, which meets at a store that its rank 0 has opened.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import Store, TCPStore

from benchmarks.training.ranks.rows import Rows, rows_of

PATIENCE = timedelta(minutes=60)  # for a rank that does something by itself: rank 0 validates, and writes checkpoints
MEETING = timedelta(minutes=5)  # for all ranks to come


class LostRankError(Exception):
    """Another rank of the run is gone: nothing can be added up any more."""


def lost(error: Exception) -> Exception:
    """What torch says of a failed exchange, in one line."""
    return LostRankError(" ".join(str(error).split()))


def open_store(host: str, ranks: int) -> TCPStore:
    """Where the ranks of a new world meet, on a free port of this host, rank 0's."""
    return TCPStore(host, 0, ranks, is_master=True, wait_for_workers=False, timeout=MEETING)


def store_at(host: str, port: int, ranks: int) -> TCPStore:
    """The store that rank 0 has opened."""
    return TCPStore(host, port, ranks, is_master=False, wait_for_workers=False, timeout=MEETING)


class World:
    """This process as one of the ranks of a run."""

    def __init__(
        self,
        rank: int,
        ranks: int,
        store: Store,
        device: torch.device,
        check: Callable[[], None] = lambda: None,
        explain: Callable[[Exception], Exception] = lost,
    ):
        """Waits until all ranks are there. `check` is called before anything is exchanged, and raises what is known to
        have gone wrong elsewhere; `explain` says what to raise where an exchange has failed with an error."""
        self.rank, self.ranks, self.device, self.check, self.explain = rank, ranks, device, check, explain
        backend = "nccl" if device.type == "cuda" else "gloo"
        with self._asked():
            dist.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=PATIENCE)

    def rows(self, batch: int) -> Rows:
        """Our rows of a batch."""
        return rows_of(self.rank, self.ranks, batch)

    def add_up(self, values: Tensor, group: dist.ProcessGroup | None = None) -> None:
        """Puts the sum over all ranks, or those of a group, in the place of the values, the same bits on each."""
        with self._asked():
            dist.all_reduce(values, group=group)

    def gather(self, values: Tensor, group: dist.ProcessGroup | None = None) -> Tensor:
        """The values (K) of each rank, or of those of a group, R x K."""
        rank, ranks = (self.rank, self.ranks) if group is None else (dist.get_rank(group), dist.get_world_size(group))
        table = values.new_zeros(ranks, len(values))
        table[rank] = values
        self.add_up(table, group)  # with zeros, so that nothing is rounded
        return table

    def neighbours(self, ranks: int) -> dist.ProcessGroup | None:
        """So many ranks that follow each other, this one among them; every rank has to ask for it."""
        if ranks == self.ranks:
            return None
        with self._asked():
            groups = [dist.new_group(list(range(first, first + ranks))) for first in range(0, self.ranks, ranks)]
        found = groups[self.rank // ranks]
        assert isinstance(found, dist.ProcessGroup)
        return found

    def hand_round(self, data: bytes) -> bytes:
        """The data of rank 0, whatever the others give."""
        size = torch.tensor([len(data) if self.rank == 0 else 0], device=self.device)
        self.add_up(size)
        if self.rank == 0:
            values = torch.frombuffer(bytearray(data), dtype=torch.uint8).to(self.device)
        else:
            values = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        with self._asked():
            dist.broadcast(values, 0)
        return values.cpu().numpy().tobytes()

    def abort(self) -> None:
        """Lets go of whoever waits for ranks that will not come: CUDA's kernels would wait for ever."""
        if self.device.type == "cuda":
            dist.distributed_c10d._abort_process_group()

    def end(self) -> None:
        """Leaves the world; nobody waits for the others."""
        self.abort()
        if dist.is_initialized() and self.device.type != "cuda":
            dist.destroy_process_group()

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Turns the errors of torch's communication into one: a rank is gone."""
        self.check()
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:  # the second of a world that was broken off
            raise self.explain(error) from error
