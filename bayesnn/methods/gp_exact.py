"""Exact Gaussian processes: the log marginal likelihood and its maximum, and the posterior of the function."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from bayesnn.likelihoods.likelihood import SMALLEST_SCALE
from bayesnn.methods.gp_inputs import length_scaled
from bayesnn.training import Callback, History, Minibatches, optimise

__all__ = ["ExactProcess", "climb", "train_features"]

_STARTS = (1.0, 0.3)
"""Length-scales that the climb starts from, as multiples of the inputs' spread; one alone is not enough on Yacht."""

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

    def _apply(self, fn: Any, recurse: bool = True) -> ExactProcess:
        super()._apply(fn, recurse)
        self._solved = [(fn(root), fn(weights)) for root, weights in self._solved]
        self._features = None if self._features is None else fn(self._features)
        return self


def climb(
    process: ExactProcess,
    *,
    log_prior: Callable[[Tensor], Tensor],
    max_iterations: int,
    progress: bool,
    callback: Callback | None,
) -> tuple[float, History]:
    """Maximise marginal likelihood times prior density by L-BFGS from several starts, target by target, in place.

    Args:
        process: What is fitted.
        log_prior: Log-prior density of the noise scales of the standardised targets; 0 where they are known.
        max_iterations: Iterations of each climb.
        progress: Whether to show a progress bar.
        callback: Called after each iteration with its number and the loss per datum.

    Returns:
        Log marginal likelihood per datum, summed over targets, and what happened.
    """
    epochs: list[dict[str, float]] = []
    started, interrupted = time.perf_counter(), False
    most = max_iterations * len(_STARTS) * len(process.kernels)
    bar = tqdm(total=most, desc="gp", disable=not progress, leave=False, unit="iteration", mininterval=0.3)

    def tell(loss: float) -> None:
        epochs.append({"loss": loss})
        bar.update()
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if callback is not None:
            callback(len(epochs) - 1, epochs[-1])

    for d in range(len(process.kernels)):
        interrupted = _Climb(process, d, log_prior).run(max_iterations, tell)
        if interrupted:
            warnings.warn(
                f"stopped by hand after {len(epochs)} of {most} iterations; the state reached is kept.", stacklevel=3
            )
            break
    bar.close()
    return _solved(process), History(epochs, time.perf_counter() - started, interrupted)


class _Climb:
    """The climb for one target, and the best place it has seen."""

    def __init__(self, process: ExactProcess, d: int, log_prior: Callable[[Tensor], Tensor]) -> None:
        self.process, self.d, self.log_prior = process, d, log_prior
        self.features = process.learnt_features().detach()
        kernel: Any = process.kernels[d]
        self.kernel = kernel
        self.leaves = [leaf for leaf in (*kernel.parameters(), process.log_noise[d]) if leaf.requires_grad]
        self.best, self.place = math.inf, self._flat()

    def run(self, max_iterations: int, tell: Callable[[float], None]) -> bool:
        """Climb from every start, and stay at the best place; whether it was stopped by hand."""
        from scipy.optimize import minimize

        origin, interrupted = self._flat(), False
        scaled = length_scaled(self.kernel)
        for multiple in _STARTS if scaled else _STARTS[:1]:
            self._put(origin)
            if multiple != 1:
                for part in scaled:
                    part.lengthscale = part.lengthscale * multiple
            options = {"maxiter": max_iterations, "maxcor": 20}
            try:
                minimize(
                    self.loss,
                    self._flat(),
                    jac=True,
                    method="L-BFGS-B",
                    callback=lambda place: tell(self.best),
                    options=options,
                )
            except KeyboardInterrupt:
                interrupted = True
                break
        self._put(self.place)
        return interrupted

    def loss(self, flat: Any) -> tuple[float, Any]:
        """Negative log marginal likelihood and prior density per datum, and the gradient."""
        self._put(flat)
        try:
            marginal = self.process.log_marginal(self.d, self.features) + self.log_prior(self.process.noise)
        except ValueError:  # a step far out, where the covariance is singular: the line search turns back
            return 1e10, 0 * flat
        loss = -marginal / len(self.features)
        gradient = torch.autograd.grad(loss, self.leaves)
        value = float(loss.detach())
        if value < self.best:
            self.best, self.place = value, flat.copy()
        return value, torch.cat([part.flatten() for part in gradient]).cpu().numpy()

    def _flat(self) -> Any:
        return torch.cat([leaf.detach().flatten() for leaf in self.leaves]).cpu().numpy()

    @torch.no_grad()
    def _put(self, flat: Any) -> None:
        values = torch.tensor(flat).split([leaf.numel() for leaf in self.leaves])
        for leaf, value in zip(self.leaves, values, strict=True):
            leaf.copy_(value.view_as(leaf))


def train_features(
    process: ExactProcess,
    *,
    log_prior: Callable[[Tensor], Tensor],
    num_epochs: int,
    learning_rate: float,
    progress: bool,
    callback: Callback | None,
) -> tuple[float, History]:
    """The same with a network as part of the kernel, by Adam on all data at once."""
    size = len(process.learn_from)

    def loss(step: int, batch: Any) -> dict[str, Tensor]:
        features = process.learnt_features()
        try:
            marginals = torch.stack([process.log_marginal(d, features) for d in range(len(process.kernels))])
        except ValueError:  # a singular covariance is to the optimiser a loss that is not finite
            return {"loss": features.sum() * math.nan}
        return {"loss": -(marginals.sum() + log_prior(process.noise)) / size}

    skip = set(process.inputs.head_names())
    own = [p for name, p in process.inputs.named_parameters() if name not in skip]
    leaves = [p for p in (*own, *process.kernels.parameters(), *process.log_noise) if p.requires_grad]
    history = optimise(
        loss,
        leaves,
        Minibatches([process.learn_from], size),
        num_epochs=num_epochs,
        learning_rate=learning_rate,
        progress=progress,
        callback=callback,
        label="gp",
    )
    return _solved(process), history


@torch.no_grad()
def _solved(process: ExactProcess) -> float:
    """Make a process ready for predictions; its log marginal likelihood per datum, summed over targets."""
    return process.solve() / len(process.x)


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
