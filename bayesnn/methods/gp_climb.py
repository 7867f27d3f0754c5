"""Learning an exact Gaussian process: the maximum of its marginal likelihood by L-BFGS, or by Adam of a deep kernel."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from bayesnn.methods.gp_exact import ExactProcess
from bayesnn.methods.gp_inputs import length_scaled
from bayesnn.training import Callback, History, Minibatches, optimise
from bayesnn.warned import warn

__all__ = ["climb", "train_features"]

_STARTS = (1.0, 0.3)
"""Length-scales that the climb starts from, as multiples of the inputs' spread; one alone is not enough on Yacht."""


def climb(
    process: ExactProcess,
    candidates: Sequence[Sequence[Any]],
    *,
    log_prior: Callable[[Tensor], Tensor],
    max_iterations: int,
    progress: bool,
    callback: Callback | None,
) -> tuple[float, History]:
    """Maximise marginal likelihood times prior density by L-BFGS from several starts, target by target, in place.

    Args:
        process: What is fitted.
        candidates: For each target the kernels to choose from: the one with the highest maximum is taken.
        log_prior: Log-prior density of the noise scales of the standardised targets; 0 where they are known.
        max_iterations: Iterations of each climb.
        progress: Whether to show a progress bar.
        callback: Called after each iteration with its number and the loss per datum.

    Returns:
        Log marginal likelihood per datum, summed over targets, and what happened.
    """
    epochs: list[dict[str, float]] = []
    started, interrupted = time.perf_counter(), False
    most = max_iterations * len(_STARTS) * sum(map(len, candidates))
    bar = tqdm(total=most, desc="gp", disable=not progress, leave=False, unit="iteration", mininterval=0.3)

    def tell(loss: float) -> None:
        epochs.append({"loss": loss})
        bar.update()
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        if callback is not None:
            callback(len(epochs) - 1, epochs[-1])

    for d, kernels in enumerate(candidates):
        interrupted = _chosen(process, d, kernels, log_prior, max_iterations, tell)
        if interrupted:
            warn(f"stopped by hand after {len(epochs)} of {most} iterations; the state reached is kept.")
            break
    bar.close()
    return _solved(process), History(epochs, time.perf_counter() - started, interrupted)


def _chosen(
    process: ExactProcess,
    d: int,
    kernels: Sequence[Any],
    log_prior: Callable[[Tensor], Tensor],
    max_iterations: int,
    tell: Callable[[float], None],
) -> bool:
    """Climb with every kernel for one target, and keep the best; whether it was stopped by hand."""
    start, best, interrupted = process.log_noise[d].detach().clone(), math.inf, False
    found = (kernels[0], start)
    for kernel in kernels:
        process.kernels[d] = kernel
        process.log_noise[d].data.copy_(start)
        climb = _Climb(process, d, log_prior)
        interrupted = climb.run(max_iterations, tell)
        if climb.best < best:
            best, found = climb.best, (kernel, process.log_noise[d].detach().clone())
        if interrupted:
            break
    process.kernels[d], noise = found
    process.log_noise[d].data.copy_(noise)
    return interrupted


class _Climb:
    """The climb for one target, and the best place it has seen."""

    def __init__(self, process: ExactProcess, d: int, log_prior: Callable[[Tensor], Tensor]) -> None:
        self.process, self.d, self.log_prior = process, d, log_prior
        self.features = process.learnt_features().detach()
        kernel: Any = process.kernels[d]
        self.kernel = kernel
        self.leaves = [leaf for leaf in (*kernel.parameters(), process.log_noise[d]) if leaf.requires_grad]
        self.best, self.place = math.inf, self._flat() if self.leaves else None

    def run(self, max_iterations: int, tell: Callable[[float], None]) -> bool:
        """Climb from every start, and stay at the best place; whether it was stopped by hand."""
        from scipy.optimize import minimize

        if not self.leaves:  # a kernel without parameters, and known noise
            marginal = self.process.log_marginal(self.d, self.features) + self.log_prior(self.process.noise)
            self.best = -float(marginal) / len(self.features)
            return False
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
