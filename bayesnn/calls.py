"""Calls of a network at other weights than its own, which leave no tensor behind in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["call"]


def call(network: nn.Module, values: Mapping[str, Tensor], *inputs: Any) -> Any:
    """What a network answers at these parameters and buffers; afterwards its own are as they were.

    A weight that several modules share has the value of the first of its names; ``functional_call`` finds them by
    itself too, but leaves the last value behind where one module has two places in a network. Tensors that a module
    keeps of a call, ``self.features = ...``, go with it: those of a vectorised one could be neither saved nor copied.

    Args:
        network: The network.
        values: Parameters and buffers by name; others stay as they are.
        *inputs: What it is called with.

    Example:
        >>> import torch
        >>> layer = nn.Linear(2, 1)
        >>> call(layer, {"weight": torch.zeros(1, 2), "bias": torch.ones(1)}, torch.ones(1, 2))
        tensor([[1.]])
    """
    before = [(vars(module), vars(module).copy()) for module in network.modules()]
    try:
        return functional_call(network, {**values, **_shared(network, values)}, inputs, tie_weights=False)
    finally:
        for now, kept in before:
            for name in [name for name, value in now.items() if kept.get(name) is not value and _has_tensor(value)]:
                now.pop(name)
                now.update({name: kept[name]} if name in kept else {})


def _has_tensor(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    return isinstance(value, Tensor) or (isinstance(value, list | tuple) and any(map(_has_tensor, value)))


def _shared(network: nn.Module, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values of what other modules hold too, by those modules' names."""
    first: dict[int, str] = {}
    found = {}
    for path, module in network.named_modules():  # each module once, whatever its places
        for own, held in (*module._parameters.items(), *module._buffers.items()):
            if held is not None:
                name = f"{path}.{own}" if path else own
                known = first.setdefault(id(held), name)
                if known != name and known in values and name not in values:
                    found[name] = values[known]
    return found
