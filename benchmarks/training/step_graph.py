"""A whole training step as one CUDA graph: forward and backward pass, clipping and the optimiser's update.

Python launches a step's kernels one by one, some 400 for a small ViT, which takes longer than a GPU needs to compute
them. A graph holds them all and is launched at once. It reads and writes the same memory at every launch, so whatever
changes from step to step lies in tensors that stay where they are: images, label weights, the learning rate. What a
network draws (dropout, drop path) comes from the device's generator, seeded before each step as it is without graphs.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

Result = tuple[Tensor, Tensor]  # loss, logits B K
PLAIN_STEPS = 3  # of each shape before it is recorded: in them kernels are chosen and the optimiser's state is made


class Recording(Protocol):
    """A recorded step: `replay` does it again, from and into the same memory."""

    def replay(self) -> None: ...


class Recorder:
    """Records steps on the current CUDA device, which share memory: each may write over what another has returned."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Callable[[], Result]) -> tuple[Recording, Result]:
        """Records what a step launches, without doing it, and the tensors that its replays write to.

        Raises torch.OutOfMemoryError where memory is short, whatever torch says of the recording that this has broken.
        """
        graph, short, result = torch.cuda.CUDAGraph(), None, None
        try:
            with torch.cuda.graph(graph, pool=self.pool):
                try:
                    result = step()
                except torch.OutOfMemoryError as error:
                    short = error
                    raise
        except RuntimeError as error:  # torch.OutOfMemoryError is one, too
            raise short or error from None
        assert result is not None
        return graph, result


class StepGraphs:
    """Training steps by replay, with a recording for each shape of the images (recipes train at several resolutions).

    `step` takes images B C R R and label weights B K, and reads nothing else that changes but tensors written in place.
    """

    def __init__(
        self,
        step: Callable[[Tensor, Tensor], Result],
        recorder: Callable[[Callable[[], Result]], tuple[Recording, Result]] | None = None,
    ):
        self.step, self.recorder = step, recorder or Recorder()
        self.done: dict[torch.Size, int] = {}
        self.recorded: dict[torch.Size, tuple[Recording, tuple[Tensor, Tensor], Result]] = {}

    def __call__(self, images: Tensor, weights: Tensor) -> Result:
        """One step. The next may write over the loss and logits that it returns."""
        shape = images.shape
        if self.done.get(shape, 0) < PLAIN_STEPS:
            self.done[shape] = self.done.get(shape, 0) + 1
            return self.step(images, weights)
        if shape not in self.recorded:
            inputs = images.clone(), weights.clone()  # `clone` keeps the memory's layout
            self.recorded[shape] = self._record(*inputs)
        recording, inputs, result = self.recorded[shape]
        inputs[0].copy_(images)
        inputs[1].copy_(weights)
        recording.replay()
        return result

    def _record(self, images: Tensor, weights: Tensor) -> tuple[Recording, tuple[Tensor, Tensor], Result]:
        recording, result = self.recorder(lambda: self.step(images, weights))
        return recording, (images, weights), result
