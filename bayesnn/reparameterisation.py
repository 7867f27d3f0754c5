"""Low-variance noise for the weights of linear and convolutional layers.

A weight drawn once for a minibatch gives all its data the same noise, and their gradients the same error. Drawing each
datum's noise for itself leaves the expected log-likelihood of the minibatch as it is, a sum over data, and lowers the
gradient's variance. Two ways, both exact for every datum:

- *Local reparameterisation*, where a layer maps one row per datum: with weights ``N(mu, sigma^2)`` its outputs are
  normal with mean ``x mu^T`` and variance ``x^2 (sigma^2)^T``, and are drawn themselves.
- *Flipout*, for convolutions and for linear layers over more axes: the shared perturbation's signs are flipped for each
  datum by a random vector on the inputs and one on the outputs, which leaves its distribution as it is.

The network is not rewritten: while the mode is on, calls of ``F.linear`` and ``F.conv*d`` with a sampled weight are
answered in its place. `draw_in_layers` does the same to the layers of a network that is one's own, and costs no time in
the calls of all other functions.

References:
    Kingma, Salimans and Welling (2015), Variational Dropout and the Local Reparameterization Trick, arXiv:1506.02557,
    equation 6. Wen et al. (2018), Flipout, arXiv:1803.04386, equations 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["Noise", "PerDatumNoise", "draw_in_layers", "draws_at_once", "local_sites"]

_CONVOLUTIONS = {F.conv1d, F.conv2d, F.conv3d}
_LAYERS = {nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d}
_CONVOLUTIONS_AT_ONCE = 4
"""Draws in a pass of a network with convolutions: 16 at once took twice the time of four times 4."""

SMALLEST_VARIANCE = 1e-16
"""Keeps the square root's gradient finite where all inputs of a unit are zero."""


_VIEWS = {"T", "mT", "H", "mH", "data", "real"}
"""Attributes of a tensor that use its values; others, ``shape`` or ``device``, do not."""


class Noise(NamedTuple):
    """The normal a site was drawn from: independent along its columns, or along given axes of its rows.

    Attributes:
        loc: Mean, along the axes.
        scale: Standard deviation, along the axes.
        axes: Orthogonal matrix whose columns are the axes, or ``None`` for the columns themselves.
    """

    loc: Tensor
    scale: Tensor
    axes: Tensor | None = None


class PerDatumNoise(TorchFunctionMode):
    """While on, linear and convolutional layers draw their weights' noise for each datum.

    Args:
        values: Sampled weights by site name, as the network will be handed them.
        noise: The normals they were drawn from, of the sites to treat so (those from `local_sites`).
    """

    def __init__(self, values: Mapping[str, Tensor], noise: Mapping[str, Noise]) -> None:
        super().__init__()
        self._noise_of = {id(values[name]): normal for name, normal in noise.items()}

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer a layer's call; pass all others on."""
        kwargs = kwargs or {}
        if func is F.linear or func in _CONVOLUTIONS:
            x, weight, bias, rest, options = _layer_arguments(args, kwargs)
            noise = self._noise_of.get(id(weight))
            if noise is not None:
                bias_noise = self._noise_of.get(id(bias)) if bias is not None else None
                if func is F.linear and x.ndim == 2:
                    return _local(x, noise, bias, bias_noise)
                if noise.axes is not None:  # flipped signs would not keep the correlations of its columns
                    return func(*args, **kwargs)
                return _flipout(
                    lambda a, w: func(a, w, None, *rest, **options), x, noise, bias, bias_noise, func is F.linear
                )
        return func(*args, **kwargs)


