"""Likelihoods of positive targets and of fractions: log-normal, gamma and beta."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.checks import check_columns
from bayesnn.likelihoods.likelihood import (
    SMALLEST_SCALE,
    Affine,
    Likelihood,
    beta_weighted,
    check_above_zero,
    columns,
    multiple,
    positive_mean,
    standard,
    standard_logarithm,
)

__all__ = ["Beta", "Gamma", "LogNormal", "beta", "gamma", "log_normal"]


@dataclass(frozen=True)
class LogNormal(Likelihood):
    r"""Positive targets whose logarithm is normal: :math:`\log y \sim N(\mu(x), \sigma(x)^2)`.

    The first half of the outputs is the mean of the logarithm, the second half its scale before a softplus.
    """

    def outputs_per_target(self) -> int:
        """Two: a mean and a scale."""
        return 2

    def affine(self, y: Tensor) -> Affine:
        """Mean and standard deviation of the logarithm of each target column."""
        return standard(y.log())

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Positive targets ``(N,)`` or ``(N, D)``."""
        return check_above_zero(check_columns(y, num_outputs, 2), "log-normal")

    def constant_log_likelihood(self, y: Tensor) -> float:
        """That of a log-normal with the mean and variance of the targets' logarithms."""
        log_y = y.double().log()
        normal = -0.5 * (2 * math.pi * math.e * log_y.var(0, correction=0)).log()
        return float((normal - log_y.mean(0)).sum())

    def weighted_log_prob(self, members: Distribution, y: Tensor, beta: float, target: Affine) -> Tensor:
        r"""Log-probability weighted by :math:`\sigma^{2\beta}`, see `beta_weighted`."""
        return beta_weighted(members, y, beta, target)

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        mean, raw = outputs.chunk(2, dim=-1)
        loc = target.loc + target.scale * columns(mean, target)
        scale = target.scale * (F.softplus(columns(raw, target)) + SMALLEST_SCALE)
        return dist.LogNormal(loc, scale).to_event(target.loc.ndim)


@dataclass(frozen=True)
class Gamma(Likelihood):
    r"""Positive targets: a gamma of mean :math:`\mu(x)` and shape :math:`\alpha(x)`, variance :math:`\mu^2 / \alpha`.

    The first half of the outputs is the logarithm of the mean, 0 for the targets' own. The second half is the
    coefficient of variation, :math:`1 / \sqrt{\alpha}`, before a softplus and as a multiple of the targets' own.

    Point estimates maximise this likelihood itself: its spread is no scale of its own, so ``beta`` of `fit_map` and
    `fit_ensemble` is of no effect. Where targets vary by less than a hundredth of their mean, this is a Gaussian, and
    the gamma's density has too few digits in single precision.
    """

    def outputs_per_target(self) -> int:
        """Two: a mean and a coefficient of variation."""
        return 2

    def affine(self, y: Tensor) -> Affine:
        """The logarithm of the mean of each target column, and its spread."""
        return standard_logarithm(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Positive targets ``(N,)`` or ``(N, D)``."""
        return check_above_zero(check_columns(y, num_outputs, 2), "gamma")

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        log_mean, raw = outputs.chunk(2, dim=-1)
        shape = 1 / (torch.expm1(target.scale.square()) * multiple(raw, target).square())
        return dist.Gamma(shape, shape / positive_mean(log_mean, target)).to_event(target.loc.ndim)


@dataclass(frozen=True)
class Beta(Likelihood):
    r"""Fractions between 0 and 1: a beta of mean :math:`\mu(x)` and precision :math:`\phi(x)`.

    Its variance is :math:`\mu (1 - \mu) / (1 + \phi)`. The first half of the outputs is the logit of the mean, 0 for
    the targets' own. The second half is :math:`1 / \sqrt{\phi}`, before a softplus and as a multiple of the targets'
    own. Point estimates maximise this likelihood itself: its spread is no scale of its own, so ``beta`` of `fit_map`
    and `fit_ensemble` is of no effect.

    References:
        Ferrari and Cribari-Neto (2004), Beta Regression for Modelling Rates and Proportions, Journal of Applied
        Statistics 31(7), equation 4.
    """

    def outputs_per_target(self) -> int:
        """Two: a mean and a spread."""
        return 2

    def affine(self, y: Tensor) -> Affine:
        r"""The logit of the mean m of each target column, and its spread, :math:`\sqrt{\log(1 + v / (m (1 - m))^2)}`.

        For a small variance v it is the standard deviation of the targets' logits.
        """
        mean, variance = y.mean(0), y.var(0, correction=0)
        spread = (variance / (mean * (1 - mean)).square()).log1p().sqrt()
        return Affine(mean.logit(), torch.where(spread > 0, spread, torch.ones_like(spread)))

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Fractions ``(N,)`` or ``(N, D)``."""
        y = check_columns(y, num_outputs, 2)
        if not bool(((y > 0) & (y < 1)).all()):
            raise ValueError(
                "beta targets must lie between 0 and 1, both excluded; got values from "
                f"{float(y.min()):.4g} to {float(y.max()):.4g}. Of percentages pass y / 100; yes or no is "
                "likelihoods.bernoulli."
            )
        return y

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        logit, raw = outputs.chunk(2, dim=-1)
        mean = (target.loc + target.scale * columns(logit, target)).sigmoid()
        # A tiny share of both ends keeps the density proper where the mean rounds to 0 or 1.
        tiny = torch.finfo(mean.dtype).eps
        at_zero = target.loc.sigmoid() * (-target.loc).sigmoid()
        own = 1 / (torch.expm1(target.scale.square()) * at_zero) - 1  # positive: a variance is less than m (1 - m)
        precision = own.clamp_min(SMALLEST_SCALE) / multiple(raw, target).square()
        return dist.Beta(precision * mean + tiny, precision * (1 - mean) + tiny).to_event(target.loc.ndim)


log_normal = LogNormal()
gamma = Gamma()
beta = Beta()
