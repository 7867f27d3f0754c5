"""Distribution functions and quantiles, of single families and of mixtures, those included that torch has not."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from numbers import Real
from typing import Any

import pyro.distributions as dist
import torch
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

__all__ = ["bounds", "cdf", "check_inside", "check_labels", "common_bounds", "icdf", "inside", "mixture_icdf"]

_STEPS = 100
"""Bound on the steps of a search: halving alone needs some 60 in double precision, with Newton's steps 5 to 10."""


def cdf(distribution: Distribution, value: Tensor) -> Tensor:
    """Chance of a value or less, number by number: 0 below the support and 1 above it.

    Raises:
        NotImplementedError: If the distribution does not tell it.
    """
    low, high = bounds(distribution, value)
    lowest = low if _counts(distribution) else low + torch.finfo(value.dtype).tiny  # 0 itself may be no value
    chance = _inside_cdf(distribution, value.maximum(lowest).minimum(high))
    chance = torch.where(value < low, torch.zeros_like(chance), chance)
    return torch.where(value >= high, torch.ones_like(chance), chance)


def icdf(distribution: Distribution, level: Tensor) -> Tensor:
    """The smallest value whose distribution function reaches ``level``, number by number.

    Args:
        distribution: Numbers, of any batch shape.
        level: Probabilities that broadcast against it.

    Raises:
        NotImplementedError: If the distribution tells neither quantiles nor a distribution function and moments.
    """
    low, high = _bracket(distribution, level)
    if torch.equal(low, high):
        return low
    if _counts(distribution):
        return _search_counts(lambda at: cdf(distribution, at), level, low, high)
    return _search(
        lambda at: cdf(distribution, at), lambda at: distribution.log_prob(at).exp(), level.expand_as(low), low, high
    )


def mixture_icdf(members: Distribution, level: Tensor) -> Tensor:
    """Quantiles of the equally weighted mixture along the first axis.

    A mixture's quantile lies between the smallest and the largest of its members'.

    Args:
        members: Numbers of batch shape ``(S, ...)``.
        level: Probabilities of shape ``(...)``.

    Returns:
        ``(...)``: the smallest value whose distribution function reaches ``level``.
    """
    lows, highs = _bracket(members, level)
    low, high = lows.amin(0), highs.amax(0)
    if torch.equal(low, high):
        return low
    if _counts(members):
        return _search_counts(lambda at: cdf(members, at).mean(0), level, low, high)
    return _search(lambda at: cdf(members, at).mean(0), lambda at: members.log_prob(at).exp().mean(0), level, low, high)


def inside(distribution: Distribution, value: Tensor) -> Tensor:
    """The value; where rounding took it to an end of the support, where densities may be infinite, the next inside."""
    low, high = bounds(distribution, value)
    lowest = torch.nextafter(low, torch.full_like(low, math.inf)).maximum(low + torch.finfo(value.dtype).tiny)
    return value.maximum(lowest).minimum(torch.nextafter(high, torch.full_like(high, -math.inf)))


def check_labels(y: Tensor, classes: Tensor) -> None:
    """Refuse labels that are none of the classes."""
    if y.is_floating_point() and not bool((y == y.round()).all()):
        raise ValueError("class labels must be whole numbers; got fractions.")
    if y.numel() and (int(y.min()) < int(classes.min()) or int(y.max()) > int(classes.max())):
        raise ValueError(
            f"class labels must lie in [{int(classes.min())}, {int(classes.max())}], the classes that were predicted; "
            f"got values from {int(y.min())} to {int(y.max())}."
        )


def check_inside(distribution: Distribution, value: Tensor) -> None:
    """Refuse targets that a distribution cannot take, where that is the same for all of its numbers.

    Raises:
        ValueError: If one lies outside the support.
    """
    low, high = bounds(distribution, value)
    if low.ndim or high.ndim:
        return
    if bool(((value < low) | (value > high)).any()):
        raise ValueError(
            f"targets must lie in [{float(low):g}, {float(high):g}], the support of {type(distribution).__name__}; got "
            f"values from {float(value.min()):.4g} to {float(value.max()):.4g}. Pass y in the units of the fit."
        )
    if _counts(distribution) and bool((value != value.round()).any()):
        raise ValueError(f"counts must be whole numbers; got {float(value[value != value.round()][0]):.4g} among them.")


def _inside_cdf(distribution: Distribution, value: Tensor) -> Tensor:
    """The distribution function within the support; by scipy, on the CPU, where torch has none."""
    from scipy import special

    match distribution:
        case StudentT():
            return _by_scipy(special.stdtr, distribution.df, (value - distribution.loc) / distribution.scale)
        case Beta():
            return _by_scipy(special.betainc, distribution.concentration1, distribution.concentration0, value)
        case Poisson():
            return torch.special.gammaincc(*torch.broadcast_tensors(value.floor() + 1, distribution.rate))
        case NegativeBinomial():
            failure = torch.sigmoid(-distribution.logits)
            return _by_scipy(special.betainc, distribution.total_count, value.floor() + 1, failure)
        case Binomial():
            left, failure = distribution.total_count - value.floor(), torch.sigmoid(-distribution.logits)
            return _by_scipy(special.betainc, left, value.floor() + 1, failure)
        case dist.ZeroInflatedDistribution():
            return distribution.gate + (1 - distribution.gate) * _inside_cdf(distribution.base_dist, value)
    try:
        return distribution.cdf(value)
    except NotImplementedError as error:
        raise NotImplementedError(
            f"quantiles and intervals need a distribution function; {type(distribution).__name__} has none. Use "
            ".log_prob and .sample, or observe another distribution."
        ) from error


