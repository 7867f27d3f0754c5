"""WrittenOut: a multilayer perceptron's forward and backward pass, written out.

Of a small network most of a step's time goes into autograd's bookkeeping, not into arithmetic. What is here computes
the same numbers by the same products, without it: with noise drawn for each datum (local reparameterisation, see
`bayesnn.reparameterisation`), or without noise, of one network or of several side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bayesnn.masks import Mask
from bayesnn.noise_table import NoiseTable
from bayesnn.reparameterisation import SMALLEST_VARIANCE
from bayesnn.stacked import is_touched

__all__ = ["Variances", "WrittenOut"]

_aten = torch.ops.aten


class Variances(NamedTuple):
    """Variances of weights and where their gradients go, by name.

    Attributes:
        values: Variances, read in every pass; a bias's is to be above zero.
        slopes: Where twice the gradient by the variance is added.
    """

    values: Mapping[str, Tensor]
    slopes: Mapping[str, Tensor]


class _Activation(NamedTuple):
    """A function of single numbers.

    Attributes:
        run: Its values.
        slope: ``(gradient by its values, its argument, its values) -> gradient by its argument``.
    """

    run: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor, Tensor, Tensor], Tensor]


def _of_gelu(module: nn.GELU) -> _Activation:
    how = module.approximate
    run = partial(F.gelu, approximate=how)
    return _Activation(run, lambda by, x, out: _aten.gelu_backward.default(by, x, approximate=how))


_ACTIVATIONS: dict[type, Callable[..., _Activation]] = {
    nn.ReLU: lambda module: _Activation(torch.relu, lambda by, x, out: _aten.threshold_backward.default(by, out, 0)),
    nn.Tanh: lambda module: _Activation(torch.tanh, lambda by, x, out: _aten.tanh_backward.default(by, out)),
    nn.Sigmoid: lambda module: _Activation(torch.sigmoid, lambda by, x, out: _aten.sigmoid_backward.default(by, out)),
    nn.SiLU: lambda module: _Activation(F.silu, lambda by, x, out: _aten.silu_backward.default(by, x)),
    nn.GELU: _of_gelu,
}


class _Affine:
    """Products with a weight and a bias, of one network or of several, and the gradients by both.

    Args:
        values: Weight and, if there is one, bias.
        slopes: Where the gradients by them are added.
    """

    def __init__(self, values: Sequence[Tensor], slopes: Sequence[Tensor]) -> None:
        self.weight, *biases = values
        self._slope, *self._bias_slopes = slopes
        self._turned = self.weight.transpose(-2, -1)
        self._alone, self._ones = self.weight.ndim == 2, self.weight.new_empty(0)
        self._bias = (biases[0] if self._alone else biases[0].unsqueeze(1)) if biases else None

    @property
    def has_bias(self) -> bool:
        """Whether something is added to the products."""
        return self._bias is not None

    def run(self, x: Tensor) -> Tensor:
        """The outputs."""
        if self._bias is None:
            return x @ self._turned
        return (torch.addmm if self._alone else torch.baddbmm)(self._bias, x, self._turned)

    def add_slopes(self, by: Tensor, x: Tensor) -> None:
        """Add the gradients in their places, given that by the outputs and the inputs."""
        turned = by.transpose(-2, -1)
        if not self._alone:
            self._slope.baddbmm_(turned, x)
            for slope in self._bias_slopes:
                slope.add_(by.sum(-2))
            return
        self._slope.addmm_(turned, x)
        if len(self._ones) != len(by):
            self._ones = by.new_ones(len(by))
        for slope in self._bias_slopes:
            slope.addmv_(turned, self._ones)  # the sum over rows, in one call instead of two


class _Layer:
    """A linear layer, the mask in front of it and the activation behind it."""

    def __init__(
        self,
        values: Mapping[str, Tensor],
        slopes: Mapping[str, Tensor],
        variances: Variances | None,
        path: str,
        mask: Mask | None,
    ) -> None:
        names = [name for part in ("weight", "bias") if (name := f"{path}.{part}") in values]
        self._mask, self.activation = mask, cast("_Activation | None", None)
        self._mean = _Affine([values[name] for name in names], [slopes[name] for name in names])
        self._spread: _Affine | None = None
        self._noise = NoiseTable(self._mean.weight)
        if variances is not None:
            self._spread = _Affine([variances.values[n] for n in names], [variances.slopes[n] for n in names])

    def run(self, x: Tensor) -> Tensor:
        """The outputs; what the way back needs is kept."""
        if self._mask is not None:
            self._kept = self._mask.fresh(x)
            x = x * self._kept
        self._x = x
        out = self._mean.run(x)
        if self._spread is not None:
            self._squares = x * x
            variance = self._spread.run(self._squares)
            spread = (variance if self._spread.has_bias else variance.clamp_min_(SMALLEST_VARIANCE)).sqrt_()
            noise = self._noise(out.shape)
            out.addcmul_(noise, spread)
            self._noise_over_spread = torch.div(noise, spread, out=spread)
        if self.activation is None:
            return out
        self._before, self._after = out, self.activation.run(out)
        return self._after

    def back(self, by: Tensor, by_x: bool = True) -> Tensor:
        """Add the parameters' gradients in their places, given that by the outputs; that by the inputs, if of use."""
        if self.activation is not None:
            by = self.activation.slope(by, self._before, self._after)
        self._mean.add_slopes(by, self._x)
        below = by @ self._mean.weight if by_x else by
        if self._spread is not None:
            by_spread = by * self._noise_over_spread  # twice the gradient by the variance
            self._spread.add_slopes(by_spread, self._squares)
            if by_x:
                below.addcmul_(self._x, by_spread @ self._spread.weight)
        return below if self._mask is None or not by_x else below.mul_(self._kept)


