"""A model at other starts: its network's weights given or drawn anew, its priors as they were."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor, nn

from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import Prior
from bayesnn.seeding import seeded

__all__ = ["restarts", "started_at"]

_ANOTHER = 10**9 + 7
"""What is added to a seed that gives the weights there are. (torch reads 32 bits of a seed.)"""


def started_at(
    model: BayesianNeuralNetwork, starts: Sequence[Mapping[str, Tensor] | nn.Module]
) -> list[BayesianNeuralNetwork]:
    """The model with the weights of each start: of a network, or by name.

    Raises:
        TypeError: If a start is neither.
        ValueError: If its weights are not those of the model's network.
    """
    members = []
    for m, start in enumerate(starts):
        values = dict(start.named_parameters()) if isinstance(start, nn.Module) else start
        own = model.start()
        if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
            raise TypeError(f"each of starts must be a network, or its parameters by name; start {m} is {values!r}.")
        if values.keys() != own.keys() or any(values[name].shape != own[name].shape for name in own):
            raise ValueError(
                f"starts must name the network's parameters, with their shapes; start {m} does not: "
                f"{', '.join(sorted(values.keys() ^ own.keys())) or 'a shape differs'}."
            )
        one = _with_priors_of(model)
        with torch.no_grad():
            for name, parameter in one.network.named_parameters():
                parameter.copy_(values[name])
        members.append(one)
    return members


def restarts(model: BayesianNeuralNetwork, number: int, seed: int, advice: str) -> list[BayesianNeuralNetwork]:
    """The model as it is, and with its network's weights drawn anew.

    Args:
        model: The first.
        number: How many in all.
        seed: The m-th one's is ``seed + m``, counted from 0.
        advice: What to pass where a layer cannot start anew, for the message.

    Raises:
        ValueError: If a layer cannot start anew.
    """
    return [model] + [_restarted(model, seed + m, advice) for m in range(1, number)]


@torch.no_grad()
def _restarted(model: BayesianNeuralNetwork, seed: int, advice: str) -> BayesianNeuralNetwork:
    """The model with its network's weights drawn anew."""
    fresh, left = _with_priors_of(model), ""
    for own in (seed, seed + _ANOTHER):  # the network itself may have been drawn under the same seed
        with seeded(own, model.device):
            left = _reset(fresh.network, advice)
        if not left:
            return fresh
    raise ValueError(
        f"reset_parameters() must draw a layer's weights anew; {left} has the same as before. Pass {advice}."
    )


def _reset(network: nn.Module, advice: str) -> str:
    """Let all layers draw their weights anew; which one did not, or nothing."""
    left = ""
    for name, module in network.named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        what = f"{name or 'the network'!r}, {type(module).__name__},"
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is None:
            raise ValueError(
                f"every layer with weights must have reset_parameters() to start anew; {what} has none. Give it one, "
                f"or pass {advice}."
            )
        before = [value.clone() for value in module.parameters(recurse=False) if value.ndim > 1]
        reset()
        # A spectral norm in old style draws the weight that it works out, and not the one that is fitted.
        if before and all(map(torch.equal, before, [v for v in module.parameters(recurse=False) if v.ndim > 1])):
            left = what
    return left


def _with_priors_of(model: BayesianNeuralNetwork) -> BayesianNeuralNetwork:
    """A copy whose priors stay those of the model's own weights, where they are built from them."""
    one = copy.deepcopy(model)
    one.prior = PriorAt(one.prior, {name: value.clone() for name, value in one.network.named_parameters()})
    return one


@dataclass(frozen=True)
class PriorAt:
    """A prior built from given values of the weights, whatever the weights are."""

    prior: Prior
    values: Mapping[str, Tensor]

    def __call__(self, name: str, value: Tensor) -> Distribution:
        """The prior of one parameter."""
        return self.prior(name, self.values[name].to(value) if name in self.values else value)
