"""Calibration error: how far a network's confidence is from how often it is right."""

import torch
from torch import Tensor

BINS = 15


def calibration_error(logits: Tensor, labels: Tensor, bins: int = BINS) -> float:
    """Expected calibration error of the predicted class, in 0..1 (Guo et al. 2017, equation 3).

    logits (N, classes), labels (N,). Images are put into `bins` bins of equal width by their confidence, the largest
    softmax probability; the error is the mean over images of |accuracy - mean confidence| of their bin. Bin m holds
    confidences in ((m - 1) / bins, m / bins]. NaN where a probability is not finite.
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    if not torch.isfinite(confidence).all():
        return float("nan")
    right = (predicted == labels).double()
    number = (confidence * bins).ceil().long().clamp(1, bins) - 1
    excess = torch.zeros(bins, dtype=torch.float64).index_add_(0, number, right - confidence)
    return excess.abs().sum().item() / len(labels)
