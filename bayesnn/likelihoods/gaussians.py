"""Likelihoods of real targets: the Gaussian with one noise scale, and with a predicted one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.checks import check_columns
from bayesnn.likelihoods.likelihood import SMALLEST_SCALE, Affine, Likelihood, beta_weighted, columns, standard
from bayesnn.members import mapped

_HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2

__all__ = ["Gaussian", "HeteroscedasticGaussian", "gaussian", "heteroscedastic_gaussian"]


@dataclass(frozen=True)
class Gaussian(Likelihood):
    r"""A normal around the output with one noise scale: :math:`y \sim N(f(x), \sigma^2)`.

    The noise scale is a latent site ``noise_scale`` in the units of ``y``, one for each target dimension. Its default
    prior is log-normal with median 0.3 standard deviations of ``y`` and log-scale 1 (95 % of its mass between 0.04 and
    2.1 standard deviations). `with_noise` replaces the prior, or fixes the noise.
    """

    noise: Any = None

    def with_noise(self, noise: Distribution | float) -> Gaussian:
        """The same likelihood with a known noise scale (a number) or another prior, both in the units of ``y``.

        Example:
            >>> gaussian.with_noise(0.1)
            Gaussian(noise=0.1)
        """
        if isinstance(noise, Real) and not isinstance(noise, bool):
            if not (float(noise) > 0 and math.isfinite(noise)):
                raise ValueError(f"a noise scale must be positive and finite; got {noise}.")
            return Gaussian(float(noise))
        if not isinstance(noise, Distribution) or not _positive(noise):
            raise TypeError(
                f"noise must be a positive number, or a pyro distribution of positive numbers as its prior; got "
                f"{noise!r}. Write with_noise(0.1) or with_noise(dist.HalfNormal(1.0))."
            )
        return Gaussian(noise)

    def latents(self, target: Affine) -> dict[str, Distribution]:
        """The prior of ``noise_scale``, unless the noise is known."""
        if isinstance(self.noise, int | float):
            return {}
        if self.noise is not None:
            prior: Any = mapped(lambda tensor: tensor.to(target.loc), self.noise)
            missing = target.loc.ndim - len(prior.batch_shape) - len(prior.event_shape)
            prior = prior.expand(target.loc.shape[:missing] + prior.batch_shape) if missing > 0 else prior
            return {"noise_scale": prior.to_event(len(prior.batch_shape))}
        prior = dist.LogNormal(target.scale.log() + math.log(0.3), torch.ones_like(target.scale))
        return {"noise_scale": prior.to_event(target.scale.ndim)}

    def constant_log_likelihood(self, y: Tensor) -> float:
        """That of a normal with the targets' own mean and variance."""
        return _constant_normal(y)

    def affine(self, y: Tensor) -> Affine:
        """Mean and standard deviation of each target column."""
        return standard(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Real targets ``(N,)`` or ``(N, D)``."""
        return check_columns(y, num_outputs, 1, "For mean and noise write likelihoods.heteroscedastic_gaussian.")

    def seen(self, y: Tensor, target: Affine) -> Tensor:
        """Standardised targets."""
        return (y - target.loc) / target.scale

    def log_likelihood(self, outputs: Tensor, latents: Mapping[str, Tensor], seen: Tensor, target: Affine) -> Tensor:
        """The normal's, of standardised targets."""
        scale, rows = self._scale(latents, target), -1 - target.loc.ndim
        squares = (columns(outputs, target) - seen).square().sum(rows)
        each = squares * (target.scale / scale).square() / 2 + seen.shape[rows] * (scale.log() + _HALF_LOG_TWO_PI)
        return -each.sum()

    def log_likelihood_and_slopes(
        self, outputs: Tensor, latents: Mapping[str, Tensor], seen: Tensor, target: Affine
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The same with its gradients: of a network of 500 weights, autograd's way through takes half of the time."""
        scale, rows = self._scale(latents, target), -1 - target.loc.ndim
        off, number = seen - outputs.view(seen.shape), seen.shape[rows]
        inverse = scale.reciprocal()
        root = target.scale * inverse
        precision = root * root
        misfit = (torch.dot(off, off) if off.ndim == 1 else off.square().sum(rows)).mul_(precision)
        total = misfit.mul(-0.5).sub_(scale.log(), alpha=number)
        total = (total.sum() if total.ndim else total).sub_(number * _HALF_LOG_TWO_PI * misfit.numel())
        by_latents = dict.fromkeys(latents, misfit.mul_(inverse).sub_(inverse, alpha=number))
        off.mul_(precision.unsqueeze(rows) if precision.ndim else precision)
        return total, off.view(outputs.shape), by_latents

    def _scale(self, latents: Mapping[str, Tensor], target: Affine) -> Tensor:
        known = isinstance(self.noise, int | float)
        return target.loc.new_tensor(self.noise).expand_as(target.loc) if known else latents["noise_scale"]

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        loc = torch.addcmul(target.loc, target.scale, columns(outputs, target))
        if isinstance(self.noise, int | float):
            scale = torch.full_like(loc, self.noise)
        else:
            noise = latents["noise_scale"]
            scale = noise.unsqueeze(noise.ndim - target.loc.ndim).expand_as(loc)
        return dist.Normal(loc, scale).to_event(target.loc.ndim)


@dataclass(frozen=True)
class HeteroscedasticGaussian(Likelihood):
    r"""A normal whose mean and scale the network predicts: :math:`y \sim N(\mu(x), \sigma(x)^2)`.

    The first half of the outputs is the mean, the second half the noise scale before a softplus.

    References:
        Nix and Weigend (1994), Estimating the mean and variance of the target probability distribution, ICNN.
        Softplus on the scale as in Lakshminarayanan et al. (2017), arXiv:1612.01474, section 2.2.1.
    """

    def outputs_per_target(self) -> int:
        """Two: a mean and a scale."""
        return 2

    def constant_log_likelihood(self, y: Tensor) -> float:
        """That of a normal with the targets' own mean and variance."""
        return _constant_normal(y)

    def affine(self, y: Tensor) -> Affine:
        """Mean and standard deviation of each target column."""
        return standard(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Real targets ``(N,)`` or ``(N, D)``."""
        return check_columns(y, num_outputs, 2)

    def weighted_log_prob(self, members: Distribution, y: Tensor, beta: float, target: Affine) -> Tensor:
        r"""Log-probability weighted by :math:`\sigma^{2\beta}`, see `beta_weighted`."""
        return beta_weighted(members, y, beta, target)

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        mean, raw = outputs.chunk(2, dim=-1)
        loc = target.loc + target.scale * columns(mean, target)
        scale = target.scale * (F.softplus(columns(raw, target)) + SMALLEST_SCALE)
        return dist.Normal(loc, scale).to_event(target.loc.ndim)


gaussian = Gaussian()
heteroscedastic_gaussian = HeteroscedasticGaussian()


def _positive(prior: Distribution) -> bool:
    """Whether a distribution is of numbers that are not negative."""
    negative = torch.full(prior.batch_shape + prior.event_shape, -1e-3)
    return not bool(prior.support.check(negative).any())


def _constant_normal(y: Tensor) -> float:
    """Mean log-likelihood of a normal with the targets' own mean and variance."""
    return float(-0.5 * (2 * math.pi * math.e * y.double().var(0, correction=0)).log().sum())
