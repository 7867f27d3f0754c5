"""What a Gaussian process sees of its inputs: standardised columns, or the features of a network."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from bayesnn.features import Body
from bayesnn.scaling import input_scaling

__all__ = ["Inputs", "choices_of", "kernel_of", "kernel_words", "length_scaled"]

_SMOOTHNESS = {"matern": (2.5,), "rbf": (math.inf,), "two_scales": (1.5, 2.5), "rough": (0.5, 2.5)}
"""Smoothness of each part of the kernels with a name."""

_BEST = "best"


class Inputs(nn.Module):
    """Raw inputs ``(N, ...)`` to what the kernel compares, ``(N, d)``.

    Args:
        x: Training inputs; their columns are standardised, pictures divided by one scale and flattened.
        standardise: Whether they are.
        body: A network whose features are compared instead: deep kernel learning.
        indices: Whether inputs are indices into the network's embeddings, which stay as they are.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, x: Tensor, *, standardise: bool, body: Body | None = None, indices: bool = False) -> None:
        super().__init__()
        plain = indices or not standardise
        loc, scale = (x.new_zeros(()), x.new_ones(())) if plain else input_scaling(x)
        self.indices = indices
        self.register_buffer("loc", loc.double())
        self.register_buffer("scale", scale.double())
        self.shape = x.shape[1:]
        self.network = None if body is None else body.network.double().requires_grad_()
        self.layer = "" if body is None else body.layer

    def forward(self, x: Tensor) -> Tensor:
        """The features, in double precision."""
        if x.shape[1:] != self.shape and (self.network is None or self.loc.ndim):
            raise RuntimeError(f"the process was fitted to inputs (N, {', '.join(map(str, self.shape))})")
        standardised = x if self.indices else (x.double() - self.loc) / self.scale
        if self.network is None:
            return standardised.flatten(1)
        return Body(self.network, self.layer).run(standardised, {})[0]

    def head_names(self) -> list[str]:
        """Names of the parameters that features do not depend on: those of the last layer."""
        return [] if self.network is None else [f"network.{name}" for name in Body(self.network, self.layer).names]


def choices_of(kernel: object) -> list[object]:
    """The kernels to choose from: those with a name for ``"best"``, those of a list, or the one given.

    Raises:
        ValueError: If a list is empty.
    """
    if isinstance(kernel, str) and kernel == _BEST:
        return list(_SMOOTHNESS)
    if not isinstance(kernel, list | tuple):
        return [kernel]
    if not kernel:
        raise ValueError('a list of kernels must hold one at least; got an empty one. Write kernel="matern".')
    return [choice for part in kernel for choice in choices_of(part)]


def kernel_words(kernel: Any) -> str:
    """What a kernel is, in a few characters."""
    import gpytorch

    if isinstance(kernel, gpytorch.kernels.AdditiveKernel):
        return " + ".join(kernel_words(part) for part in kernel.kernels)
    if isinstance(kernel, gpytorch.kernels.ProductKernel):
        return " * ".join(_bracketed(part) for part in kernel.kernels)
    if isinstance(kernel, gpytorch.kernels.ScaleKernel):
        return kernel_words(kernel.base_kernel)
    if isinstance(kernel, gpytorch.kernels.MaternKernel):
        return f"Matern-{round(2 * kernel.nu)}/2"
    return type(kernel).__name__


def _bracketed(kernel: Any) -> str:
    words = kernel_words(kernel)
    return f"({words})" if " + " in words else words


def kernel_of(kernel: object, features: Tensor, *, columns: bool, functions: int = 1) -> nn.Module:
    """A kernel by its name, its length-scales at about the distance between two inputs; one given, as a copy.

    Args:
        kernel: One of the names, or a gpytorch kernel.
        features: What it will compare ``(N, d)``.
        columns: Whether each column has its own length-scale.
        functions: Functions that share it; one given may have a batch of as many.

    Raises:
        ValueError: If there is no kernel of that name, or the one given does not take such features.
    """
    import copy

    import gpytorch

    if isinstance(kernel, gpytorch.kernels.Kernel):
        given: Any = copy.deepcopy(kernel).double().to(features.device)
        _check_kernel(given, features[:2], functions)
        return given
    if not isinstance(kernel, str) or kernel not in _SMOOTHNESS:
        names = ", ".join(f'"{name}"' for name in (*_SMOOTHNESS, _BEST))
        raise ValueError(f"kernel must be {names}, a gpytorch kernel or a list of such; got {kernel!r}.")
    parts = [_part(smoothness, features, columns) for smoothness in _SMOOTHNESS[kernel]]
    return sum(parts[1:], parts[0])


def length_scaled(kernel: Any) -> list[Any]:
    """The parts of a kernel that have length-scales: of a kernel, scaled or not, or a sum of such."""
    parts = [getattr(part, "base_kernel", part) for part in getattr(kernel, "kernels", [kernel])]
    return [part for part in parts if getattr(part, "lengthscale", None) is not None]


def _part(smoothness: float, features: Tensor, columns: bool) -> Any:
    """A scaled Matern kernel, and the squared exponential one for infinite smoothness."""
    import gpytorch

    size = features.shape[1] if columns else None
    positive = gpytorch.constraints.Positive(transform=torch.exp, inv_transform=torch.log)
    options: dict[str, Any] = {"ard_num_dims": size, "lengthscale_constraint": positive}
    base = (
        gpytorch.kernels.RBFKernel(**options)
        if math.isinf(smoothness)
        else gpytorch.kernels.MaternKernel(smoothness, **options)
    )
    made = gpytorch.kernels.ScaleKernel(base, outputscale_constraint=positive).double().to(features.device)
    made.base_kernel.lengthscale = (2 * features.var(0, correction=0).sum()).sqrt().clamp_min(1e-3) / 2**0.5
    made.outputscale = 1.0
    return made


@torch.no_grad()
def _check_kernel(kernel: Any, few: Tensor, functions: int) -> None:
    """Refuse a kernel that cannot compare such features."""
    size = few.shape[1]
    advice = f"Write ard_num_dims={size} or leave it out, and active_dims from 0 to {size - 1}."
    try:
        shape = tuple(kernel(few).to_dense().shape)
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(
            f"the kernel must compare inputs of as many columns as there are, {size}; it said: "
            f"{str(error).rstrip('.')}. {advice}"
        ) from error
    alone = (len(few), len(few))
    if shape != alone and (functions == 1 or shape != (functions, *alone)):
        raise ValueError(
            f"the kernel must give one covariance (N, N) of N inputs; it gave {shape} for N = {len(few)}. Leave "
            "batch_shape out."
        )
