"""Several networks of one architecture at once: their layers as batched matrix products."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bayesnn.masks import Mask

__all__ = ["Stacked", "is_touched", "same"]

Weights = Mapping[str, Tensor]


class _Layer(NamedTuple):
    """One layer.

    Attributes:
        run: ``(weights, x, has draws) -> (outputs, have draws)``: whether an axis for the draws is in front.
        names: The weights it uses.
        width: Numbers that it makes of each row along its last axis; 0 if as many as it was given.
        is_mask: Whether it is a mask, which the linear layer behind it takes into its weights.
    """

    run: Callable[[Weights, Tensor, bool], tuple[Tensor, bool]]
    names: tuple[str, ...] = ()
    width: int = 0
    is_mask: bool = False


_NUMBER_BY_NUMBER = {
    nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Softsign, nn.LogSigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Tanhshrink, nn.Identity,
}  # fmt: skip

_MANY_ROWS, _SMALL = 16, 64
"""Rows from which, and width up to which, a layer's outputs lie unit by unit in memory, not row by row: quicker so."""


class Stacked:
    """A sequence of linear layers, activations, normalisations and masks, run at many draws of its weights at once.

    What does not depend on the draw is computed once: a weight that is the same for all draws (expanded along their
    axis) multiplies the inputs of all of them in one product, and layers in front of the first that differs see each
    input once.

    Args:
        layers: What is run, in order.

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        >>> draws = {name: torch.randn(20, *value.shape) for name, value in network.named_parameters()}
        >>> Stacked.of(network)(draws, torch.zeros(5, 3)).shape
        torch.Size([20, 5, 1])
    """

    def __init__(self, layers: list[_Layer]) -> None:
        self._layers = layers

    @staticmethod
    def of(network: nn.Module) -> Stacked | None:
        """The network in this form; ``None`` if it has layers, or an order, of another kind.

        Layers stand for their ``eval`` mode.
        """
        layers: list[_Layer] = []
        names = {id(value): name for name, value in network.named_parameters()}  # of tied ones, the first
        return Stacked(layers) if _add(layers, network, "", names) else None

    def __call__(self, weights: Weights, x: Tensor, *, each_its_own: bool = False) -> Tensor:
        """Outputs ``(S, N, K)``.

        Args:
            weights: Parameters, and masks, by name: ``(S, *shape)`` each.
            x: Inputs ``(N, ...)``, or ``(S, N, ...)`` with ``each_its_own``.
            each_its_own: Whether each draw has inputs of its own.
        """
        x, has_draws = _run(self._layers, weights, x, each_its_own)
        return x if has_draws else x.expand(len(next(iter(weights.values()))), *x.shape)

    @property
    def widest(self) -> int:
        """Most numbers that a layer makes of a row."""
        return max((layer.width for layer in self._layers), default=1)

    def split(self, weights: Weights) -> tuple[Callable[[Weights, Tensor], Tensor], Stacked]:
        """What is the same at all draws, as a function of weights and inputs, and the layers behind."""
        end = 0
        while end < len(self._layers) and all(same(weights[name]) for name in self._layers[end].names):
            end += 1
        first, rest = self._layers[:end], Stacked(self._layers[end:])
        return lambda weights, x: _run(first, weights, x, False)[0], rest


def _run(layers: list[_Layer], weights: Weights, x: Tensor, has_draws: bool) -> tuple[Tensor, bool]:
    for layer in layers:
        x, has_draws = layer.run(weights, x, has_draws)
    return x, has_draws


def _add(layers: list[_Layer], module: nn.Module, path: str, names_of: Mapping[int, str]) -> bool:
    """Append what a module does; whether that could be told."""
    kind = type(module)
    if is_touched(module):
        return False
    if isinstance(module, nn.Sequential) and kind.forward is nn.Sequential.forward:
        # `named_children` would leave out a layer that comes twice.
        return all(_add(layers, part, f"{path}{name}.", names_of) for name, part in module._modules.items() if part)
    own = {name: names_of[id(value)] for name, value in module.named_parameters(recurse=False)}
    names = tuple(own.values())
    if any(name in module._buffers for name in ("weight", "bias")):  # held still, and no site
        return False
    if isinstance(module, nn.Linear) and kind is nn.Linear:
        run = partial(_linear, own["weight"], own.get("bias"))
        if layers and layers[-1].is_mask:
            mask = layers.pop().names
            run, names = partial(_masked_linear, mask[0], own["weight"], own.get("bias")), (*mask, *names)
        layers.append(_Layer(run, names, module.out_features))
    elif isinstance(module, nn.Flatten) and kind is nn.Flatten and module.start_dim >= 1:
        layers.append(_Layer(partial(_flatten, module.start_dim, module.end_dim)))
    elif isinstance(module, nn.LayerNorm) and kind is nn.LayerNorm:
        layers.append(_Layer(partial(_layer_norm, own, module.normalized_shape, module.eps), names))
    elif kind is Mask:
        layers.append(_Layer(partial(_mask, f"{path}mask"), (f"{path}mask",), is_mask=True))
    elif kind is nn.ReLU and layers and layers[-1].width:  # a linear layer's outputs, which nobody else reads
        layers.append(_Layer(_relu))
    elif kind in _NUMBER_BY_NUMBER:
        activation: Any = copy.copy(module)
        if hasattr(activation, "inplace"):  # it would overwrite inputs that others read
            activation.inplace = False
        layers.append(_Layer(partial(_number_by_number, activation)))
    else:  # dropout layers do nothing in eval mode
        return kind is nn.Dropout
    return True


