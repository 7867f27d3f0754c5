"""The continuous ranked probability score: how far a predictive distribution lies from the truth, in its units."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from bayesnn import quantiles
from bayesnn.members import mapped
from bayesnn.metrics.adaptive import integrate
from bayesnn.predictive import Predictive
from bayesnn.rows import one_each
from bayesnn.streamed import blockwise

__all__ = ["crps", "crps_of_each", "has_closed_form"]

_BUDGET = 2**20
"""Numbers in the largest array: 8 MiB in double precision, of which there are a few at a time."""

_TAIL = 1e-6
"""Probability that members may have beyond either end; a score gets its square, times the tail's width."""

_COUNTS = 64
"""Counts summed at once."""


@torch.no_grad()
def crps(predictive: Predictive, y: Tensor) -> Tensor:
    r"""Continuous ranked probability score of the mixture, a mean over inputs and target dimensions; smaller is better.

    .. math:: \int (F(z) - [z \ge y])^2 \, dz = \mathbb{E} |Y - y| - \tfrac12 \, \mathbb{E} |Y - Y'|

    where :math:`F` is the distribution function of the mixture and :math:`Y, Y'` are independent draws from it, of one
    target dimension for itself. For a prediction without spread it is the absolute error. It is a proper score, as the
    negative log-likelihood is, but a single miss cannot make it huge.

    For normal members, with :math:`A(m, v) = 2 \sqrt{v} \, \varphi(m / \sqrt{v}) + m (2 \Phi(m / \sqrt{v}) - 1)`, it is

    .. math:: \frac1S \sum_i A(y - \mu_i, \sigma_i^2)
              - \frac{1}{2 S^2} \sum_{i, j} A(\mu_i - \mu_j, \sigma_i^2 + \sigma_j^2)

    to rounding; for counts the integral is a sum, to 1e-6 of itself, and for other families it is found by adaptive
    quadrature, to 1e-5 of itself (of a single input 1e-4, where narrow members lie far apart). All are computed in
    double precision and in little memory; the time goes with :math:`S^2` for normal members and with :math:`S` for
    others, some 500 values of each distribution function. It has no gradient.

    Args:
        predictive: Members over real targets or counts; a mixture known in closed form is taken in their place.
        y: Targets ``(N,)`` or ``(N, D)``.

    Returns:
        A scalar in the units of ``y``.

    Raises:
        NotImplementedError: If the targets are classes, or the members do not tell their distribution function.
        ValueError: If there is not one target for each input, or a count is no whole number.

    References:
        Gneiting and Raftery (2007), Strictly Proper Scoring Rules, Prediction, and Estimation, JASA 102(477), section
        4.2; Grimit et al. (2006), The continuous ranked probability score for circular variables and its application to
        mesoscale forecast ensemble verification, Quarterly Journal of the Royal Meteorological Society 132, for
        mixtures of normals.

    Example:
        >>> predictive = Predictive(Normal(torch.tensor([[0.0], [10.0]]), torch.tensor([[1.0], [3.0]])))
        >>> crps(predictive, torch.tensor([5.0]))
        tensor(1.9950, dtype=torch.float64)
    """
    if predictive.has_enumerate_support:
        raise NotImplementedError(
            "the CRPS is a score of numbers; this predictive is over classes. Write brier, which is its like for them."
        )
    return crps_of_each(predictive, y).mean()


@torch.no_grad()
def crps_of_each(predictive: Predictive, y: Tensor) -> Tensor:
    """The score of each target dimension of each input ``(N, D)``, of which `crps` is the mean."""
    return _of_each(predictive, one_each(predictive.checked(y), predictive.batch_shape + predictive.event_shape))


