"""Random starts of weights."""

import torch
from torch import Tensor


def fill_normal(tensor: Tensor, std: float, generator: torch.Generator) -> None:
    """Gaussian numbers that are the same for every dtype, up to rounding."""
    draws = torch.empty_like(tensor, dtype=torch.float64)
    tensor.copy_(draws.normal_(0, std, generator=generator))
