"""Log-densities of members and their mixtures, right to the precision of the result."""

from __future__ import annotations

import math

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import (
    Beta,
    Binomial,
    Distribution,
    Gamma,
    MixtureSameFamily,
    NegativeBinomial,
    Poisson,
    StudentT,
)

from bayesnn.members import in_double, marginal

__all__ = ["log_mean_exp", "log_prob"]


def log_prob(distribution: Distribution, value: Tensor) -> Tensor:
    r"""Log-density or log-probability of a value, number by number, in nats.

    Families whose formula has differences of :math:`\log\Gamma` are computed in double precision: of counts of a
    million those are of size 1e7, and single precision would be a nat off, of a billion thousands. Others are computed
    as they are.

    Args:
        distribution: Of any batch and event shape.
        value: Values that broadcast against it, in the type of the result.
    """
    if not _cancels(distribution):
        return distribution.log_prob(value)
    return in_double(distribution).log_prob(value.double()).to(value.dtype)


def log_mean_exp(log_values: Tensor, axis: int = 0) -> Tensor:
    """Logarithm of the mean of numbers whose logarithms are given."""
    return log_values.logsumexp(axis) - math.log(log_values.shape[axis])


def _cancels(distribution: Distribution) -> bool:
    """Whether large numbers cancel in the family's formula."""
    each = marginal(distribution)
    if isinstance(each, MixtureSameFamily):
        return _cancels(each.component_distribution)
    known = Beta | Binomial | Gamma | NegativeBinomial | Poisson | StudentT | dist.ZeroInflatedDistribution
    return isinstance(each, known)
