"""Principal axes of the inputs: the basis in which a first layer's posterior is closest to independent.

The posterior precision of the weights that read the inputs ``x`` is roughly ``X'X`` times a number, plus the prior's.
Along the columns of ``x``, which are correlated, its entries depend on each other, and independent normals must be
narrow to fit between; along the eigenvectors of ``X'X`` they do not. A normal guide along these axes is the same kind
of guide, has as many parameters, leaves directions in which the data say nothing at the prior, and for a linear model
with normal noise is exact, whatever the columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Transform, constraints
from torch.overrides import TorchFunctionMode

from bayesnn.calls import call
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import FittedNormal

__all__ = ["Rotation", "principal_axes", "same_along_all_axes", "turned_inputs"]

_MOST_FEATURES = 2048
"""With more features the eigenvectors would cost more than they bring."""

_ROWS_AT_ONCE = 4096


class Rotation(Transform):
    """Rows from coordinates along orthogonal axes to the original ones, ``z -> z V'``; it keeps volumes.

    Args:
        axes: Orthogonal matrix ``(features, features)`` whose columns are the axes.
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, axes: Tensor) -> None:
        super().__init__()
        self.axes = axes

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rotation) and torch.equal(self.axes, other.axes)

    __hash__ = None  # type: ignore[assignment]

    def _call(self, x: Tensor) -> Tensor:
        return x @ self.axes.T

    def _inverse(self, y: Tensor) -> Tensor:
        return y @ self.axes

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Zero."""
        return x.new_zeros(x.shape[:-1])


@torch.no_grad()
def principal_axes(model: BayesianNeuralNetwork, x: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
    """Axes for every weight of a linear layer that reads the inputs themselves (flattened, where they are pictures).

    Args:
        model: The model, knowing its data.
        x: Training inputs ``(N, ...)``.
        names: Weights that may have axes.

    Returns:
        By weight, an orthogonal matrix whose columns are the eigenvectors of ``X'X`` of the standardised inputs.
    """
    few = x[:64]
    seen = model.standardised(few).flatten(1)
    weights = {name: value for name, value in model.start().items() if name in set(names)}
    reader = _Reader(seen, weights)
    with reader:
        model.outputs(model.start() | weights, few)
    if not reader.found or seen.shape[1] > _MOST_FEATURES:
        return {}
    gram = torch.zeros(seen.shape[1], seen.shape[1], dtype=torch.float64, device=x.device)
    for part in x.split(_ROWS_AT_ONCE):
        rows = model.standardised(part).flatten(1).double()
        gram += rows.T @ rows
    axes = torch.linalg.eigh(gram).eigenvectors.to(model.dtype)
    return dict.fromkeys(reader.found, axes)


@torch.no_grad()
def turned_inputs(model: BayesianNeuralNetwork, seen: Tensor, axes: Mapping[str, Tensor]) -> Tensor | None:
    """Inputs along the axes, where nothing but the weights along them reads the inputs; else ``None``.

    Args:
        model: The model, knowing its data.
        seen: All training inputs, standardised.
        axes: The same axes for each weight, as `principal_axes` gives them.
    """
    turned = (seen.flatten(1) @ next(iter(axes.values()))).view(seen.shape)
    # Random weights: a reader that starts at zero, as the gain of a skip connection does, would not be seen.
    draws = torch.Generator().manual_seed(0)
    shapes = {name: value.shape for name, value in model.start().items()}
    weights = {n: torch.randn(s, generator=draws).to(seen) / s[1:].numel() ** 0.5 for n, s in shapes.items()}
    plain = weights | {name: weights[name] @ matrix.T for name, matrix in axes.items()}
    for rows, turned_rows in zip(seen.split(_ROWS_AT_ONCE), turned.split(_ROWS_AT_ONCE), strict=True):
        # All rows, as one alone may be clipped; copies, as a network may overwrite its inputs.
        outputs = call(model.network, plain, rows.clone())
        of_turned = call(model.network, weights, turned_rows.clone())
        size = 1 + rows.flatten(1).abs().amax(1).view(-1, *[1] * (outputs.ndim - 1))
        if not bool(((outputs - of_turned).abs() <= 1e-3 * outputs.abs() + 1e-4 * size).all()):
            return None
    return turned


def same_along_all_axes(prior: Any) -> bool:
    """Whether a normal prior of rows looks the same along all axes: mean zero and one scale along each row."""
    if isinstance(prior, FittedNormal):
        return -1 in prior.shared
    return bool((prior.loc == 0).all()) and bool((prior.scale == prior.scale[..., :1]).all())


class _Reader(TorchFunctionMode):
    """Finds the weights that multiply given inputs."""

    def __init__(self, inputs: Tensor, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self._inputs = inputs
        self._name_of = {id(value): name for name, value in weights.items()}
        self.found: list[str] = []

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear and len(args) > 1 and id(args[1]) in self._name_of:
            with torch._C.DisableTorchFunction():
                same = args[0].shape == self._inputs.shape and torch.equal(args[0], self._inputs)
            if same:
                self.found.append(self._name_of[id(args[1])])
        return func(*args, **(kwargs or {}))
