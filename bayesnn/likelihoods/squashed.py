"""Warn of a network that has made probabilities of its outputs where a likelihood takes logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from bayesnn.seeding import seeded
from bayesnn.warned import warn

__all__ = ["warn_if_squashed"]

_TIMES = (10.0, -10.0)
"""By what the weights are multiplied: logits that happen to lie in [0, 1] leave it then, probabilities never do."""


@torch.no_grad()
def warn_if_squashed(
    outputs: Callable[[Mapping[str, Tensor], Tensor], Tensor], weights: Mapping[str, Tensor], x: Tensor, likelihood: str
) -> None:
    """Warn if outputs lie between 0 and 1 for all inputs, whatever the weights, as after a softmax or a sigmoid.

    Log-probabilities are logits too, so that a log-softmax does no harm.

    Args:
        outputs: Of the network at one draw, ``(N, K)``.
        weights: That draw, the network's own.
        x: Some inputs.
        likelihood: Its name.

    Warns:
        UserWarning: If they do.
    """

    def at(times: float) -> Tensor:
        return outputs({name: times * value for name, value in weights.items()}, x)

    with seeded(None, x.device):
        first = at(1.0)
        if not first.any() or not _within(first) or not all(_within(at(times)) for times in _TIMES):
            return
    what, words = "sigmoid", "all lie between 0 and 1"
    if first.shape[1] > 1 and bool(((first.sum(1) - 1).abs() < max(1e-4, 10 * torch.finfo(first.dtype).eps)).all()):
        what, words = "softmax", "are non-negative and sum to 1 in each row"
    warn(
        f"a {likelihood} likelihood takes logits; the network's outputs {words}, as after a {what}. Leave the "
        f"{what} out."
    )


def _within(outputs: Tensor) -> bool:
    return bool(((outputs >= 0) & (outputs <= 1)).all())