@blockwise
def _of_each(predictive: Predictive, y: Tensor) -> Tensor:
    members = _columns(predictive)
    score: Callable[[Any, Tensor], Tensor]
    if members.support is not None and members.support.is_discrete:
        quantiles.check_inside(members, y)
        score = _of_counts
    else:
        score = _of_normals if isinstance(members, Normal) else _of_reals
    y = y.double().flatten()
    several = max(1, _BUDGET // members.batch_shape[0])
    found = torch.cat([score(_some(members, at), y[at]) for at in torch.arange(len(y)).split(several)])
    return found.view(len(predictive), -1)


def has_closed_form(predictive: Predictive) -> bool:
    """Whether `crps` is a formula, quick for some hundred draws: members, or a known mixture, are normal.

    Of other families it takes seconds, and of counts that may be in the millions minutes.
    """
    return not predictive.has_enumerate_support and isinstance(_columns(predictive[:1]), Normal)


def _columns(predictive: Predictive) -> Distribution:
    """The mixture's parts ``(S, N * D)``, target dimensions as inputs of their own: one part where it is known."""
    known = predictive.mixture
    whole = predictive.members if known is None else mapped(lambda t: t[None], known)
    marginal = whole.base_dist if isinstance(whole, Independent) else whole
    return mapped(lambda t: t.flatten(1, len(marginal.batch_shape) - 1), marginal)


def _some(members: Distribution, columns: Tensor) -> Distribution:
    """Some of the columns, in double precision."""

    def part(tensor: Tensor) -> Tensor:
        chosen = tensor[:, columns.to(tensor.device)]
        return chosen.double() if chosen.is_floating_point() else chosen

    return mapped(part, members)


def _of_normals(members: Any, y: Tensor) -> Tensor:
    """The closed form ``(M,)``, over pairs of members so many places apart at a time."""
    loc, variance = members.loc, members.scale.square()
    number = len(loc)
    pairs = 2 / math.sqrt(math.pi) * members.scale.sum(0)  # each member with itself
    for lag in range(1, number):
        pairs += 2 * _mean_size(loc[lag:] - loc[:-lag], variance[lag:] + variance[:-lag]).sum(0)
    return _mean_size(y - loc, variance).mean(0) - pairs / (2 * number**2)


def _mean_size(mean: Tensor, variance: Tensor) -> Tensor:
    """Mean absolute value of a normal variate: A above."""
    half = mean * (2 * variance).rsqrt()
    return (2 / math.pi * variance).sqrt() * (-half.square()).exp() + mean * half.erf()


def _of_counts(members: Distribution, y: Tensor) -> Tensor:
    """The sum ``(M,)`` over all counts that matter, columns with as many of them together."""
    low = y.minimum(_quantile(members, _TAIL).amin(0))
    high = y.maximum(_quantile(members, 1 - _TAIL).amax(0))
    score, order = torch.zeros_like(y), (high - low).argsort()
    for at in order.split(max(1, _BUDGET // (_COUNTS * members.batch_shape[0]))):
        some = _some(members, at)
        for first in range(0, int((high - low)[at].max()), _COUNTS):
            count = low[at] + first + torch.arange(_COUNTS, device=y.device)[:, None]
            gap = _cdf(some, count) - (count >= y[at]).double()
            score[at] += torch.where(count < high[at], gap.square(), 0.0).sum(0)
    return score


def _of_reals(members: Distribution, y: Tensor) -> Tensor:
    """The integral ``(M,)``, from edges where the members lie, and one at the target, where the integrand jumps.

    So all points of an interval lie on one side of the target.
    """
    medians = _quantile(members, 0.5).sort(0).values
    edges = [y, *medians[torch.linspace(0, len(medians) - 1, 5).long()]]
    for tail in (_TAIL, 0.01):
        edges += [_quantile(members, tail).amin(0), _quantile(members, 1 - tail).amax(0)]

    def squared_gap(at: Tensor, number: Tensor) -> Tensor:
        several = max(1, _BUDGET // (len(at) * members.batch_shape[0]))
        parts = zip(at.split(several, 1), number.split(several), strict=True)
        chance = torch.cat([_cdf(_some(members, n), z) for z, n in parts], 1)
        return (chance - (at[len(at) // 2] > y[number]).double()).square()

    return integrate(squared_gap, torch.stack(edges).sort(0).values)


def _quantile(members: Distribution, level: float) -> Tensor:
    """A quantile of each member ``(S, M)``."""
    try:
        return quantiles.icdf(members, torch.full_like(members.mean, level))
    except NotImplementedError as error:
        raise NotImplementedError(
            f"the CRPS needs members that tell their distribution function; {type(members).__name__} does not. Write "
            "nll, which needs a density alone."
        ) from error


def _cdf(members: Distribution, value: Tensor) -> Tensor:
    """Distribution function of the mixture at values ``(Q, M)``."""
    return quantiles.cdf(members, value.unsqueeze(1)).mean(1)
