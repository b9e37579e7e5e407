"""What is timed: a training step on random images, and a forward pass."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLASSES = 10


def random_batch(batch: int, resolution: int) -> tuple[Tensor, Tensor]:
    """Images B 3 H W and labels B; nothing about time depends on what they show."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, 3, resolution, resolution, generator=generator)
    return images, torch.randint(CLASSES, (batch,), generator=generator)


def training_step(network: nn.Module, batch: int, resolution: int, device: str = "cpu") -> Callable[[], object]:
    """Forward, cross-entropy, backward and one update by fused AdamW."""
    images, labels = (tensor.to(device) for tensor in random_batch(batch, resolution))
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    network.train()

    def step() -> None:
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def forward_pass(network: nn.Module, batch: int, resolution: int, device: str = "cpu") -> Callable[[], object]:
    """Logits in evaluation mode, without gradients."""
    images = random_batch(batch, resolution)[0].to(device)
    network.to(device)

    def forward() -> None:
        network.eval()
        with torch.inference_mode():
            network(images)

    return forward
