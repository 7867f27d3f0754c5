"""Checks at the door: can this network have a posterior, this prior be one of its parameters, these be its targets?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedParameter

__all__ = ["check_columns", "check_integers", "check_names", "check_network", "check_prior", "num_outputs"]


def check_network(network: nn.Module) -> None:
    """Refuse a network no posterior can be had of."""
    if not isinstance(network, nn.Module):
        raise TypeError(f"network must be a torch.nn.Module; got {type(network).__name__}.")
    normalisations = [name for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
    if normalisations:
        raise ValueError(
            f"batch normalisation makes outputs depend on the batch, so no weight has a posterior; found it in "
            f"{', '.join(map(repr, normalisations))}. Use nn.LayerNorm or nn.GroupNorm."
        )
    values = list(network.parameters())
    if any(isinstance(value, UninitializedParameter) for value in values):
        raise ValueError("the network has lazy parameters without a shape; run it once on a few inputs first.")
    if not values:
        raise ValueError("the network must have one parameter at least to be uncertain about; it has none.")
    if not all(value.is_floating_point() for value in values):
        raise ValueError("all parameters of the network must be real floating-point numbers.")


def num_outputs(run: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Number of outputs K, found by running the network on a few inputs; every answer must be the same."""
    try:
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            first, *others = (run(x) for _ in range(5))
    except (RuntimeError, IndexError) as error:
        raise ValueError(
            f"the network must take inputs of shape (N, {', '.join(map(str, x.shape[1:]))}); it said: {error}"
        ) from error
    if first.ndim != 2 or len(first) != len(x):
        raise ValueError(
            f"the network must map N inputs to (N, K) outputs; it gave {tuple(first.shape)} for N = {len(x)}. "
            "End it with nn.Linear(..., K), and K = 1 for one target."
        )
    if not all(torch.equal(first, other) for other in others) and bool(first.isfinite().all()):
        raise ValueError(
            "the network must give the same outputs twice in eval mode; it did not. Functional dropout? Use an "
            "nn.Dropout layer, or F.dropout(x, training=self.training)."
        )
    return first.shape[1]


def check_names(names: Sequence[str], reserved: Sequence[str]) -> None:
    """Refuse parameters named like the model's own sites."""
    taken = sorted(set(names) & set(reserved))
    if taken:
        raise ValueError(
            f"a network's parameters must not be named like the model's own sites {', '.join(reserved)}; found "
            f"{', '.join(map(repr, taken))}. Rename them, or put the network in nn.Sequential(network)."
        )


def check_prior(name: str, value: Tensor, prior: Distribution) -> None:
    """Refuse a prior that is no distribution over the parameter."""
    if not isinstance(prior, Distribution):
        raise TypeError(
            f"the prior of {name!r} must be a pyro distribution; got {type(prior).__name__}. A prior is a function "
            "(name, value) -> distribution: prior=priors.normal(1.0), say."
        )
    shape = tuple(prior.batch_shape + prior.event_shape)
    if shape != tuple(value.shape):
        raise ValueError(
            f"the prior of {name!r} must have the parameter's shape {tuple(value.shape)}; got {shape}. Build it "
            "from the value: lambda name, value: dist.Normal(torch.zeros_like(value), 1.0)."
        )


def check_columns(y: Tensor, num_outputs: int, per_target: int) -> Tensor:
    """``y`` if its columns are as many as the outputs stand for."""
    targets = 1 if y.ndim == 1 else y.shape[-1]
    if y.ndim > 2 or targets * per_target != num_outputs:
        raise ValueError(
            f"targets of shape {tuple(y.shape)} need {targets * per_target} network outputs ({per_target} per target "
            f"dimension); the network has {num_outputs}. Change the last layer, or pass y of shape (N,) or (N, D)."
        )
    return y


def check_integers(y: Tensor, low: int, high: int, what: str, why: str) -> Tensor:
    """``y`` if it holds whole numbers from ``low`` to ``high``."""
    if y.is_floating_point() and not bool((y == y.round()).all()):
        raise ValueError(f"{what} must be integers; got {y.dtype} with fractions. For real targets use a Gaussian.")
    smallest, largest = int(y.min()), int(y.max())
    if smallest < low or largest > high:
        raise ValueError(f"{what} must lie in [{low}, {high}], for {why}; got values from {smallest} to {largest}.")
    return y