def draw_in_layers(network: nn.Module, noise: Mapping[str, Noise], few: Tensor) -> list[str]:
    """Let linear and convolutional layers of a network draw their weights' noise for each datum, in place.

    Args:
        network: A network whose parameters are the noise's means; it will not run otherwise again.
        noise: What the parameters are drawn from, of the sites to treat so (those from `local_sites`).
        few: Inputs of a run that tells which layers are called; others may be used by their weights alone.

    Returns:
        The sites that no such layer holds, for which the mode is needed.
    """
    # A layer whose ``forward`` is one of its own is left to the mode, which sees what it calls.
    own = [(path, module) for path, module in network.named_modules() if "forward" not in vars(module)]
    layers = {path: module for path, module in own if type(module) in _LAYERS}
    calls = dict.fromkeys(layers, 0)

    def count(path: str, *given: Any) -> None:
        calls[path] += 1

    hooks = [module.register_forward_pre_hook(partial(count, path)) for path, module in layers.items()]
    with torch.no_grad():
        network(few)
    for hook in hooks:
        hook.remove()
    left = set(noise)
    for path, module in layers.items():
        prefix = f"{path}." if path else ""
        if calls[path] == 1 and (normal := noise.get(f"{prefix}weight")) is not None:
            bias_noise = noise.get(f"{prefix}bias") if module.bias is not None else None
            module.forward = partial(_of_layer, module, normal, bias_noise)
            left -= {f"{prefix}weight", f"{prefix}bias"}
    return [name for name in noise if name in left]


def _of_layer(module: Any, noise: Noise, bias_noise: Noise | None, *args: Tensor, **named: Tensor) -> Tensor:
    """What a layer answers."""
    (x,) = (*args, *named.values())
    if type(module) is nn.Linear:
        if x.ndim == 2:
            return _local(x, noise, module.bias, bias_noise)
        return _flipout(F.linear, x, noise, module.bias, bias_noise, True)
    return _flipout(lambda a, w: module._conv_forward(a, w, None), x, noise, module.bias, bias_noise, False)


def draws_at_once(network: nn.Module, number: int) -> int:
    """How many of so many draws make one pass: all, but of convolutions no more than stay in the cache."""
    convolves = any(isinstance(layer, nn.modules.conv._ConvNd) for layer in network.modules())
    most = min(number, _CONVOLUTIONS_AT_ONCE) if convolves else number
    return max(size for size in range(1, most + 1) if number % size == 0)


def local_sites(run: Callable[..., Any], values: Mapping[str, Tensor], *data: Tensor) -> list[str]:
    """Names of the sites whose noise may be drawn for each datum.

    A weight qualifies if a run of the network uses it exactly once, as the weight of a linear or convolutional layer
    (or as that layer's bias) whose input has one entry per datum in front. A weight that is used twice, normed,
    transposed or recurrent must be the same everywhere, and keeps its shared draw.

    Args:
        run: Runs the network, ``run(values, *data)``.
        values: Weights by site name.
        *data: Inputs (and targets) of one batch. A second run on all but the last row tells an axis of the data from
            another of the same length.
    """
    fewer = _layers_over_data(run, values, [part[:-1] for part in data]) if len(data[0]) > 1 else values
    return [name for name in _layers_over_data(run, values, data) if name in fewer]


def _layers_over_data(run: Callable[..., Any], values: Mapping[str, Tensor], data: Sequence[Tensor]) -> list[str]:
    watch = _Watch(values, len(data[0]))
    with torch.no_grad(), watch:
        run(values, *data)
    weights = [name for name in watch.layers if watch.uses[name] == 1]
    biases = [watch.layers[name] for name in weights]
    return [*weights, *(name for name in biases if name is not None and watch.uses[name] == 1)]


class _Watch(TorchFunctionMode):
    """Counts how often each weight is used, and by which layer."""

    def __init__(self, values: Mapping[str, Tensor], num_data: int) -> None:
        super().__init__()
        self._name_of = {id(value): name for name, value in values.items()}
        self._num_data = num_data
        self.uses = dict.fromkeys(values, 0)
        self.layers: dict[str, str | None] = {}

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (
            getattr(func, "__name__", "") != "__get__"
            or getattr(getattr(func, "__self__", None), "__name__", "") in _VIEWS
        ):
            for value in _tensors((*args, *kwargs.values())):
                if id(value) in self._name_of:
                    self.uses[self._name_of[id(value)]] += 1
        if func is F.linear or func in _CONVOLUTIONS:
            x, weight, bias, _, _ = _layer_arguments(args, kwargs)
            batched = x.ndim >= 2 and len(x) == self._num_data and (func is F.linear or x.ndim == weight.ndim)
            if id(weight) in self._name_of and batched:
                self.layers[self._name_of[id(weight)]] = self._name_of.get(id(bias))
        return func(*args, **kwargs)


