"""Log-densities of members and their mixtures, right to the precision of the result; the mixtures' entropy."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro.distributions as dist
import torch
from numpy.polynomial.legendre import leggauss
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
    constraints,
)

from bayesnn import quantiles
from bayesnn.members import in_double, marginal

__all__ = ["log_mean_exp", "log_prob", "mixture_entropy"]

_NODES = 100


def log_prob(distribution: Distribution, value: Tensor) -> Tensor:
    r"""Log-density or log-probability of a value, number by number, in nats.

    Families whose formula has differences of :math:`\log\Gamma` are computed in double precision: of counts of a
    million those are of size 1e7, and single precision would be a nat off, of a billion thousands. Others are computed
    as they are. Outside a member's support the density is 0, its logarithm minus infinity.

    Args:
        distribution: Of any batch and event shape, without torch's checks of values.
        value: Values that broadcast against it, in the type of the result.
    """
    if _cancels(distribution):
        found = in_double(distribution).log_prob(value.double()).to(value.dtype)
    else:
        found = distribution.log_prob(value)
    support = distribution.support
    if support is None or constraints.is_dependent(support) or marginal(distribution).support is constraints.real:
        return found
    if value.ndim < len(distribution.event_shape):
        value = value.expand(distribution.event_shape)
    inside = support.check(value)
    return found if bool(inside.all()) else torch.where(inside, found, -math.inf)


def log_mean_exp(log_values: Tensor, axis: int = 0) -> Tensor:
    """Logarithm of the mean of numbers whose logarithms are given."""
    return log_values.logsumexp(axis) - math.log(log_values.shape[axis])


def mixture_entropy(members: Distribution) -> Tensor:
    r"""Differential entropy of the mixture along the first axis, see `Predictive.entropy`."""
    exact = in_double(members)
    nodes, weights = leggauss(_NODES)  # on (-1, 1), of total weight 2
    quantile, density = _by_level(exact)
    try:
        found, known = exact.entropy().mean(0), True
    except NotImplementedError:
        found, known = torch.zeros_like(exact.mean[0]), False
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        points = quantile((1 + node) / 2, (1 - node) / 2)
        for s, point in enumerate(zip(*points, strict=True)):
            each = density(*point)
            own = each[s] if known else 0.0
            found = found + weight / 2 / len(each) * (own - log_mean_exp(each))
    return found.to(members.mean.dtype)


def _by_level(members: Distribution) -> tuple[Callable[..., tuple[Tensor, ...]], Callable[..., Tensor]]:
    """Quantiles from the chances below and above, ``(S, N)`` each, and what log-density all members have at such."""
    match members:
        case Beta():  # whose quantiles may be nearer to 1 than to be told from it: by the logarithms of y and 1 - y
            first, second = members.concentration1, members.concentration0
            other = Beta(second, first, validate_args=False)
            total = torch.lgamma(first + second) - torch.lgamma(first) - torch.lgamma(second)

            def quantile(below: float, above: float) -> tuple[Tensor, ...]:
                y, rest = _icdf(members, below), _icdf(other, above)
                return torch.where(y < rest, y.log(), (-rest).log1p()), torch.where(y < rest, (-y).log1p(), rest.log())

            return quantile, lambda log_y, log_rest: (first - 1) * log_y + (second - 1) * log_rest + total
    return lambda below, above: (_icdf(members, below),), lambda y: log_prob(members, y)


def _icdf(members: Distribution, level: float) -> Tensor:
    return quantiles.inside(members, quantiles.icdf(members, torch.full_like(members.mean, level)))


def _cancels(distribution: Distribution) -> bool:
    """Whether large numbers cancel in the family's formula."""
    each = marginal(distribution)
    if isinstance(each, MixtureSameFamily):
        return _cancels(each.component_distribution)
    known = Beta | Binomial | Gamma | NegativeBinomial | Poisson | StudentT | dist.ZeroInflatedDistribution
    return isinstance(each, known)