class WrittenOut:
    r"""A sequence of linear layers, activations and dropout, run and differentiated without autograd.

    With variances, each layer's outputs are drawn: :math:`h + \epsilon \sqrt{v}`, :math:`h = x \mu^T + b` and
    :math:`v = x^2 (\sigma^2)^T + \sigma_b^2`.

    Args:
        layers: The layers in order.
        is_flattened: Whether inputs are flattened first.
        axis: The first axis behind that of the rows: 2 where several networks have one in front, else 1.

    References:
        Kingma, Salimans and Welling (2015), Variational Dropout and the Local Reparameterization Trick,
        arXiv:1506.02557, equation 6.

    Example:
        >>> network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
        >>> values = {name: value.detach() for name, value in network.named_parameters()}
        >>> slopes = {name: torch.zeros_like(value) for name, value in values.items()}
        >>> passes = WrittenOut.of(network, torch.zeros(5, 3), values, slopes)
        >>> outputs = passes(torch.zeros(5, 3))
        >>> passes.backward(torch.ones_like(outputs))
        >>> slopes["2.bias"]
        tensor([5.])
    """

    def __init__(self, layers: Sequence[_Layer], is_flattened: bool, axis: int) -> None:
        self._layers, self._is_flattened, self._axis = list(layers), is_flattened, axis

    @classmethod
    def of(
        cls,
        network: nn.Module,
        x: Tensor,
        values: Mapping[str, Tensor],
        slopes: Mapping[str, Tensor],
        variances: Variances | None = None,
    ) -> WrittenOut | None:
        """The passes of a network, or ``None`` where it is none that can be written out.

        Args:
            network: A network; its own parameters are not read.
            x: Some of its inputs, without an axis for several networks.
            values: Its parameters by name, read in every pass; several networks' with an axis in front.
            slopes: Where the gradients by them are added.
            variances: Of all weights, for noise drawn for each datum.
        """
        if (
            type(network) is not nn.Sequential
            or any(map(is_touched, network.modules()))
            or torch.is_autocast_enabled(x.device.type)
        ):
            return None
        layers: list[_Layer] = []
        is_flattened, used, mask = False, [], None
        known = values.keys() if variances is None else values.keys() & variances.values.keys()
        for path, module in network._modules.items():  # `named_children` leaves out what comes twice
            if type(module) is nn.Flatten and not (layers or mask) and (module.start_dim, module.end_dim) == (1, -1):
                is_flattened = True
            elif type(module) is nn.Linear:
                held = [name for name in ("weight", "bias") if getattr(module, name) is not None]
                names = [f"{path}.{name}" for name in held]
                if not known >= set(names):
                    return None
                used += names
                layers.append(_Layer(values, slopes, variances, path, mask))
                mask = None
            elif type(module) is Mask and mask is None and _is_fresh(module):
                mask = module
            elif type(module) in _ACTIVATIONS and mask is None and layers and layers[-1].activation is None:
                layers[-1].activation = _ACTIVATIONS[type(module)](module)
            elif type(module) is not nn.Identity:
                return None
        fits = x.is_floating_point() and (x.ndim == 2 or (is_flattened and x.ndim > 2))
        if mask is not None or not (layers and fits and set(used) == values.keys()):
            return None
        first = values[used[0]]
        return cls(layers, is_flattened, first.ndim - 1)

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs ``(B, K)`` of inputs ``(B, ...)``, each with an axis for several networks in front."""
        if self._is_flattened:
            x = x.flatten(self._axis)
        for layer in self._layers:
            x = layer.run(x)
        return x

    def backward(self, slope: Tensor) -> None:
        """Add the gradients of all parameters in their places, given that by the last pass's outputs."""
        for layer in self._layers[:0:-1]:
            slope = layer.back(slope)
        self._layers[0].back(slope, by_x=False)


def _is_fresh(mask: Mask) -> bool:
    """Whether a mask is drawn for each datum, one value for each number, at a rate that is known."""
    return mask.training and mask.logit is None and not mask.channels
