"""Bayesian linear regression in closed form: posterior and evidence for every noise scale from one decomposition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["LinearRegression", "Posterior"]

_ROWS_AT_ONCE = 4096


class Posterior(NamedTuple):
    """A normal over the coefficients of each of K columns.

    Attributes:
        mean: ``(K, P)``.
        root: ``(K, P, P)``, a root of each covariance: covariance = root root'.
    """

    mean: Tensor
    root: Tensor

    def of_outputs(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance ``(N, K)`` of the outputs at features ``(N, P)``."""
        phi = features.double()
        return phi @ self.mean.T, (phi @ self.root).square().sum(-1).T

    def log_prob(self, coefficients: Tensor) -> Tensor:
        """Log density of coefficients ``(S, K, P)`` in nats ``(S,)``."""
        steps = torch.linalg.solve(self.root, (coefficients.double() - self.mean).unsqueeze(-1)).squeeze(-1)
        volume = torch.linalg.slogdet(self.root).logabsdet.sum()
        return -0.5 * (steps.square().sum((-2, -1)) + self.mean.numel() * math.log(2 * math.pi)) - volume

    def draws(self, num_samples: int, seed: int) -> Tensor:
        """Draws of the coefficients ``(S, K, P)``; the global random state is left alone."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(num_samples, *self.mean.shape, dtype=torch.float64, generator=generator)
        return self.mean + (self.root @ noise.to(self.mean.device).unsqueeze(-1)).squeeze(-1)


@dataclass(frozen=True)
class LinearRegression:
    r"""K independent regressions :math:`t_k = \Phi w_k + \epsilon_k` on the same features, in double precision.

    With the prior :math:`w = m + s \odot v`, :math:`v \sim N(0, I)`, and noise :math:`\epsilon \sim N(0, \tau^2)`, let
    :math:`B = \Phi \operatorname{diag}(s)`, :math:`r = t - \Phi m`, :math:`B^T B = U \Lambda U^T` and
    :math:`c = U^T B^T r`. Then

    .. math::
        U^T v \mid t &\sim N\Bigl(\frac{c_i}{\lambda_i + \tau^2},\; \frac{\tau^2}{\lambda_i + \tau^2}\Bigr), \\
        -2 \log p(t) &= N \log 2\pi\tau^2 + \sum_i \log\Bigl(1 + \frac{\lambda_i}{\tau^2}\Bigr)
            + \frac{1}{\tau^2} \Bigl(r^T r - \sum_i \frac{c_i^2}{\lambda_i + \tau^2}\Bigr).

    Attributes:
        loc: Prior means m, ``(K, P)``.
        scale: Prior scales s, ``(K, P)``.
        eigenvalues: ``(K, P)``.
        eigenvectors: ``(K, P, P)``.
        projections: c, ``(K, P)``.
        square: :math:`r^T r`, ``(K,)``.
        num_data: N.

    References:
        Bishop (2006), Pattern Recognition and Machine Learning, equations 3.50, 3.51 and 3.86, here along the
        eigenvectors of section 3.5.3.

    Example:
        >>> fit = LinearRegression.of(torch.ones(4, 1), torch.ones(4, 1), torch.zeros(1, 1), torch.ones(1, 1))
        >>> fit.posterior(torch.tensor([1.0])).mean
        tensor([[0.8000]], dtype=torch.float64)
    """

    loc: Tensor
    scale: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor
    projections: Tensor
    square: Tensor
    num_data: int

    @staticmethod
    def of(features: Tensor, targets: Tensor, loc: Tensor, scale: Tensor) -> LinearRegression:
        """Take in the data.

        Args:
            features: ``(N, P)``; a column of ones among them for an intercept.
            targets: ``(N, K)``.
            loc: Prior means ``(K, P)``.
            scale: Prior scales ``(K, P)``, positive.
        """
        loc, scale = loc.double(), scale.double()
        gram = features.new_zeros(features.shape[1], features.shape[1], dtype=torch.float64)
        moments, square = torch.zeros_like(loc), torch.zeros_like(loc[:, 0])
        for phi, t in zip(features.split(_ROWS_AT_ONCE), targets.split(_ROWS_AT_ONCE), strict=True):
            phi = phi.double()
            residuals = t.double() - phi @ loc.T
            gram += phi.T @ phi
            moments += residuals.T @ phi
            square += residuals.square().sum(0)
        eigenvalues, vectors = torch.linalg.eigh(scale[:, :, None] * gram * scale[:, None, :])
        projections = (vectors.mT @ (scale * moments)[:, :, None])[:, :, 0]
        # Rounding may leave a zero eigenvalue a little below zero.
        return LinearRegression(loc, scale, eigenvalues.clamp_min(0), vectors, projections, square, len(features))

    def posterior(self, noise: Tensor) -> Posterior:
        """The posterior of the coefficients at noise scales ``(K,)``."""
        variance = noise.double().square()[:, None]
        shrunk = self.eigenvalues + variance
        mean = (self.eigenvectors @ (self.projections / shrunk)[:, :, None])[:, :, 0]
        root = self.scale[:, :, None] * self.eigenvectors * (variance / shrunk).sqrt()[:, None, :]
        return Posterior(self.loc + self.scale * mean, root)

    def log_evidence(self, noise: Tensor) -> Tensor:
        """Log-density ``(..., K)`` of each column of targets, coefficients integrated out, at noise ``(..., K)``."""
        variance = noise.double().square()
        shrunk = self.eigenvalues + variance[..., None]
        determinant = (shrunk.log() - variance.log()[..., None]).sum(-1)
        misfit = (self.square - (self.projections.square() / shrunk).sum(-1)) / variance
        return -0.5 * (self.num_data * (2 * math.pi * variance).log() + determinant + misfit)
