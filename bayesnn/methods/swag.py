"""fit_swag: a Gaussian through the weights that stochastic gradient descent visits (SWAG)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal, biject_to
from torch.nn.attention import SDPBackend, sdpa_kernel

from bayesnn.checks import check_count
from bayesnn.fitting import epochs_for, isolated, prepared
from bayesnn.methods.map import STEPS, final_loss
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.points import Objective, is_real, maximise
from bayesnn.posterior import WeightPosterior
from bayesnn.training import Callback, History, Minibatches, optimise

__all__ = ["fit_swag"]

_FEWEST_BATCHES = 4
"""Minibatches in a pass of the walk: its spread is the noise of their gradients, and all data at once have none."""

_ROWS = 1000
_POWER_STEPS = 20


def fit_swag(
    model: BayesianNeuralNetwork,
    x: Any,
    y: Any = None,
    *,
    num_samples: int = 100,
    num_epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    num_snapshots: int = 60,
    rank: int = 20,
    step: float = 1.0,
) -> WeightPosterior:
    r"""Fit a plain network, let plain gradient descent walk about, and take a Gaussian through where it was (SWAG).

    After each of the walk's epochs the weights are a snapshot :math:`\theta_i`. With their running mean
    :math:`\bar\theta_i`, the variance :math:`\Sigma = \overline{\theta^2} - \bar\theta^2` and the last K deviations
    :math:`D = (\theta_i - \bar\theta_i)` as columns, a draw is

    .. math:: \bar\theta + \tfrac{1}{\sqrt 2} \Sigma^{1/2} z_1 + \tfrac{1}{\sqrt{2 (K - 1)}} D z_2,
              \qquad z_1, z_2 \sim N(0, 1).

    How far the walk strays is set by its step size, not by what the data leave open, and a step that is stable is small
    where the loss is sharp: SWAG is a cheap spread about a good network, and not an approximation that gets better with
    more work; ``bayesnn compare uci/concrete --data FOLDER --methods map swag`` sets its scores beside that network's.
    The likelihood's unknowns walk along, these and bounded weights in their unconstrained space.

    Args:
        model: Network, prior and likelihood.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_samples: Draws S.
        num_epochs: Passes over the data before the walk; if left out, as many as make 2000 steps, 20 at least.
        batch_size: Data in a minibatch; during the walk a quarter of all data at most, whose noise makes its spread.
        learning_rate: Adam's step size at the start, before the walk.
        device: Where to fit; where the network is, if left out.
        seed: Seed of the fit and of its draws.
        progress: Whether to show a progress bar.
        callback: Called after each epoch with its number and the mean of each term, the walk's counted on.
        num_snapshots: Epochs of the walk, each a snapshot; 2 at least.
        rank: Deviations K that are kept.
        step: The walk's step size, as a multiple of the inverse of the largest eigenvalue of the loss's Hessian, which
            a power iteration finds; gradient descent is stable below 2.

    Returns:
        A posterior of S draws; ``summary`` tells the walk's ``step_size``.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If the data do not suit the model, or a setting is out of range; the message says how.

    References:
        Maddox et al. (2019), A Simple Baseline for Bayesian Uncertainty in Deep Learning, arXiv:1902.02476, section 3
        and algorithm 1.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, likelihoods, networks
        >>> x, y = torch.randn(50, 2), torch.randn(50)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
        >>> fit_swag(model, x, y, num_samples=10, num_epochs=2, progress=False)(x).num_samples
        10
    """
    for name, value in (("num_samples", num_samples), ("num_snapshots", num_snapshots), ("rank", rank)):
        check_count(name, value)
    if num_snapshots < 2:
        raise ValueError(f"num_snapshots must be 2 or more, or there is no spread; got {num_snapshots}.")
    if not (is_real(step) and 0 < step < 2):
        raise ValueError(
            f"step must lie between 0 and 2, beyond which descent is unstable; got {step!r}. Write step=1.0."
        )
    model, inputs, targets = prepared(model, x, y, device)
    objective = Objective(model, inputs)
    given = {"batch_size": batch_size, "progress": progress}
    with isolated(seed, inputs.device):
        epochs = epochs_for(num_epochs, STEPS, len(inputs), batch_size)
        rate = {"num_epochs": epochs, "learning_rate": learning_rate, "callback": callback, "label": "swag: descent"}
        found, first = maximise(objective, targets, model.start(), **given, **rate)  # type: ignore[arg-type]
        free = {name: value.requires_grad_() for name, value in objective.unconstrained(found).items()}
        walk = _Walk(rank)
        histories = [first]
        size = step / _sharpness(objective, free, inputs[:_ROWS], targets[:_ROWS])
        if not first.interrupted:

            def snapshot(epoch: int, terms: dict[str, float]) -> None:
                walk.add(free)
                if callback is not None:
                    callback(len(first.epochs) + epoch, terms)

            histories.append(
                optimise(
                    lambda number, batch: objective.terms(free, *batch),
                    free.values(),
                    Minibatches([inputs, targets], min(batch_size, math.ceil(len(inputs) / _FEWEST_BATCHES))),
                    num_epochs=num_snapshots,
                    learning_rate=size,
                    progress=progress,
                    callback=snapshot,
                    label="swag: walk",
                    method=torch.optim.SGD,
                    final_rate=1.0,
                )
            )
        if not walk.number:
            walk.add(free)
    epochs_of_all = [epoch for one in histories for epoch in one.epochs]
    seconds = sum(one.seconds for one in histories)
    history = History(epochs_of_all, seconds, any(one.interrupted for one in histories))
    shapes = {name: value.shape for name, value in free.items()}
    objective = replace(objective, inputs=inputs[:1].clone())  # what is kept of the fit needs no data
    draws = partial(_draws, objective, walk, shapes)
    summary = {"step_size": size, "final_loss": final_loss(first)}
    density = partial(_density, objective, walk, shapes) if walk.moved else None
    return WeightPosterior(model, draws(num_samples, seed), "swag", history, summary, draws, density=density)


@dataclass
class _Walk:
    """Running moments of the snapshots, and the last few deviations from the running mean."""

    rank: int
    number: int = 0
    mean: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))
    deviations: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def add(self, free: Mapping[str, Tensor]) -> None:
        """Take in a snapshot."""
        flat = torch.cat([value.detach().flatten() for value in free.values()]).double()
        self.number += 1
        self.mean = flat / self.number + self.mean * (1 - 1 / self.number)
        self.squares = flat.square() / self.number + self.squares * (1 - 1 / self.number)
        self.deviations = [*self.deviations, flat - self.mean][-self.rank :]

    def draw(self, number: int, generator: torch.Generator) -> Tensor:
        """Draws ``(number, P)``."""

        def noise(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=self.mean.dtype).to(self.mean.device)

        spread = self._variance().sqrt() * noise(number, len(self.mean))
        return self.mean + spread + noise(number, len(self.deviations)) @ self._factor()

    def density(self, flat: Tensor) -> Tensor:
        """Log density of draws ``(S, P)`` in nats ``(S,)``."""
        return LowRankMultivariateNormal(self.mean, self._factor().T, self._variance()).log_prob(flat.double())

    @property
    def moved(self) -> bool:
        """Whether each weight did, without which there is no density."""
        return bool((self._variance() > 0).all())

    def _variance(self) -> Tensor:
        # Rounding may leave a variance of a weight that never moved just below 0.
        return (self.squares - self.mean.square()).clamp_min(0) / 2

    def _factor(self) -> Tensor:
        """The last deviations ``(K, P)``, so scaled that their outer products add up to their half of the variance."""
        return torch.stack(self.deviations) / math.sqrt(2 * max(1, len(self.deviations) - 1))


def _draws(
    objective: Objective, walk: _Walk, shapes: Mapping[str, torch.Size], number: int, seed: int
) -> dict[str, Tensor]:
    flat = walk.draw(number, torch.Generator().manual_seed(seed))
    parts = flat.split([shape.numel() for shape in shapes.values()], dim=1)
    free = {
        name: part.view(number, *shape).to(objective.model.dtype)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    return torch.vmap(objective.weights)(free)


@torch.no_grad()
def _density(
    objective: Objective, walk: _Walk, shapes: Mapping[str, torch.Size], drawn: Mapping[str, Tensor]
) -> Tensor:
    """Log density of draws ``(S, *shape)`` by site, those of constrained unknowns with their Jacobian."""
    free = objective.unconstrained({name: drawn[name] for name in shapes})
    total = walk.density(torch.cat([free[name].reshape(len(free[name]), -1) for name in shapes], 1))
    for name, support in objective.bounded().items():
        stretch = biject_to(support).log_abs_det_jacobian(free[name], drawn[name])
        total = total - stretch.double().reshape(len(stretch), -1).sum(1)
    return total


def _sharpness(objective: Objective, free: Mapping[str, Tensor], x: Tensor, y: Tensor) -> float:
    """The largest eigenvalue of the loss's Hessian in absolute value, by power iteration."""
    leaves = list(free.values())
    with sdpa_kernel(SDPBackend.MATH):  # the one kind of attention that can be differentiated twice
        gradient = torch.autograd.grad(objective.terms(free, x, y)["loss"], leaves, create_graph=True)
    direction: Sequence[Tensor] = [torch.randn_like(leaf) for leaf in leaves]
    size = torch.ones(())
    for _ in range(_POWER_STEPS):
        size = torch.stack([part.square().sum() for part in direction]).sum().sqrt()
        unit = [part / size for part in direction]
        direction = torch.autograd.grad(gradient, leaves, grad_outputs=unit, retain_graph=True)
    size = torch.stack([part.square().sum() for part in direction]).sum().sqrt()
    return max(float(size), 1e-6)
