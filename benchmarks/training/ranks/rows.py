"""Which images of a step's batch one rank computes."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Rows:
    """The images `start` to `stop` (without it) of a batch of `of`."""

    start: int
    stop: int
    of: int

    def __len__(self) -> int:
        return self.stop - self.start

    def part(self, first: int, count: int) -> "Rows":
        """Of these the first-th and those after it, `count` in all: a micro-batch."""
        return Rows(self.start + first, self.start + first + count, self.of)


def rows_of(rank: int, ranks: int, batch: int) -> Rows:
    """The rows of a rank, one after the other: every rank has as many as any other, or one more or less."""
    return Rows(batch * rank // ranks, batch * (rank + 1) // ranks, batch)


def most_rows(ranks: int, batch: int) -> int:
    """How many rows the rank with the most has."""
    return -(-batch // ranks)
