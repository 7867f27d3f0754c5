"""Checks at the door: can this network have a posterior, this prior be one of its parameters, these be its targets?"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedParameter

from bayesnn.seeding import seeded
from bayesnn.warned import warn

__all__ = [
    "check_columns",
    "check_count",
    "check_integers",
    "check_names",
    "check_network",
    "check_positive",
    "check_precision",
    "check_prior",
    "check_seed",
    "check_trainable",
    "num_outputs",
]

_Outputs = Callable[[Mapping[str, Tensor], Tensor], Tensor]


def check_network(network: nn.Module) -> None:
    """Refuse a network no posterior can be had of."""
    if isinstance(network, type):
        raise TypeError(
            f"network must be an instance of nn.Module; got the class {network.__name__}. Write {network.__name__}()."
        )
    if not isinstance(network, nn.Module):
        raise TypeError(f"network must be a torch.nn.Module; got {type(network).__name__}.")
    untracked = [name for name, module in _batch_normalisations(network).items() if module.running_mean is None]
    if untracked:
        raise ValueError(
            f"batch normalisation must keep running statistics, or outputs depend on the batch in eval mode too; none "
            f"in {', '.join(map(repr, untracked))}. Write track_running_stats=True, or use nn.LayerNorm."
        )
    if any(isinstance(module, torch.jit.ScriptModule) for module in network.modules()):
        raise TypeError(
            "network must be plain modules, whose weights can be replaced; got one of torch.jit. Pass the module that "
            "was scripted or traced."
        )
    values = list(network.parameters())
    if any(isinstance(value, UninitializedParameter) for value in values):
        raise ValueError("the network has lazy parameters without a shape; run it once on a few inputs first.")
    if not values:
        raise ValueError("the network must have one parameter at least to be uncertain about; it has none.")
    if not all(value.is_floating_point() for value in values):
        raise ValueError("all parameters of the network must be real floating-point numbers.")
    frozen = [name for name, value in network.named_parameters() if not value.requires_grad]
    if 0 < len(frozen) < len(values):
        warn(
            f"requires_grad=False holds no parameter still: all are fitted, {', '.join(map(repr, frozen[:3]))} too. "
            'Write fit_last_layer(..., body="network") for the last layer alone, or make buffers of what is to stay.'
        )


def check_trainable(network: nn.Module) -> None:
    """Refuse to fit weights where outputs in training depend on the batch, or where the forward pass meddles."""
    found = _batch_normalisations(network)
    if found:
        raise ValueError(
            f"batch normalisation makes outputs depend on the batch in training, so no weight has a posterior; found "
            f"it in {', '.join(map(repr, found))}. Use nn.LayerNorm or nn.GroupNorm; or train the network by itself "
            'and pass it to fit_last_layer(..., body="network") or to from_networks, which run it in eval mode, in a '
            "model with standardise=False if it reads raw inputs."
        )
    tables = {n: m for n, m in network.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    meddled = [name for name, table in tables.items() if table.padding_idx is not None or table.max_norm is not None]
    if meddled:
        raise ValueError(
            "an embedding's padding row gets no gradient, and max_norm rewrites the weights that it reads, so that "
            f"they have no posterior; found one in {', '.join(map(repr, meddled))}. Leave padding_idx and max_norm "
            "out: padding is then a word like the others."
        )


def _batch_normalisations(network: nn.Module) -> dict[str, _BatchNorm]:
    return {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}


def num_outputs(
    outputs: _Outputs,
    weights: Mapping[str, Tensor],
    x: Tensor,
    look_at: Callable[[_Outputs, Mapping[str, Tensor], Tensor], None],
    by_column: bool = False,
) -> int:
    """Number of outputs K, found by running the network on a few inputs; every answer must be the same.

    Args:
        outputs: Of the network at one draw.
        weights: That draw.
        x: A few inputs.
        look_at: Told of all these, once they are found sound: warns where the likelihood takes others.
        by_column: Whether the network sees columns that were standardised, in which an index is none any more.

    Raises:
        ValueError: If the network cannot take the inputs, or its outputs are not sound.
    """
    try:
        with seeded(None, x.device):
            first, *others = (outputs(weights, x) for _ in range(5))
            part = outputs(weights, x[: max(1, len(x) // 2)])
    except AttributeError as error:
        if (found := re.match(r"'(\w+)' object has no attribute 'shape'", str(error))) is None:
            raise
        raise TypeError(
            f"the network must return one tensor (N, K); got a {found[1]}. Take its last output in forward."
        ) from error
    except (RuntimeError, IndexError) as error:
        hint = (
            ". Columns are standardised before the network sees them, also one of indices into an embedding: write "
            "standardise=False, and scale the others and y by hand."
        )
        hint = hint if by_column and isinstance(error, IndexError) else ""
        raise ValueError(
            f"the network must take inputs of shape (N, {', '.join(map(str, x.shape[1:]))}); it said: {error}{hint}"
        ) from error
    except TypeError as error:
        if "not tuple" not in str(error):
            raise
        raise TypeError(
            f"layers must take one tensor; one of the network's takes a tuple, as nn.LSTM gives, and said: {error}. "
            "Take its first part in a forward of your own."
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
    if not torch.allclose(first[: len(part)], part, rtol=1e-3, atol=1e-4) and bool(first.isfinite().all()):
        raise ValueError(
            "the network's outputs for an input must not depend on the other inputs of the batch; they do. Functional "
            "batch normalisation? Use nn.LayerNorm or nn.GroupNorm."
        )
    look_at(outputs, weights, x)
    return first.shape[1]


def check_count(name: str, value: object) -> None:
    """Refuse what is no number of things."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(f"{name} must be a whole number, 1 or more; got {value!r}.")


