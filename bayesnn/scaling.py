"""How inputs in raw units are standardised."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["input_scaling"]


def input_scaling(x: Tensor) -> tuple[Tensor, Tensor]:
    """Location and scale of inputs: of each column for itself, and of pictures one scale for all pixels and no shift.

    A blank pixel then stays 0, and a column or picture that never changes (but for its last digits) has scale 1.

    Args:
        x: Training inputs ``(N, features)``, or ``(N, ...)`` of three axes or more.

    Returns:
        Two tensors in double precision that broadcast against ``x``.
    """
    digit = torch.finfo(x.dtype).eps if x.is_floating_point() else 0.0
    x = x.double()
    if x.ndim > 2:
        scale = x.square().mean().sqrt()
        return torch.zeros_like(scale), torch.where(scale > 0, scale, torch.ones_like(scale))
    scale, loc = torch.std_mean(x, dim=0, correction=0)
    return loc, torch.where(scale > 2 * digit * loc.abs(), scale, torch.ones_like(scale))
