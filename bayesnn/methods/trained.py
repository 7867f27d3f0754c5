"""from_networks: networks that were trained elsewhere, as the draws of a posterior."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bayesnn.fitting import prepared
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import WeightPosterior

__all__ = ["from_networks"]


@torch.no_grad()
def from_networks(
    model: BayesianNeuralNetwork,
    networks: Sequence[nn.Module | Mapping[str, Tensor]],
    *,
    latents: Mapping[str, Any] | None = None,
    x: Any = None,
    y: Any = None,
) -> WeightPosterior:
    """Take trained networks as the draws of a posterior: an ensemble, checkpoints, samples of another program.

    Each runs in ``eval`` mode, with its own buffers: the running statistics of batch normalisation, say.

    The model says what the outputs mean. Networks that read raw inputs and predict in raw units go into a model with
    ``standardise=False``. A model that standardises needs the training data ``x, y`` to know their units; its networks
    must then be such as read standardised inputs and predict standardised targets.

    Args:
        model: A network of the same architecture (its own weights are not used), and the likelihood.
        networks: S modules or state dictionaries.
        latents: Values of the likelihood's unknowns by site name, one for all networks or ``(S, ...)``:
            ``{"noise_scale": 0.3}``.
        x: Training inputs, if the model standardises; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Training targets.

    Returns:
        A posterior of S draws in the order of the networks.

    Raises:
        TypeError: If the model is not ours, or ``networks`` is no sequence of modules or state dictionaries.
        ValueError: If a network is not of the model's architecture, a latent is missing, or the data are.

    Example:
        >>> from bayesnn import likelihoods
        >>> trained = [nn.Linear(2, 3) for _ in range(5)]
        >>> model = BayesianNeuralNetwork(trained[0], likelihood=likelihoods.categorical, standardise=False)
        >>> from_networks(model, trained)(torch.zeros(4, 2)).probs.shape
        torch.Size([4, 3])
    """
    if isinstance(networks, nn.Module | Mapping) or not isinstance(networks, Sequence):
        raise TypeError(
            f"networks must be a list of modules or state dictionaries; got {type(networks).__name__}. One network? "
            "Pass [network]."
        )
    if not networks:
        raise ValueError("networks must hold one network at least; got none.")
    known = copy.deepcopy(model)
    if x is not None or not isinstance(model, BayesianNeuralNetwork):
        known, _, _ = prepared(model, x, y, None, trains=False)
    elif model.standardise and model.num_data is None:
        raise ValueError(
            "a model that standardises must know the data's units; got no data. Pass x= and y=, the training data, if "
            "the networks were trained on standardised data, or write standardise=False if on raw data."
        )
    wanted = known.network.state_dict()
    states = [_state(network, number, wanted) for number, network in enumerate(networks)]
    weights = {
        name: torch.stack([state[name].to(own.device, own.dtype) for state in states]) for name, own in wanted.items()
    }
    drawn = {name: weights[name] for name in (*known.priors(), *dict(known.network.named_buffers())) if name in weights}
    return WeightPosterior(known, drawn | _latents(known, latents or {}, len(states)), "trained")


def _state(network: object, number: int, wanted: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Parameters and buffers of one network, if they are those of the model's."""
    if not isinstance(network, nn.Module | Mapping):
        raise TypeError(f"networks must be modules or state dictionaries; number {number} is {network!r}.")
    state = network.state_dict() if isinstance(network, nn.Module) else network
    odd = [name for name in {**wanted, **state} if name not in wanted or name not in state]
    if odd:
        raise ValueError(
            f"every network must have the names of the model's own; number {number} is of another architecture: "
            f"{', '.join(map(repr, odd))} on one side only. Build the model from a network of the same class."
        )
    for name, own in wanted.items():
        if not isinstance(state[name], Tensor):
            raise TypeError(
                f"a state dictionary must hold tensors; {name!r} of number {number} is {state[name]!r}. Pass "
                "network.state_dict()."
            )
        if state[name].shape != own.shape:
            raise ValueError(
                f"every network must have the shapes of the model's own; number {number} is of another architecture: "
                f"{name!r} is {tuple(state[name].shape)}, not {tuple(own.shape)}. Build the model from a network of "
                "the same sizes."
            )
    return state


def _latents(model: BayesianNeuralNetwork, given: Mapping[str, Any], number: int) -> dict[str, Tensor]:
    """Values ``(S, *shape)`` of the likelihood's unknowns."""
    priors = model.latents()
    if not isinstance(given, Mapping):
        raise TypeError(
            f"latents must be a dictionary of values by site name; got {given!r}. Write latents={{'noise_scale': 0.3}}."
        )
    if given.keys() != priors.keys():
        raise ValueError(
            f"latents must give the likelihood's unknowns, {', '.join(priors) or 'of which it has none'}; got "
            f"{', '.join(map(str, given)) or 'none'}. Write latents={{'noise_scale': 0.3}}, or take a likelihood that "
            "knows its noise, likelihoods.gaussian.with_noise(0.3)."
        )
    values = {}
    for name, prior in priors.items():
        shape = prior.batch_shape + prior.event_shape
        value = _number(name, given[name], model.dtype).to(model.device)
        fits = value.shape in (torch.Size(()), shape, (number, *shape))
        if not fits or not bool(prior.support.check(value.expand(number, *shape)).all()):
            found = f" with values from {float(value.min()):.4g}" if value.numel() else ""
            raise ValueError(
                f"{name} must be of shape {tuple(shape)} or {(number, *shape)} and in its prior's support; got "
                f"{tuple(value.shape)}{found}. Write one number for all networks, or one for each."
            )
        values[name] = value.expand(number, *shape).clone()
    return values


def _number(name: str, value: Any, dtype: torch.dtype) -> Tensor:
    """A latent's values as a tensor."""
    try:
        return torch.as_tensor(value, dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name} must be a number, or a tensor or list of them; got {value!r} ({error}). Write "
            f"latents={{{name!r}: 0.3}}."
        ) from error