def _layer_arguments(args: Any, kwargs: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor | None, Any, dict[str, Any]]:
    """Input, weight, bias, further positional and further named arguments of a layer's function."""
    options = dict(kwargs)
    values = [*args, *(options.pop(name, None) for name in ("input", "weight", "bias")[len(args) :])]
    return values[0], values[1], values[2], values[3:], options


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += _tensors(value)
    return found


def _local(x: Tensor, noise: Noise, bias: Tensor | None, bias_noise: Noise | None) -> Tensor:
    x = x if noise.axes is None else x @ noise.axes
    bias, bias_scale = (bias, None) if bias_noise is None else (bias_noise.loc, bias_noise.scale)
    drawn = torch.randn(len(x), len(noise.loc), dtype=x.dtype, device=x.device)
    return _LocalLinear.apply(x, noise.loc, noise.scale, bias, bias_scale, drawn)


class _LocalLinear(torch.autograd.Function):
    r"""Outputs :math:`h + \epsilon \sqrt{v}`, :math:`h = x \mu^T + b` and :math:`v = x^2 (\sigma^2)^T + \sigma_b^2`.

    The gradients stand here because autograd's own would go through three times as many operations.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, loc: Tensor, scale: Tensor, bias: Tensor | None, bias_scale: Tensor | None, noise: Tensor
    ) -> Tensor:
        """The outputs ``(B, out)``."""
        squares, variances = x * x, scale * scale
        spread = F.linear(squares, variances, None if bias_scale is None else bias_scale * bias_scale)
        spread = spread.clamp_min_(SMALLEST_VARIANCE).sqrt_()
        ctx.save_for_backward(x, squares, loc, scale, variances, bias_scale, noise / spread)
        ctx.has_bias = bias is not None
        return torch.addcmul(F.linear(x, loc, bias), noise, spread)

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients by input, mean, scale, bias and its scale."""
        x, squares, loc, scale, variances, bias_scale, noise_over_spread = ctx.saved_tensors
        by_mean = outer[0]
        by_spread = by_mean * noise_over_spread  # twice the gradient by the variance
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x = torch.addcmul(by_mean @ loc, x, by_spread @ variances)
        by_scale = (by_spread.T @ squares).mul_(scale)
        by_bias = by_mean.sum(0) if ctx.has_bias else None
        by_bias_scale = None if bias_scale is None else by_spread.sum(0) * bias_scale
        return by_x, by_mean.T @ x, by_scale, by_bias, by_bias_scale, None


def _flipout(
    layer: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    noise: Noise,
    bias: Tensor | None,
    bias_noise: Noise | None,
    features_last: bool,
) -> Tensor:
    loc = noise.loc
    mean = layer(x, loc)
    axis = -1 if features_last else 1
    signs_in = _signs(x, axis)
    signs_out = _signs(mean, axis)
    perturbation = noise.scale * torch.randn_like(loc)
    outputs = mean + layer(x * signs_in, perturbation) * signs_out
    if bias is None:
        return outputs
    shape = [1] * outputs.ndim
    shape[axis] = -1
    outputs = outputs + (bias if bias_noise is None else bias_noise.loc).view(shape)
    if bias_noise is not None:
        outputs = outputs + bias_noise.scale.view(shape) * torch.randn(signs_out.shape, dtype=x.dtype, device=x.device)
    return outputs


def _signs(like: Tensor, axis: int) -> Tensor:
    """Random signs, one for each datum and feature, that broadcast over the other axes."""
    shape = [1] * like.ndim
    shape[0], shape[axis] = like.shape[0], like.shape[axis]
    return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(0.5).mul_(2).sub_(1)
