"""Networks of timm and torchvision under our contract, and weights from a file. Start at `adapter`."""
