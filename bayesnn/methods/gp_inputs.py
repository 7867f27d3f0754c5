"""What a Gaussian process sees of its inputs: standardised columns, or the features of a network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bayesnn.features import Body
from bayesnn.scaling import input_scaling

__all__ = ["Inputs", "kernel_of"]


class Inputs(nn.Module):
    """Raw inputs ``(N, ...)`` to what the kernel compares, ``(N, d)``.

    Args:
        x: Training inputs; their columns are standardised, pictures divided by one scale and flattened.
        standardise: Whether they are.
        body: A network whose features are compared instead: deep kernel learning.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, x: Tensor, *, standardise: bool, body: Body | None = None) -> None:
        super().__init__()
        loc, scale = input_scaling(x.double()) if standardise else (x.new_zeros(()), x.new_ones(()))
        self.register_buffer("loc", loc.double())
        self.register_buffer("scale", scale.double())
        self.shape = x.shape[1:]
        self.network = None if body is None else body.network.double().requires_grad_()
        self.layer = "" if body is None else body.layer

    def forward(self, x: Tensor) -> Tensor:
        """The features, in double precision."""
        if x.shape[1:] != self.shape and (self.network is None or self.loc.ndim):
            raise RuntimeError(f"the process was fitted to inputs (N, {', '.join(map(str, self.shape))})")
        standardised = (x.double() - self.loc) / self.scale
        if self.network is None:
            return standardised.flatten(1)
        return Body(self.network, self.layer).run(standardised, {})[0]

    def head_names(self) -> list[str]:
        """Names of the parameters that features do not depend on: those of the last layer."""
        return [] if self.network is None else [f"network.{name}" for name in Body(self.network, self.layer).names]


def kernel_of(kernel: object, features: Tensor, *, columns: bool) -> nn.Module:
    """A kernel by its name, its length-scales at about the distance between two inputs; one given, as a copy.

    Args:
        kernel: ``"matern"`` (of smoothness 5/2), ``"rbf"``, or a gpytorch kernel.
        features: What it will compare ``(N, d)``.
        columns: Whether each column has its own length-scale.

    Raises:
        ValueError: If there is no kernel of that name.
    """
    import copy

    import gpytorch

    if isinstance(kernel, gpytorch.kernels.Kernel):
        return copy.deepcopy(kernel).double().to(features.device)
    if kernel not in ("matern", "rbf"):
        raise ValueError(f'kernel must be "matern", "rbf" or a gpytorch kernel; got {kernel!r}.')
    size = features.shape[1] if columns else None
    positive = gpytorch.constraints.Positive(transform=torch.exp, inv_transform=torch.log)
    base = (
        gpytorch.kernels.MaternKernel(2.5, ard_num_dims=size, lengthscale_constraint=positive)
        if kernel == "matern"
        else gpytorch.kernels.RBFKernel(ard_num_dims=size, lengthscale_constraint=positive)
    )
    made = gpytorch.kernels.ScaleKernel(base, outputscale_constraint=positive).double().to(features.device)
    made.base_kernel.lengthscale = (2 * features.var(0, correction=0).sum()).sqrt().clamp_min(1e-3) / 2**0.5
    made.outputscale = 1.0
    return made