def _known_icdf(distribution: Distribution, level: Tensor) -> Tensor:
    """Quantiles by the family's own function."""
    from scipy import special

    match distribution:
        case StudentT():
            return distribution.loc + distribution.scale * _by_scipy(special.stdtrit, distribution.df, level)
        case Beta():
            first, second = distribution.concentration1, distribution.concentration0
            return _by_scipy(special.betaincinv, first, second, level)
        case Gamma():
            return _by_scipy(special.gammaincinv, distribution.concentration, level) / distribution.rate
    return distribution.icdf(level)


def _bracket(distribution: Distribution, level: Tensor) -> tuple[Tensor, Tensor]:
    r"""Two values that a quantile lies between: twice itself where the family knows it, else by Cantelli's inequality.

    At least :math:`p` of the probability lies below :math:`\mu + \sigma \sqrt{p / (1 - p)}`, and the other side alike.
    """
    if not _counts(distribution):
        try:
            known = _known_icdf(distribution, level)
        except NotImplementedError:
            pass
        else:
            return known, known
    mean, scale = distribution.mean, distribution.stddev
    if not bool((mean.isfinite() & scale.isfinite()).all()):
        raise NotImplementedError(
            f"quantiles are searched from a finite mean and variance; {type(distribution).__name__} has none here. Use "
            ".log_prob and .sample."
        )
    odds = ((1 - level) / level).sqrt()
    low, high = mean - scale * odds, mean + scale / odds
    first, last = bounds(distribution, mean)
    low, high = low.maximum(first), high.minimum(last)
    return (low.floor(), high.ceil()) if _counts(distribution) else (low, high)


def _search(
    chance: Callable[[Tensor], Tensor],
    density: Callable[[Tensor], Tensor],
    level: Tensor,
    low: Tensor,
    high: Tensor,
) -> Tensor:
    """Where a rising function reaches a level: by Newton's steps, by halving where they leave the bracket or are slow.

    References:
        Press et al. (2007), Numerical Recipes, 3rd edition, section 9.4, the routine rtsafe.
    """
    rounding = torch.finfo(low.dtype).eps
    at, last = _middle(low, high), high - low
    for _ in range(_STEPS):
        excess = chance(at) - level
        settled = (excess.abs() <= 2 * rounding * level) | (last.abs() <= rounding * at.abs())
        if bool(settled.all()):
            break
        low, high = torch.where(excess < 0, at, low), torch.where(excess < 0, high, at)
        step = excess / density(at)
        trusted = (at - step >= low) & (at - step <= high) & (2 * step.abs() <= last.abs())
        moved = torch.where(settled, at, torch.where(trusted, at - step, _middle(low, high)))
        at, last = moved, moved - at
    return at


def _search_counts(chance: Callable[[Tensor], Tensor], level: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The smallest count whose chance reaches a level, by halving."""
    for _ in range(_STEPS):
        if torch.equal(low, high):
            break
        middle = ((low + high) / 2).floor()
        below = chance(middle) < level
        low, high = torch.where(below, middle + 1, low).minimum(high), torch.where(below, high, middle)
    return high


def _middle(low: Tensor, high: Tensor) -> Tensor:
    """Between positive ends the geometric middle: a gamma's quantile may be 1e-50 and its upper end 1."""
    return torch.where(low > 0, low.sqrt() * high.sqrt(), (low + high) / 2)


def bounds(distribution: Distribution, value: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of the support, infinite where it has none, in the type of ``value``."""
    if isinstance(distribution, MixtureSameFamily):
        low, high = bounds(distribution.component_distribution, value)
        if not low.ndim and not high.ndim:
            return low, high
    support = distribution.support
    ends = getattr(support, "lower_bound", -math.inf), getattr(support, "upper_bound", math.inf)
    low, high = (torch.as_tensor(end, dtype=value.dtype, device=value.device) for end in ends)
    return low, high


def common_bounds(support: Any) -> tuple[float, float]:
    """The bounds that all targets of a support share, infinite where there are none.

    Example:
        >>> common_bounds(Poisson(torch.ones(3)).support)
        (0.0, inf)
    """
    low, high = (
        getattr(getattr(support, "base_constraint", support), f"{end}_bound", None) for end in ("lower", "upper")
    )
    # A tensor: each datum has bounds of its own.
    return float(low) if isinstance(low, Real) else -math.inf, float(high) if isinstance(high, Real) else math.inf


def _counts(distribution: Distribution) -> bool:
    return distribution.support is not None and bool(distribution.support.is_discrete)


def _by_scipy(function: Any, *tensors: Tensor) -> Tensor:
    """A scipy function of tensors that broadcast, in double precision on the CPU, then back where they were."""
    found = function(*(tensor.detach().cpu().double().numpy() for tensor in tensors))
    kind = reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return torch.as_tensor(found, dtype=kind, device=tensors[0].device)
