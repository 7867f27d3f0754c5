"""Plain torch networks to start from: ``nn.Sequential``s without anything Bayesian in them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from operator import index
from typing import Any

from torch import nn

__all__ = ["conv_net", "mlp"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def mlp(
    num_inputs: int | Sequence[int],
    num_outputs: int,
    *,
    hidden: Sequence[int] | int = (50,),
    activation: str = "relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """A multilayer perceptron; pictures are flattened.

    Args:
        num_inputs: Number of features, or the shape of one input, ``(8, 8)``.
        num_outputs: Number of outputs K.
        hidden: Widths of the hidden layers, or of the only one; ``()`` makes a linear model.
        activation: ``"relu"``, ``"silu"``, ``"tanh"`` or ``"gelu"``.
        dropout: Rate of an ``nn.Dropout`` in front of each linear layer, the first one too; 0 for none. Only
            `bayesnn.fit_dropout` uses it.

    Returns:
        A network from ``(N, num_inputs)`` (or ``(N, 8, 8)``) to ``(N, num_outputs)``. Its linear layers start from
        torch's own initialisation under the current seed.

    Raises:
        TypeError: If a number of units is no whole number.
        ValueError: If one is below 1, there is no such activation, or ``dropout`` is no rate.

    Example:
        >>> import torch
        >>> mlp(3, 1, hidden=(20, 20))(torch.zeros(5, 3)).shape
        torch.Size([5, 1])
    """
    shape = _counts("num_inputs", num_inputs)
    widths = [math.prod(shape), *_counts("hidden", hidden), *_counts("num_outputs", [num_outputs])]
    if min(widths) < 1:
        raise ValueError(f"every layer needs one unit at least; got widths {widths}.")
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(_ACTIVATIONS)}; got {activation!r}.")
    _check_rate(dropout)
    layers: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Dropout(dropout)] if dropout else []
        layers += [nn.Linear(fan_in, fan_out), _ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def conv_net(
    shape: Sequence[int], num_outputs: int, *, channels: Sequence[int] = (16, 32), dropout: float = 0.0
) -> nn.Sequential:
    """A small convolutional network: 3x3 convolutions with pooling, then one linear layer.

    Args:
        shape: Shape of one input, ``(H, W)`` or ``(C, H, W)``.
        num_outputs: Number of outputs K.
        channels: Channels of each convolution; each halves height and width.
        dropout: Rate of an ``nn.Dropout`` in front of the linear layer; 0 for none. Only `bayesnn.fit_dropout` uses it.

    Returns:
        A network from ``(N, *shape)`` to ``(N, num_outputs)``.

    Example:
        >>> import torch
        >>> conv_net((8, 8), 10)(torch.zeros(5, 8, 8)).shape
        torch.Size([5, 10])
    """
    _check_rate(dropout)
    if not channels:
        raise ValueError("a convolutional network needs one convolution at least; got channels=().")
    if len(shape) not in (2, 3):
        raise ValueError(f"shape must be (H, W) or (C, H, W); got {tuple(shape)}.")
    depth, height, width = (1, *shape) if len(shape) == 2 else shape
    layers: list[nn.Module] = [nn.Unflatten(1, (1, height))] if len(shape) == 2 else []
    for fan_in, fan_out in pairwise((depth, *channels)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    shrink = 2 ** len(channels)
    if height < shrink or width < shrink:
        raise ValueError(f"{len(channels)} poolings need pictures of {shrink} x {shrink} at least; got {tuple(shape)}.")
    last = channels[-1] * (height // shrink) * (width // shrink)
    noise = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Flatten(), *noise, nn.Linear(last, num_outputs))


def _counts(name: str, values: Any) -> list[int]:
    """Whole numbers, one or several, as a list."""
    try:
        several = isinstance(values, Iterable) and getattr(values, "ndim", 1) > 0  # a tensor's number is iterable too
        return [index(value) for value in (values if several else [values])]
    except TypeError as error:
        form = {"num_inputs": "a whole number or a shape of them", "hidden": "whole numbers"}
        example = {"num_inputs": "3 or (8, 8)", "hidden": "hidden=(50,)", "num_outputs": "1 for one target"}
        came = values[0] if name == "num_outputs" else values
        raise TypeError(
            f"{name} must be {form.get(name, 'a whole number')}; got {came!r}. Write {example[name]}."
        ) from error


def _check_rate(dropout: float) -> None:
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be a rate from 0 up to 1; got {dropout}.")
