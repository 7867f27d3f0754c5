"""From rung 1 to rung 2: a network's outputs at every draw of its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.conv import _ConvNd

__all__ = ["at_draws"]

_NUMBERS_AT_ONCE = 2**22
"""Bound on the weights or inputs of all draws in one vectorised call: 16 MB in float32."""

_INPUTS_IN_TURN = 128
"""Inputs at once where draws go in turn: few enough that a layer's maps stay in the processor's cache."""


def at_draws(
    run: Callable[[dict[str, Tensor], Tensor], Tensor], network: nn.Module, draws: Mapping[str, Tensor], x: Tensor
) -> Tensor:
    """Outputs ``(S, N, K)`` of a network at S draws.

    Vectorised, a chunk of draws at once; draw by draw where torch cannot vectorise (recurrent layers and others), and
    for convolutions, whose vectorised form takes two to three times as long.

    Args:
        run: Outputs ``(N, K)`` at one draw.
        network: The network that is run, for what it is made of.
        draws: Its weights by name, ``(S, *shape)`` each.
        x: Inputs ``(N, ...)``.
    """
    if any(isinstance(module, _ConvNd) for module in network.modules()):
        return _in_turn(run, draws, x)
    widest = max(sum(value[0].numel() for value in draws.values()), x[0].numel() * len(x))
    together = vmap(run, in_dims=(0, None), chunk_size=max(1, _NUMBERS_AT_ONCE // widest))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            return together(dict(draws), x)
    except RuntimeError:
        return _in_turn(run, draws, x)


def _in_turn(run: Callable[[dict[str, Tensor], Tensor], Tensor], draws: Mapping[str, Tensor], x: Tensor) -> Tensor:
    each = [dict(zip(draws, values, strict=True)) for values in zip(*draws.values(), strict=True)]
    return torch.stack([torch.cat([run(draw, part) for part in x.split(_INPUTS_IN_TURN)]) for draw in each])
