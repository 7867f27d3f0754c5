"""Likelihoods of counts: Poisson, and negative binomial for counts that spread wider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.checks import check_columns, check_integers
from bayesnn.likelihoods.likelihood import Affine, Likelihood, multiple, positive_mean, standard_logarithm

__all__ = ["NegativeBinomial", "Poisson", "negative_binomial", "poisson"]

_SMALLEST_EXCESS = 0.1
"""Least share of the targets' own variance that the size starts from, where they spread like a Poisson or less."""


@dataclass(frozen=True)
class Poisson(Likelihood):
    """Counts: an output is the logarithm of the rate, 0 for the targets' own mean."""

    def affine(self, y: Tensor) -> Affine:
        """The logarithm of the mean count of each target column, and its spread."""
        return standard_logarithm(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Counts ``(N,)`` or ``(N, D)``."""
        return _counts(check_columns(y, num_outputs, 1, "For mean and spread write likelihoods.negative_binomial."))

    def constant_log_likelihood(self, y: Tensor) -> float:
        """That of a Poisson with the targets' own mean."""
        y = y.double()
        return float((torch.special.xlogy(y, y.mean(0)) - y.mean(0) - (y + 1).lgamma()).mean(0).sum())

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        return dist.Poisson(positive_mean(outputs, target)).to_event(target.loc.ndim)


@dataclass(frozen=True)
class NegativeBinomial(Likelihood):
    r"""Counts of mean :math:`\mu(x)` and variance :math:`\mu + \mu^2 / r(x)`, wider than a Poisson's.

    The first half of the outputs is the logarithm of the mean, 0 for the targets' own. The second half is
    :math:`1 / \sqrt{r}`, the spread in excess of a Poisson's relative to the mean, before a softplus and as a multiple
    of the targets' own. It falls towards 0, where the counts are a Poisson's, as easily as a predicted noise scale.
    Point estimates maximise this likelihood itself: its spread is no scale of its own, so ``beta`` of `fit_map` and
    `fit_ensemble` is of no effect.
    """

    def outputs_per_target(self) -> int:
        """Two: a mean and an excess."""
        return 2

    def affine(self, y: Tensor) -> Affine:
        """The logarithm of the mean count of each target column, and its spread."""
        return standard_logarithm(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Counts ``(N,)`` or ``(N, D)``."""
        return _counts(check_columns(y, num_outputs, 2))

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        log_mean, raw = outputs.chunk(2, dim=-1)
        relative_variance = torch.expm1(target.scale.square())
        own = torch.maximum(relative_variance - (-target.loc).exp(), _SMALLEST_EXCESS * relative_variance)
        size = 1 / (own * multiple(raw, target).square())
        logits = positive_mean(log_mean, target).log() - size.log()
        return dist.NegativeBinomial(size, logits=logits).to_event(target.loc.ndim)


def _counts(y: Tensor) -> Tensor:
    return check_integers(y, 0, 2**53, "counts", "they count from 0 on")


poisson = Poisson()
negative_binomial = NegativeBinomial()
