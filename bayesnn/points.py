"""Point estimates: one or several networks at the maximum of the posterior density, trained side by side or in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import biject_to, constraints
from torch.func import grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bayesnn.flat_points import FlatPoints
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import bounds, center
from bayesnn.training import Callback, History, Minibatches, optimise

__all__ = ["Objective", "is_real", "maximise", "maximise_together", "pays_together"]

_WIDEST_TOGETHER = 100_000
"""Weights of a network up to which training side by side is faster: of five members, 1.2 times the time of one with 500
weights, 4.7 times with 30 000, and 4.9 times, as long as one after another, with 480 000 (one CPU thread; measured by
``python benchmarks/ensembles.py``)."""


@dataclass(frozen=True)
class Objective:
    r"""What a point estimate minimises: the negative log joint density per datum.

    .. math:: -\frac1B \sum_{n \in B} \log p(y_n \mid x_n, \theta) - \frac1N \log p(\theta)

    Attributes:
        model: A model that knows its data.
        inputs: All training inputs, in raw units.
        beta: Weight of the predicted scale, see `bayesnn.likelihoods.beta_weighted`.
        adversarial: Step of adversarial training as a fraction of each input's range; 0 for none.
    """

    model: BayesianNeuralNetwork
    inputs: Tensor
    beta: float = 0.0
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        if not (is_real(self.beta) and 0 <= self.beta <= 1):
            raise ValueError(
                f"beta must lie between 0 (the likelihood itself) and 1; got {self.beta!r}. Write beta=0.5."
            )
        if not (is_real(self.adversarial) and 0 <= self.adversarial < 1):
            raise ValueError(
                "adversarial must be a fraction of the inputs' range, from 0 up to 1; got "
                f"{self.adversarial!r}. Write adversarial=0.01 for one hundredth."
            )
        if self.adversarial and not self.inputs.is_floating_point():
            raise ValueError(
                f"adversarial training moves the inputs, so they must be real numbers; got {self.inputs.dtype}. Pass "
                "x.float(), or write adversarial=0."
            )

    def free(self, start: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unconstrained values of all sites: the weights given, the likelihood's unknowns in their priors' middle."""
        middle = {name: center(prior) for name, prior in self.model.latents().items()}
        return self.unconstrained({**middle, **start})

    def unconstrained(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unconstrained values from values of all sites: the inverse of `weights`."""
        bounded = self.bounded()
        free = {n: biject_to(bounded[n]).inv(v) if n in bounded else v for n, v in values.items()}
        return {name: value.detach().clone() for name, value in free.items()}

    def weights(self, free: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values of all sites from unconstrained ones."""
        bounded = self.bounded()
        return {name: biject_to(bounded[name])(v) if name in bounded else v for name, v in free.items()}

    def bounded(self) -> dict[str, constraints.Constraint]:
        """The supports of the sites that are not all of the real line."""
        priors = self.model.priors() | self.model.latents()
        return {name: support for name, prior in priors.items() if (support := bounds(prior)) is not None}

    def terms(self, free: Mapping[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The loss of one network on a minibatch, and its part without the prior."""
        at = self.weights(free)
        misfit = self.misfit(at, x, y)
        if self.adversarial:
            misfit = (misfit + self.misfit(at, self._attacked(at, x, y), y)) / 2
        return {"loss": misfit - self.model.log_prior(at) / len(self.inputs), "misfit": misfit}

    def misfit(self, at: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """The part of the loss that is the data's, at values of all sites."""
        model = self.model
        members = model.members(model.outputs(at, x), at)
        return -model.likelihood.weighted_log_prob(members, y, self.beta, model.target()).mean()

    def _attacked(self, at: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        """Inputs moved by one signed gradient step towards a larger loss (Goodfellow et al. 2015, arXiv:1412.6572)."""
        uphill = grad(lambda moved: -self.model.log_likelihood(at, moved, y).sum())(x)
        reach = self.inputs.amax(0) - self.inputs.amin(0)
        return (x + self.adversarial * reach * uphill.sign()).detach()


def is_real(value: object) -> bool:
    """Whether it is one real number, and not text or a tensor."""
    return isinstance(value, Real)


def maximise(
    objective: Objective,
    targets: Tensor,
    start: Mapping[str, Tensor],
    *,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    progress: bool,
    callback: Callback | None,
    label: str,
) -> tuple[dict[str, Tensor], History]:
    """One network. Its weights, and what happened; the order of the minibatches comes from the global random state."""
    settings: dict[str, Any] = {"num_epochs": num_epochs, "learning_rate": learning_rate, "progress": progress}
    settings |= {"callback": callback, "label": label}
    if not objective.adversarial and FlatPoints.serves(objective.model, 1):
        return _flat(objective, targets, [objective.free(start)], batch_size, (), settings)
    free = {name: value.requires_grad_() for name, value in objective.free(start).items()}
    history = optimise(
        lambda step, batch: objective.terms(free, *batch),
        free.values(),
        Minibatches([objective.inputs, targets], batch_size),
        **settings,
    )
    return {name: value.detach() for name, value in objective.weights(free).items()}, history


def maximise_together(
    objective: Objective,
    targets: Tensor,
    starts: Sequence[Mapping[str, Tensor]],
    *,
    seeds: Sequence[int],
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    progress: bool,
    callback: Callback | None,
    label: str,
) -> tuple[dict[str, Tensor], History]:
    """Several networks as one vectorised program, each with its own order of minibatches.

    Adam works number by number, so each network moves as it would alone. Terms of the history are means over networks.

    Returns:
        Weights with an axis for the networks in front, and what happened.
    """
    alone = [objective.free(start) for start in starts]
    settings: dict[str, Any] = {"num_epochs": num_epochs, "learning_rate": learning_rate, "progress": progress}
    settings |= {"callback": callback, "label": label}
    if not objective.adversarial and len(alone) > 1 and FlatPoints.serves(objective.model, len(alone)):
        return _flat(objective, targets, alone, batch_size, seeds, settings)
    free = {name: torch.stack([values[name] for values in alone]).requires_grad_() for name in alone[0]}
    terms_of_each: Callable[..., dict[str, Tensor]] = vmap(objective.terms, randomness="error")

    def loss(step: int, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no vectorised form
            each = terms_of_each(free, *batch)
        terms = {name: value.mean() for name, value in each.items()}
        # The value is the mean, the gradient that of the sum: every network's own.
        total = each["loss"].sum()
        return terms | {"loss": total + (terms["loss"] - total).detach()}

    history = optimise(
        loss,
        free.values(),
        Minibatches([objective.inputs, targets], batch_size, seeds),
        **settings,
    )
    return {n: v.detach() for n, v in vmap(objective.weights)(free).items()}, history


def _flat(
    objective: Objective,
    targets: Tensor,
    starts: Sequence[Mapping[str, Tensor]],
    batch_size: int,
    seeds: Sequence[int],
    settings: Mapping[str, Any],
) -> tuple[dict[str, Tensor], History]:
    """One or several networks by the same objective in few operations."""
    flat = FlatPoints(objective.model, objective.inputs, targets, starts, objective.beta)
    data = Minibatches([flat.inputs, flat.targets], batch_size, seeds)
    history = optimise(lambda step, batch: flat(batch), [flat.parameters], data, **settings)
    return flat.values(), history


def pays_together(network: nn.Module) -> bool:
    """Whether several such networks are trained faster side by side: small ones of linear layers are."""
    convolves = any(isinstance(module, nn.modules.conv._ConvNd | nn.RNNBase) for module in network.modules())
    return not convolves and sum(value.numel() for value in network.parameters()) <= _WIDEST_TOGETHER
