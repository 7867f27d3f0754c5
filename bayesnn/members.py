"""Taking a distribution apart into its tensors, and putting it together again.

Stacking draws, picking members, joining batches and moving to a device are then plain operations on tensors.
"""

from __future__ import annotations

import copy
import functools
import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
)

from bayesnn.rows import is_one

__all__ = [
    "check",
    "concatenate",
    "in_double",
    "mapped",
    "marginal",
    "moment",
    "one_target",
    "over_classes",
    "stack",
    "unpack",
    "unvalidated",
]

Pack = Callable[[Sequence[Tensor]], Distribution]


def unpack(distribution: Distribution) -> tuple[list[Tensor], Pack]:
    """The tensors a distribution is made of, and the function that makes one like it from such tensors.

    Args:
        distribution: Any with its parameters in ``arg_constraints``, or ``Independent`` or ``MixtureSameFamily`` of
            such.

    Returns:
        The tensors, each with the full batch shape in front, and ``pack(tensors) -> Distribution``.

    Raises:
        NotImplementedError: If the distribution does not tell its parameters.

    Example:
        >>> tensors, pack = unpack(dist.Normal(torch.zeros(3), 1.0))
        >>> pack([t[:2] for t in tensors]).batch_shape
        torch.Size([2])
    """
    batch = distribution.batch_shape
    match distribution:
        case torch.distributions.Independent():
            tensors, pack = unpack(distribution.base_dist)
            event_dim = distribution.reinterpreted_batch_ndims
            return tensors, lambda parts: dist.Independent(pack(parts), event_dim)
        case MixtureSameFamily():
            components = distribution.component_distribution
            weights, pack_weights = unpack(distribution.mixture_distribution.expand(batch))
            inner, pack_inner = unpack(components.expand(batch + components.batch_shape[-1:]))
            split = len(weights)
            return [*weights, *inner], lambda parts: dist.MixtureSameFamily(
                pack_weights(parts[:split]), pack_inner(parts[split:])
            )
        case dist.ZeroInflatedDistribution() if type(distribution) is dist.ZeroInflatedDistribution:  # of any base
            counts, pack_counts = unpack(distribution.base_dist)
            return [distribution.gate_logits, *counts], lambda parts: dist.ZeroInflatedDistribution(
                pack_counts(parts[1:]), gate_logits=parts[0], validate_args=False
            )
    kind, known = type(distribution), dict(distribution.arg_constraints)
    names = [name for name in known if name not in _REDUNDANT.get(frozenset(known), ())]
    options = _options(distribution, set(known))
    if not names or options is None:
        raise NotImplementedError(
            f"the members of a predictive must be distributions made of named parameters; {kind.__name__} has none. "
            "Observe a Normal, Categorical or another plain distribution in the model."
        )
    tensors = []
    for name in names:
        value = torch.as_tensor(getattr(distribution, name))
        try:
            event_dim = known[name].event_dim
        except NotImplementedError:  # a constraint that depends on other parameters
            event_dim = max(0, value.ndim - len(batch))
        tensors.append(value.expand(batch + value.shape[value.ndim - event_dim :]))
    return tensors, lambda parts: kind(**dict(zip(names, parts, strict=True)), **options, validate_args=False)


def _options(distribution: Distribution, names: set[str]) -> dict[str, Any] | None:
    """What a distribution was made of besides its named parameters; ``None`` if it does not tell."""
    options, kind = {}, cast(Any, type(distribution))
    for name, parameter in _parameters(kind).items():
        if name in names | {"self", "validate_args"}:
            continue
        if not hasattr(distribution, name) and parameter.default is inspect.Parameter.empty:
            return None
        if hasattr(distribution, name):
            options[name] = getattr(distribution, name)
    return options


@functools.cache
def _parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind.__init__).parameters


def mapped(function: Callable[[Tensor], Tensor], distribution: Distribution) -> Distribution:
    """The distribution with ``function`` applied to each of its tensors."""
    tensors, pack = unpack(distribution)
    return pack([function(tensor) for tensor in tensors])


def over_classes(distribution: Distribution) -> bool:
    """Whether every target (each label for itself) is one of the same few values.

    Binomials of totals that differ are not: each has its own, and is a count like others.
    """
    each = marginal(distribution)
    totals = getattr(each, "total_count", None)
    if not isinstance(totals, Tensor) or not totals.numel():
        return bool(each.has_enumerate_support)
    return bool(each.has_enumerate_support) and bool((totals == totals.flatten()[0]).all())


def moment(distribution: Distribution, name: str) -> Tensor:
    """Mean or variance of each member; class labels that are no numbers have none."""
    found = getattr(distribution, name)
    if distribution.has_enumerate_support and found.numel() and bool(found.isnan().all()):
        raise NotImplementedError(f"class labels have no {name}; use .probs or .mode.")
    return found


def in_double(distribution: Distribution) -> Distribution:
    """The distribution in double precision; whole numbers stay whole."""
    return mapped(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor, distribution)


def unvalidated(distribution: Distribution) -> Distribution:
    """The distribution without torch's checks of values; the one that was passed keeps its own.

    A value may lie within the supports of some members only.
    """
    own = copy.copy(distribution)
    own._validate_args = False
    for name, part in vars(own).items():
        if isinstance(part, Distribution):
            setattr(own, name, unvalidated(part))
    return own


