"""Mode: the point where Laplace and a Bayesian last layer begin, found by fit_map or given."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bayesnn.fitting import prepared
from bayesnn.methods.map import fit_map
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.points import Objective
from bayesnn.posterior import WeightPosterior
from bayesnn.priors import describe
from bayesnn.training import History

__all__ = ["Mode", "Start", "as_it_stands", "draws_of", "mode_of"]

Start = WeightPosterior | Literal["network"] | None


@dataclass(frozen=True)
class Mode:
    """One value of every site, and the data to go on with.

    Attributes:
        model: The model, knowing the data.
        values: The value of each parameter and latent by name.
        inputs: Training inputs, in raw units.
        targets: Training targets.
        history: What happened in its fit, if it was fitted here.
    """

    model: BayesianNeuralNetwork
    values: dict[str, Tensor]
    inputs: Tensor
    targets: Tensor
    history: History | None

    @property
    def weights(self) -> dict[str, Tensor]:
        """The network's parameters alone."""
        return {name: self.values[name] for name in self.model.parameter_names}

    @property
    def latents(self) -> dict[str, Tensor]:
        """The likelihood's unknowns alone."""
        return {name: self.values[name] for name in self.model.latents()}


def mode_of(
    model: BayesianNeuralNetwork,
    x: Any,
    y: Any,
    start: Start,
    argument: str,
    device: torch.device | str | None,
    **options: Any,
) -> Mode:
    """The maximum of a model's posterior density.

    Args:
        model: Network, prior and likelihood.
        x: Inputs, as `fit_map` takes them.
        y: Targets.
        start: ``None`` to find it by `fit_map`; a posterior that `fit_map` gave, whose weights and scaling of the data
            are taken; or ``"network"`` for the network's own weights as they stand.
        argument: What the user calls ``start``.
        device: Where to fit.
        **options: For `fit_map`.

    Raises:
        TypeError: If ``start`` is none of these.
        ValueError: If it is not of this model, or the model's network cannot be trained.
    """
    if isinstance(start, str) and start == "network":
        return as_it_stands(model, x, y, device, trains=True)
    known, inputs, targets = prepared(model, x, y, device)
    if start is None:
        fitted = fit_map(model, inputs, targets, device=inputs.device, **{"beta": 0.0, **options})
        return Mode(known, _only_draw(fitted), inputs, targets, fitted.history)
    known, draws = draws_of(known, start, argument, 'from fit_map, "network" for the network\'s own weights,')
    if start.num_samples != 1:
        raise ValueError(
            f"{argument} must be one network, as fit_map gives it; got {start.num_samples} draws of {start.method}."
        )
    return Mode(known, {name: value[0] for name, value in draws.items()}, inputs, targets, None)


def as_it_stands(
    model: BayesianNeuralNetwork, x: Any, y: Any, device: torch.device | str | None, *, trains: bool
) -> Mode:
    """The network's own weights, and the likelihood's unknowns in their priors' middle.

    Args:
        model: Network, prior and likelihood.
        x: Inputs, as `fit_map` takes them.
        y: Targets.
        device: Where to fit.
        trains: Whether all weights are to be uncertain then: batch normalisation is refused.
    """
    known, inputs, targets = prepared(model, x, y, device, trains=trains)
    objective, allowed = Objective(known, inputs), known.start()
    for name, value in known.network.named_parameters():
        if bool(((allowed[name] != value) & ~value.isnan()).any()):
            raise ValueError(
                f"a network as it stands must have weights that its prior allows; those of {name!r} lie outside of "
                f"{describe(known.priors()[name])}. Fit them (leave the argument out), or write another prior."
            )
    return Mode(known, objective.weights(objective.free(allowed)), inputs, targets, None)


def draws_of(
    model: BayesianNeuralNetwork, start: object, argument: str, kind: str
) -> tuple[BayesianNeuralNetwork, dict[str, Tensor]]:
    """A posterior of this model as a start: the model in the units it was fitted in, and its draws by site.

    Raises:
        TypeError: If ``start`` is no posterior; the message says what ``kind`` of it ``argument`` should be.
        ValueError: If it is not of this model.
    """
    if not isinstance(start, WeightPosterior) or not isinstance(start.model, BayesianNeuralNetwork):
        raise TypeError(f"{argument} must be a posterior {kind} or None to fit them; got {start!r}.")
    known = _scaled_like(model, start.model)
    values = {name: value.to(model.device) for name, value in start.weights.items()}
    wanted = {name: prior.batch_shape + prior.event_shape for name, prior in (known.priors() | known.latents()).items()}
    found = {name: value.shape[1:] for name, value in values.items()}
    if found != wanted:
        wrong = [name for name in wanted | found if wanted.get(name) != found.get(name)]
        raise ValueError(
            f"{argument} must be a fit of this model, with its sites and shapes; {', '.join(map(repr, wrong))} differ. "
            f"Leave {argument} out to have it fitted here."
        )
    return known, values


def _only_draw(posterior: WeightPosterior) -> dict[str, Tensor]:
    return {name: value[0] for name, value in posterior.weights.items()}


def _scaled_like(model: BayesianNeuralNetwork, other: BayesianNeuralNetwork) -> BayesianNeuralNetwork:
    """A model with the units that another was fitted in, as its weights mean nothing in others."""
    model = copy.deepcopy(model)
    for name in ("x_loc", "x_scale", "y_loc", "y_scale"):
        setattr(model, name, getattr(other, name).to(model.device))
    return model
