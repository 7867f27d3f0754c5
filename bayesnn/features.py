"""Body: a network up to its last linear layer, as a function from inputs to features."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bayesnn.calls import call
from bayesnn.seeding import seeded

__all__ = ["Body", "body_of"]

_ROWS_AT_ONCE = 1000
_PROBES = (1.0, 1.0, 1e4)
"""Sizes of random layers put in the place of the last one, to see that the outputs are its outputs, however large."""


@dataclass(frozen=True, eq=False)
class Body:
    r"""A network up to its last linear layer: :math:`\phi` in :math:`f(x) = W \phi(x) + b`.

    The network is not rewritten: it runs as it is, and what enters its last layer is caught there.

    Attributes:
        network: The network, in ``eval`` mode, its own copy.
        layer: Name of its last layer; empty where the network is that layer.
    """

    network: nn.Module
    layer: str

    @property
    def head(self) -> nn.Linear:
        """The last layer."""
        return self.network.get_submodule(self.layer)  # type: ignore[return-value]

    @property
    def names(self) -> list[str]:
        """Names of the last layer's parameters in the network: the weight, and the bias if it has one."""
        return [f"{self.layer}.{name}".lstrip(".") for name, _ in self.head.named_parameters(recurse=False)]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Features ``(N, H)`` of inputs ``(N, ...)``, computed in chunks."""
        return torch.cat([self.run(part, {})[0] for part in x.split(_ROWS_AT_ONCE)])

    def outputs(self, features: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """Outputs ``(S, N, K)`` of S last layers, each parameter ``(S, *shape)`` by its name in the network."""
        values = [weights[name] for name in self.names]
        outputs = features @ values[0].mT
        return outputs + values[1].unsqueeze(-2) if len(values) > 1 else outputs

    def to(self, device: torch.device) -> Body:
        """The same on another device."""
        return Body(copy.deepcopy(self.network).to(device), self.layer)

    def run(self, x: Tensor, weights: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Features and outputs, with some parameters replaced."""
        caught: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
        try:
            outputs = call(self.network, weights, x.clone())  # it may overwrite its inputs
        finally:
            hook.remove()
        return caught[-1], outputs


@torch.no_grad()
def body_of(network: nn.Module, x: Tensor, weights: Mapping[str, Tensor] | None = None) -> Body:
    """Split a network whose outputs are those of its last ``nn.Linear``.

    Args:
        network: Maps ``(N, ...)`` to ``(N, K)``. It is copied, never changed.
        x: A few inputs, as the network sees them.
        weights: Parameters by name to put into the copy.

    Returns:
        The body; its ``layer`` is the last layer's name, its ``head`` the layer.

    Raises:
        ValueError: If the outputs are not those of a linear layer, or that layer does something else besides.

    Example:
        >>> body = body_of(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)), torch.zeros(2, 3))
        >>> body.layer, body(torch.zeros(4, 3)).shape
        ('2', torch.Size([4, 5]))
    """
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for name, value in network.named_parameters():
        if weights is not None and name in weights:
            value.copy_(weights[name])
    order = _linear_layers(network, x)
    if not order:
        raise ValueError(
            "the network must end with an nn.Linear layer for a Bayesian last layer; it runs none. Put one at its end, "
            "or use a method for all weights, fit_svi."
        )
    body = Body(network, order[-1])
    features, _ = body.run(x, {})
    own = dict(network.named_parameters())
    if order.count(body.layer) > 1 or not all(name in own for name in body.names) or not body.names:
        raise ValueError(
            f"the last layer must have weights of its own and be used once in a forward pass; {body.layer!r} is used "
            "again, or shares its weights with another. Make one nn.Linear for the end."
        )
    with seeded(0, x.device):
        for scale in _PROBES:
            weights = {name: scale * torch.randn_like(own[name]) for name in body.names}
            same, moved = body.run(x, weights)
            if not torch.equal(same, features):
                raise ValueError(
                    f"the last layer must have weights of its own; what enters {body.layer!r} depends on them. Make "
                    "one nn.Linear for the end."
                )
            wanted = F.linear(features, *(weights[name] for name in body.names))
            if moved.shape != wanted.shape or not torch.allclose(moved / scale, wanted / scale, rtol=1e-3, atol=1e-4):
                raise ValueError(
                    f"the network's outputs must be those of its last linear layer, {body.layer!r}; something comes "
                    "after it. Leave out a softmax, sigmoid or other function at the end: the likelihood has it."
                )
    return body


def _linear_layers(network: nn.Module, x: Tensor) -> list[str]:
    """Names of the linear layers in the order in which they run."""
    order: list[str] = []

    def note(name: str) -> Any:
        return lambda module, inputs: order.append(name)

    hooks = [
        module.register_forward_pre_hook(note(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        network(x.clone())
    finally:
        for hook in hooks:
            hook.remove()
    return order
