"""Inspection: what a fitted method lays open of itself, draw by draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bayesnn.log_densities import log_prob
from bayesnn.members import in_double
from bayesnn.predictive import Predictive
from bayesnn.streamed import blockwise

__all__ = ["Inspection", "expect_inspectable", "member_log_likelihood"]


@dataclass(frozen=True, eq=False)
class Inspection:
    """Draws with their densities and what each of them predicts.

    Attributes:
        sites: Draws of every uncertain quantity by name, ``(S, *shape)`` each.
        predictive: What these draws predict for the inputs asked about, S members in the same order; ``None`` if none
            were.
        of_inputs: Names of sites that have a value for each of those inputs, ``(S, N, ...)``, as a process has.
        log_priors: Log-prior density of each site ``(S,)``, in nats; of no site where a method has no prior.
        log_density: Log density of each draw under the distribution it comes from ``(S,)``, in nats; ``None`` where
            that is not known.
        chains: Lengths of the chains that the draws come from, one behind the other; empty if of one.
        statistics: Further figures of each draw by name ``(S,)``.
    """

    sites: dict[str, Tensor]
    predictive: Predictive | None = None
    of_inputs: tuple[str, ...] = ()
    log_priors: Mapping[str, Tensor] = field(default_factory=dict)
    log_density: Tensor | None = None
    chains: tuple[int, ...] = ()
    statistics: Mapping[str, Tensor] = field(default_factory=dict)


def expect_inspectable(value: object, asker: str) -> None:
    """Refuse what has no draws to look into, and say what to pass instead.

    Args:
        value: What was passed.
        asker: Name of the function that it was passed to.

    Raises:
        TypeError: If it has none.
    """
    if not hasattr(value, "inspection"):
        raise TypeError(
            f"{asker} needs what a fit_* gave, with its draws; got {type(value).__name__}. Of a recalibrated or "
            "wrapped posterior pass the one that it was made of; pass posterior itself, not posterior(x)."
        )


@blockwise
@torch.no_grad()
def member_log_likelihood(predictive: Predictive, y: Tensor) -> Tensor:
    """Log-likelihood of each datum at each draw ``(N, S)`` in nats, in double precision.

    In single precision a class of probability near 1 has the logarithm 0 at every draw; its leave-one-out ratios then
    do not differ, and ArviZ has no number for them.

    Args:
        predictive: Predictions for N inputs.
        y: Their targets, as `Predictive.checked` gives them.
    """
    return log_prob(in_double(predictive.members), y.double() if y.is_floating_point() else y).movedim(1, 0)