def is_touched(module: nn.Module) -> bool:
    """Whether a module's call is not what its class says: of hooks, or of a ``forward`` of its own."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks) or "forward" in vars(module)


def _linear(weight: str, bias: str | None, weights: Weights, x: Tensor, has_draws: bool) -> tuple[Tensor, bool]:
    w, b = weights[weight], None if bias is None else weights[bias]
    if same(w) and (b is None or same(b)):
        return F.linear(x, w[0], None if b is None else b[0]), has_draws
    num_draws, width, depth = w.shape
    if x.shape[-1] != depth:  # or rows of another width would be cut anew below
        raise RuntimeError(f"{x.shape[-1]} numbers of a row meet the {depth} weights of a unit of {weight!r}")
    shape = x.shape[1:-1] if has_draws else x.shape[:-1]
    rows = x.reshape(*([num_draws] if has_draws else []), -1, depth)
    if not has_draws:  # all draws read the same rows: one product
        units, biases = w.reshape(num_draws * width, depth), None if b is None else b.reshape(-1)
        if len(rows) >= _MANY_ROWS and max(width, depth) <= _SMALL:
            found = units @ rows.mT if biases is None else torch.addmm(biases[:, None], units, rows.mT)
            found = found.view(num_draws, width, -1).mT
        else:
            found = F.linear(rows, units, biases).view(-1, num_draws, width).transpose(0, 1)
    elif rows.stride(1) == 1 != rows.stride(2) and rows.shape[1] > 1:  # a unit's outputs side by side, as above
        found = (w @ rows.mT if b is None else torch.baddbmm(b[..., None], w, rows.mT)).mT
    else:
        found = torch.bmm(rows, w.mT) if b is None else torch.baddbmm(b[:, None], rows, w.mT)
    return found.reshape(num_draws, *shape, width) if len(shape) > 1 else found, True


def _masked_linear(
    mask: str, weight: str, bias: str | None, weights: Weights, x: Tensor, has_draws: bool
) -> tuple[Tensor, bool]:
    """A linear layer of masked inputs. Of inputs that are the same at all draws the weights are masked, not they."""
    kept, w = weights[mask], weights[weight]
    if has_draws or same(kept) or kept.ndim > 2 or x.shape[:-1].numel() < w.shape[1]:
        return _linear(weight, bias, weights, *_mask(mask, weights, x, has_draws))
    return _linear(weight, bias, {**weights, weight: w * kept[:, None]}, x, False)


def _flatten(start: int, end: int, weights: Weights, x: Tensor, has_draws: bool) -> tuple[Tensor, bool]:
    return x.flatten(start + has_draws, end + has_draws if end >= 0 else end), has_draws


def _layer_norm(
    own: Mapping[str, str], shape: Sequence[int], eps: float, weights: Weights, x: Tensor, has_draws: bool
) -> tuple[Tensor, bool]:
    x = F.layer_norm(x, tuple(shape), eps=eps)
    for kind, name in own.items():
        value = weights[name]
        x, has_draws = _beside(x, has_draws, value)
        value = value[0] if same(value) else value.view(len(value), *[1] * (x.ndim - value.ndim), *value.shape[1:])
        x = x * value if kind == "weight" else x + value
    return x, has_draws


def _mask(name: str, weights: Weights, x: Tensor, has_draws: bool) -> tuple[Tensor, bool]:
    mask = weights[name]
    x, has_draws = _beside(x, has_draws, mask)
    return x * (mask[0] if same(mask) else mask[:, None]), has_draws


def _number_by_number(module: nn.Module, weights: Weights, x: Tensor, has_draws: bool) -> tuple[Tensor, bool]:
    return module(x), has_draws


def _relu(weights: Weights, x: Tensor, has_draws: bool) -> tuple[Tensor, bool]:
    return F.relu(x, inplace=not x.requires_grad), has_draws


def same(values: Tensor) -> bool:
    """Whether all draws share one value."""
    return values.stride(0) == 0 or len(values) == 1


def _beside(x: Tensor, has_draws: bool, values: Tensor) -> tuple[Tensor, bool]:
    """``x`` with an axis for the draws if the values differ between them."""
    return (x, has_draws) if has_draws or same(values) else (x[None], True)