def check_positive(name: str, value: object, advice: str) -> None:
    """Refuse what is no positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be positive, one finite number; got {value!r}. {advice}")


def check_names(names: Sequence[str], reserved: Sequence[str]) -> None:
    """Refuse parameters named like the model's own sites."""
    taken = sorted(set(names) & set(reserved))
    if taken:
        raise ValueError(
            f"a network's parameters must not be named like the model's own sites {', '.join(reserved)}; found "
            f"{', '.join(map(repr, taken))}. Rename them, or put the network in nn.Sequential(network)."
        )


def check_prior_function(prior: object) -> None:
    """Refuse what is no function of a parameter's name and value, nor ``None``."""
    takes_two = callable(prior) and not isinstance(prior, type | torch.distributions.Distribution)
    if takes_two:
        parameters = inspect.signature(prior).parameters.values()  # type: ignore[arg-type]
        required = [p for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
        takes_two = len(required) <= 2 and (len(parameters) >= 2 or any(p.kind is p.VAR_POSITIONAL for p in parameters))
        takes_two = takes_two and [p.name for p in parameters][:1] not in (["scale"], ["pattern"])  # forgotten brackets
    if prior is not None and not takes_two:
        raise TypeError(
            f"prior must be a function (name, value) -> distribution; got {prior!r}. Write priors.normal(1.0), say, or "
            "lambda name, value: dist.Normal(torch.zeros_like(value), 1.0)."
        )


def check_prior(name: str, value: Tensor, prior: Distribution) -> None:
    """Refuse a prior that is no distribution over the parameter."""
    if not isinstance(prior, Distribution):
        raise TypeError(
            f"the prior of {name!r} must be a pyro distribution; got {type(prior).__name__} of "
            f"{type(prior).__module__}. A prior is a function (name, value) -> distribution of pyro.distributions: "
            "prior=priors.normal(1.0), say."
        )
    shape = tuple(prior.batch_shape + prior.event_shape)
    if shape != tuple(value.shape):
        raise ValueError(
            f"the prior of {name!r} must have the parameter's shape {tuple(value.shape)}; got {shape}. Build it "
            "from the value: lambda name, value: dist.Normal(torch.zeros_like(value), 1.0)."
        )


def check_precision(y: Tensor, dtype: torch.dtype) -> None:
    """Refuse real targets that the network's type cannot tell apart, or whose squares it cannot hold."""
    if not y.is_floating_point() or len(y) < 2:
        return
    if dtype == torch.float16:
        raise ValueError("the network must be float32 or float64 for real targets; got float16. Write network.float().")
    spread, center = torch.std_mean(y.double(), dim=0)
    if bool((center.abs() * torch.finfo(dtype).eps > 0.01 * spread)[spread > 0].any()):
        raise ValueError(
            f"targets around {float(center.abs().max()):.3g} with a spread of {float(spread.min()):.3g} lose their "
            f"digits in {dtype}. Subtract a constant from y, or make the network double: network.double()."
        )
    least, most = 1e3 * torch.finfo(dtype).tiny ** 0.5, 1e-3 * torch.finfo(dtype).max ** 0.5
    beyond = (spread > 0) & (spread < least) | (y.double().abs().amax(0) > most)
    if bool(beyond.any()):
        raise ValueError(
            f"targets must have a spread over {least:.0e} and be smaller than {most:.0e}, so that {dtype} can hold "
            f"their variances; got a spread of {float(spread[beyond].max()):.3g} around "
            f"{float(center[beyond].abs().max()):.3g}. Write y in other units, or make the network double: "
            "network.double()."
        )


def check_columns(y: Tensor, num_outputs: int, per_target: int, twice: str = "") -> Tensor:
    """``y`` if its columns are as many as the outputs stand for; of twice as many outputs ``twice`` says more."""
    targets = 1 if y.ndim == 1 else y.shape[-1]
    wanted = targets * per_target
    if y.ndim > 2 or wanted != num_outputs:
        who = "one target needs" if targets == 1 else f"{targets} targets need"
        hint = f" {twice}" if twice and num_outputs == 2 * wanted else ""
        raise ValueError(
            f"{who} {wanted} network output{'s' if wanted > 1 else ''}; the network has {num_outputs}, and y the shape "
            f"{tuple(y.shape)}. End it with nn.Linear(..., {wanted}), or pass y of shape (N,) or (N, D).{hint}"
        )
    return y


def check_integers(y: Tensor, low: int, high: int, what: str, why: str) -> Tensor:
    """``y`` if it holds whole numbers from ``low`` to ``high``."""
    if y.is_floating_point() and not bool((y == y.round()).all()):
        raise ValueError(f"{what} must be integers; got {y.dtype} with fractions. For real targets use a Gaussian.")
    smallest, largest = int(y.min()), int(y.max())
    if smallest < low or largest > high:
        hint = " Do they count from 1? Pass y - 1." if (smallest, largest) == (low + 1, high + 1) else ""
        if low == 0 and bool((y.abs() == 1).all()) and smallest < largest:
            hint = " Are they -1 and 1? Pass (y + 1) / 2."
        raise ValueError(
            f"{what} must lie in [{low}, {high}], for {why}; got values from {smallest} to {largest}.{hint}"
        )
    return y


def check_seed(seed: object) -> None:
    """Refuse what is no seed."""
    if not isinstance(seed, Integral):
        raise TypeError(f"seed must be a whole number; got {seed!r}.")
