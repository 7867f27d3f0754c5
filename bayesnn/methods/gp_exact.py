"""Exact Gaussian processes: the log marginal likelihood, and the posterior of the function."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bayesnn.likelihoods.likelihood import SMALLEST_SCALE

__all__ = ["ExactProcess"]

_ROWS_AT_ONCE = 1000

_JITTERS = (0.0, 1e-8, 1e-6, 1e-4)


class ExactProcess(nn.Module):
    r"""Independent Gaussian processes on the same inputs, one for each column of the targets.

    .. math:: y = f(x) + \varepsilon, \qquad f \sim GP(0, k), \qquad \varepsilon \sim N(0, \sigma^2)

    Args:
        inputs: Raw inputs to features, see `Inputs`.
        kernels: A gpytorch kernel for each target.
        noise: Noise standard deviations, one for each target.
        x: Training inputs, raw.
        y: Standardised targets ``(N, D)``.
        learn_noise: Whether the noise is a parameter.
        learn_from: Rows from which kernels and noise are learnt; all if left out.

    References:
        Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, algorithm 2.1 and equation 5.9.
    """

    x: Tensor
    y: Tensor
    learn_from: Tensor

    def __init__(
        self,
        inputs: nn.Module,
        kernels: list[nn.Module],
        noise: Tensor,
        x: Tensor,
        y: Tensor,
        learn_noise: bool,
        learn_from: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.inputs: Any = inputs
        self.kernels = nn.ModuleList(kernels)
        logs = noise.double().log().unbind()
        self.log_noise = nn.ParameterList([nn.Parameter(log.clone(), requires_grad=learn_noise) for log in logs])
        # Of targets without noise the likelihood has no maximum; known noise is as it is.
        self.floor = SMALLEST_SCALE if learn_noise else 0.0
        self.register_buffer("x", x)
        self.register_buffer("y", y.double())
        self.register_buffer("learn_from", torch.arange(len(x), device=x.device) if learn_from is None else learn_from)
        self._solved: list[tuple[Tensor, Tensor]] = []
        self._features: Tensor | None = None

    @property
    def words(self) -> str:
        """What kind of process it is."""
        return "exact"

    @property
    def noise(self) -> Tensor:
        """Noise standard deviations of the standardised targets ``(D,)``."""
        return ((2 * torch.stack(list(self.log_noise))).exp() + self.floor**2).sqrt()

    def learnt_features(self) -> Tensor:
        """Features of the rows from which kernels and noise are learnt."""
        return self.inputs(self.x[self.learn_from])

    def log_marginal(self, d: int, features: Tensor) -> Tensor:
        """Log marginal likelihood of one column at the rows that are learnt from, in nats; of their features."""
        covariance = self.kernels[d](features).to_dense()
        noise = torch.eye(len(features)).to(features) * self.noise[d] ** 2
        return _LogMarginal.apply(covariance + noise, self.y[self.learn_from, d])

    @torch.no_grad()
    def solve(self) -> float:
        """Condition on all data, which predictions have in common.

        Returns:
            Log marginal likelihood of all data, summed over targets, in nats.
        """
        self._features = features = self.inputs(self.x)
        self._solved, total = [], 0.0
        for kernel, noise, y in zip(self.kernels, self.noise, self.y.T, strict=True):
            root = _cholesky(_covariance(kernel, features, float(noise) ** 2))
            weights = torch.cholesky_solve(y[:, None], root)[:, 0]
            self._solved.append((root, weights))
            total += float(_log_density(y, root, weights))
        return total

    @torch.no_grad()
    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the function at raw inputs, each ``(D, N)``."""
        new, found = self.inputs(x), []
        for kernel, (root, weights) in zip(self.kernels, self._solved, strict=True):
            across = kernel(new, self._features).to_dense()
            explained = torch.linalg.solve_triangular(root, across.T, upper=False).square().sum(0)
            # Rounding may leave a variance at a training input just below 0.
            found.append((across @ weights, (kernel(new, diag=True) - explained).clamp_min(0)))
        return torch.stack([mean for mean, _ in found]), torch.stack([variance for _, variance in found])

    @torch.no_grad()
    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(D, N)`` and covariance ``(D, N, N)`` of the function at raw inputs."""
        new, found = self.inputs(x), []
        for kernel, (root, weights) in zip(self.kernels, self._solved, strict=True):
            across = kernel(new, self._features).to_dense()
            half = torch.linalg.solve_triangular(root, across.T, upper=False)
            found.append((across @ weights, kernel(new).to_dense() - half.T @ half))
        return torch.stack([mean for mean, _ in found]), torch.stack([covariance for _, covariance in found])

    @torch.no_grad()
    def prior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same before any data."""
        new = self.inputs(x)
        covariance = torch.stack([kernel(new).to_dense() for kernel in self.kernels])
        return covariance.new_zeros(covariance.shape[:2]), covariance

    def _apply(self, fn: Any, recurse: bool = True) -> ExactProcess:
        super()._apply(fn, recurse)
        self._solved = [(fn(root), fn(weights)) for root, weights in self._solved]
        self._features = None if self._features is None else fn(self._features)
        return self


class _LogMarginal(torch.autograd.Function):
    """Log density of y under N(0, K), with the gradient in closed form: half of (a a' - K^-1), a = K^-1 y."""

    @staticmethod
    def forward(ctx: Any, covariance: Tensor, y: Tensor) -> Tensor:
        """The value."""
        root = _cholesky(covariance)
        weights = torch.cholesky_solve(y[:, None], root)
        ctx.save_for_backward(root, weights)
        return _log_density(y, root, weights[:, 0])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """The gradient in the covariance."""
        root, weights = ctx.saved_tensors
        return gradients[0] * (weights @ weights.T - torch.cholesky_inverse(root)) / 2, None


def _log_density(y: Tensor, root: Tensor, weights: Tensor) -> Tensor:
    """Log density of y under N(0, K), of K's root and the weights K^-1 y."""
    return -(y @ weights) / 2 - root.diagonal().log().sum() - len(y) / 2 * math.log(2 * math.pi)


def _covariance(kernel: Any, features: Tensor, noise_variance: float) -> Tensor:
    """Covariance of the targets, some rows at a time: what makes a row takes several times its place."""
    covariance = features.new_empty(len(features), len(features))
    for start in range(0, len(features), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        covariance[rows] = kernel(features[rows], features).to_dense()
    covariance.diagonal().add_(noise_variance)
    return covariance


def _cholesky(covariance: Tensor) -> Tensor:
    """A root of a covariance, with as little added to its diagonal as it takes."""
    scale, diagonal = covariance.detach().diagonal().mean(), covariance.detach().diagonal().clone()
    for jitter in _JITTERS:
        if jitter:
            covariance = covariance.detach().clone()
            covariance.diagonal().copy_(diagonal + jitter * scale)
        root, failed = torch.linalg.cholesky_ex(covariance)
        if not bool(failed) and bool(root.isfinite().all()):
            return root
    raise ValueError(
        "the covariance of the training inputs must be positive definite; it is not, even with a jitter of "
        f"{_JITTERS[-1]:g}. Try another kernel, or a noise that is larger."
    )