def check(members: Distribution, mixture: Distribution | None) -> None:
    """Refuse what cannot be the members of a predictive, or their mixture.

    Args:
        members: Distributions of all draws at all inputs.
        mixture: Their mixture in closed form, or ``None``.

    Raises:
        TypeError: If the members are no distribution.
        ValueError: If the members have no draw and input axes or are one-hot, or the mixture is not of their shape.
    """
    if not isinstance(members, Distribution):
        raise TypeError(f"members must be a torch Distribution of all draws; got {type(members).__name__}.")
    if len(members.batch_shape) != 2:
        raise ValueError(
            f"members must have batch shape (S, N), draws by inputs; got {tuple(members.batch_shape)}. "
            "Several target dimensions belong in the event shape: members.to_event(1)."
        )
    if members.batch_shape[0] < 1:
        raise ValueError("a predictive needs one draw at least; got S = 0.")
    if members.has_enumerate_support and marginal(members).event_shape:
        raise ValueError(
            f"members over classes must say one label for each input; got {type(members).__name__}, of vectors "
            f"{tuple(members.event_shape)}. Write Categorical(logits=members.logits), and y.argmax(-1)."
        )
    if (
        mixture is not None
        and mixture.batch_shape + mixture.event_shape != members.batch_shape[1:] + members.event_shape
    ):
        raise ValueError(
            f"the mixture must have batch shape {tuple(members.batch_shape[1:])} and event shape "
            f"{tuple(members.event_shape)}, as its members have; got {mixture!r}."
        )


def stack(distributions: Sequence[Distribution]) -> Distribution:
    """One distribution with a new leading batch axis from several of a kind."""
    return _joined(distributions, torch.stack)


def concatenate(distributions: Sequence[Distribution], axis: int) -> Distribution:
    """One distribution from several of a kind, joined along a batch axis counted from the front.

    Raises:
        ValueError: If there is none, or they are of several kinds, or shapes that do not go together.
    """
    if len(distributions) == 1:
        return distributions[0]
    return _joined(distributions, lambda parts: torch.cat(parts, dim=axis), axis)


def _joined(
    distributions: Sequence[Distribution], join: Callable[[list[Tensor]], Tensor], axis: int | None = None
) -> Distribution:
    if not distributions:
        raise ValueError("there must be one distribution at least to be joined; got none.")
    kinds = {type(d).__name__ for d in distributions}
    if len(kinds) > 1:
        raise ValueError(f"only distributions of one kind can be joined; got {', '.join(sorted(kinds))}.")
    unpacked = [unpack(d) for d in distributions]
    for together in zip(*(tensors for tensors, _ in unpacked), strict=True):
        shapes = {tuple(n for at, n in enumerate(tensor.shape) if at != axis) for tensor in together}
        if len(shapes) > 1:
            raise ValueError(
                "distributions to be joined must have as many draws, target dimensions and classes; got "
                f"{' and '.join(str(tuple(tensor.shape)) for tensor in together)}. Join what one "
                "posterior predicted."
            )
    return unpacked[0][1]([join(list(parts)) for parts in zip(*(tensors for tensors, _ in unpacked), strict=True)])


_REDUNDANT: dict[frozenset[str], tuple[str, ...]] = {
    frozenset({"probs", "logits"}): ("probs",),
    frozenset({"total_count", "probs", "logits"}): ("probs",),
    frozenset({"rate", "gate", "gate_logits"}): ("gate",),
    frozenset({"total_count", "probs", "logits", "gate", "gate_logits"}): ("probs", "gate"),
    frozenset({"loc", "covariance_matrix", "precision_matrix", "scale_tril"}): (
        "covariance_matrix",
        "precision_matrix",
    ),
}


def marginal(distribution: Distribution) -> Distribution:
    """Each target dimension for itself."""
    return distribution.base_dist if isinstance(distribution, Independent) else distribution


def one_target(distribution: Distribution, number: int) -> Distribution:
    """One of several targets for itself.

    Args:
        distribution: Of event shape ``(D,)``, its dimensions independent or jointly normal; or ``()``, the only target.
        number: Which, counted from 0, or from -1 backwards.

    Raises:
        TypeError: If it is no whole number.
        IndexError: If there is no such target.
        NotImplementedError: If the dimensions depend on each other otherwise, or have several axes.

    Example:
        >>> one_target(dist.Normal(torch.zeros(5, 3), torch.tensor([1.0, 2.0, 3.0])).to_event(1), 2).stddev
        tensor([3., 3., 3., 3., 3.])
    """
    if len(distribution.event_shape) > 1:
        raise NotImplementedError(f"one of targets with axes {tuple(distribution.event_shape)} is not implemented.")
    (count,) = distribution.event_shape or (1,)
    try:
        if not is_one(number) or str(getattr(number, "dtype", type(number).__name__)).endswith("bool"):
            raise TypeError
        number = operator.index(number)
    except TypeError:
        raise TypeError(f"a target is named by its place, a whole number from 0 on; got {number!r}.") from None
    if not -count <= number < count:
        raise IndexError(f"there {'is 1 target' if count == 1 else f'are {count} targets'}, from 0 on; got {number}.")
    each = marginal(distribution)
    if not distribution.event_shape:
        return distribution
    if not each.event_shape:
        return mapped(lambda tensor: tensor.select(len(distribution.batch_shape), number), each)
    if isinstance(distribution, MultivariateNormal | LowRankMultivariateNormal):
        return dist.Normal(each.mean[..., number], each.variance[..., number].sqrt(), validate_args=False)
    raise NotImplementedError(f"one target of a {type(distribution).__name__} is not implemented; sample them.")
