"""Likelihoods of counts: Poisson, and negative binomial for counts that spread wider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.checks import check_columns, check_integers
from bayesnn.likelihoods.likelihood import SMALLEST_SCALE, Affine, Likelihood, columns

__all__ = ["NegativeBinomial", "Poisson", "negative_binomial", "poisson"]


@dataclass(frozen=True)
class Poisson(Likelihood):
    """Counts: an output is the logarithm of the rate, as a multiple of the targets' own mean."""

    def affine(self, y: Tensor) -> Affine:
        """The mean count of each target column, as the unit."""
        return _mean_count(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Counts ``(N,)`` or ``(N, D)``."""
        return _counts(check_columns(y, num_outputs, 1))

    def constant_log_likelihood(self, y: Tensor) -> float:
        """That of a Poisson with the targets' own mean."""
        y = y.double()
        return float((torch.special.xlogy(y, y.mean(0)) - y.mean(0) - (y + 1).lgamma()).mean(0).sum())

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        return dist.Poisson(target.scale * columns(outputs, target).exp()).to_event(target.loc.ndim)


@dataclass(frozen=True)
class NegativeBinomial(Likelihood):
    r"""Counts of mean :math:`\mu(x)` and variance :math:`\mu + \mu^2 / r(x)`, wider than a Poisson's.

    The first half of the outputs is the logarithm of the mean (as a multiple of the targets' own mean), the second half
    the size r before a softplus.
    """

    def outputs_per_target(self) -> int:
        """Two: a mean and a size."""
        return 2

    def affine(self, y: Tensor) -> Affine:
        """The mean count of each target column, as the unit."""
        return _mean_count(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Counts ``(N,)`` or ``(N, D)``."""
        return _counts(check_columns(y, num_outputs, 2))

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        log_mean, raw = outputs.chunk(2, dim=-1)
        size = F.softplus(columns(raw, target)) + SMALLEST_SCALE
        logits = target.scale.log() + columns(log_mean, target) - size.log()
        return dist.NegativeBinomial(size, logits=logits).to_event(target.loc.ndim)


def _mean_count(y: Tensor) -> Affine:
    mean = y.mean(0)
    return Affine(torch.zeros_like(mean), torch.where(mean > 0, mean, torch.ones_like(mean)))


def _counts(y: Tensor) -> Tensor:
    return check_integers(y, 0, 2**53, "counts", "they count from 0 on")


poisson = Poisson()
negative_binomial = NegativeBinomial()
