"""Distribution functions and quantiles, of single families and of mixtures, those included that torch has not."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor
from torch.distributions import Beta, Distribution, Gamma, NegativeBinomial, Poisson, StudentT

__all__ = ["cdf", "icdf", "mixture_entropy", "mixture_icdf"]

_BISECTIONS = 60


def cdf(distribution: Distribution, value: Tensor) -> Tensor:
    """Chance of a value or less, number by number; families that torch has no such function of by scipy, on the CPU."""
    from scipy import special

    match distribution:
        case StudentT():
            standard = (value - distribution.loc) / distribution.scale
            return _by_scipy(special.stdtr, distribution.df, standard)
        case Beta():
            inside = value.clamp(0, 1)
            return _by_scipy(special.betainc, distribution.concentration1, distribution.concentration0, inside)
        case Poisson():
            below = torch.special.gammaincc(
                value.floor().clamp_min(0) + 1,
                distribution.rate.expand(torch.broadcast_shapes(value.shape, distribution.rate.shape)),
            )
            return torch.where(value < 0, torch.zeros_like(below), below)
        case NegativeBinomial():
            count = value.floor().clamp_min(0) + 1
            below = _by_scipy(special.betainc, distribution.total_count, count, torch.sigmoid(-distribution.logits))
            return torch.where(value < 0, torch.zeros_like(below), below)
    return distribution.cdf(value)


def icdf(distribution: Distribution, level: Tensor) -> Tensor:
    """The smallest value that ``level`` of the probability does not exceed, number by number."""
    from scipy import special, stats

    match distribution:
        case StudentT():
            return distribution.loc + distribution.scale * _by_scipy(special.stdtrit, distribution.df, level)
        case Beta():
            first, second = distribution.concentration1, distribution.concentration0
            return _by_scipy(special.betaincinv, first, second, level)
        case Gamma():
            return _by_scipy(special.gammaincinv, distribution.concentration, level) / distribution.rate
        case Poisson():
            return _by_scipy(stats.poisson.ppf, level, distribution.rate)
        case NegativeBinomial():
            fail = torch.sigmoid(-distribution.logits)
            return _by_scipy(stats.nbinom.ppf, level, distribution.total_count, fail)
    return distribution.icdf(level)


def mixture_icdf(members: Distribution, level: Tensor) -> Tensor:
    """Quantiles of the equally weighted mixture along the first axis.

    A mixture's quantile lies between the smallest and the largest of its members'; bisection finds it there. Of counts
    it is the smallest count that ``level`` does not exceed.

    Args:
        members: Numbers of batch shape ``(S, ...)``.
        level: Probabilities of shape ``(...)``.
    """
    ends = icdf(members, level)
    low, high = ends.amin(0), ends.amax(0)
    counts = members.support is not None and members.support.is_discrete
    for _ in range(_BISECTIONS):
        # Between positive ends in the geometric middle: a gamma's quantile may be 1e-50 and its upper end 1.
        middle = torch.where(low > 0, low.sqrt() * high.sqrt(), (low + high) / 2)
        middle = ((low + high) / 2).floor() if counts else middle
        below = cdf(members, middle.expand(ends.shape)).mean(0) < level
        low = torch.where(below, torch.minimum(middle + 1, high) if counts else middle, low)
        high = torch.where(below, high, middle)
    return high if counts else (low + high) / 2


def mixture_entropy(members: Distribution) -> Tensor:
    """Differential entropy of the mixture along the first axis, member by member by Gauss-Legendre quadrature."""
    nodes, weights = leggauss(100)
    entropy = torch.zeros(members.batch_shape[1:], dtype=members.mean.dtype, device=members.mean.device)
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):  # on (-1, 1), of total weight 2
        at = icdf(members, torch.full_like(members.mean, (1 + node) / 2))
        log_density = torch.stack([members.log_prob(y).logsumexp(0) for y in at]) - math.log(len(at))
        entropy -= weight / 2 * log_density.mean(0)
    return entropy


def _by_scipy(function: Any, *tensors: Tensor) -> Tensor:
    """A scipy function of tensors that broadcast, in double precision on the CPU, then back where they were."""
    first = tensors[0]
    found = function(*(tensor.detach().cpu().double().numpy() for tensor in tensors))
    return torch.as_tensor(found).to(first)
