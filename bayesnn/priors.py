"""Priors: functions ``(name, value) -> Distribution`` that say what is believed of a parameter before the data.

``name`` is the parameter's name in the network (``"0.weight"``), ``value`` the tensor it starts from. A prior's
distribution has the shape of ``value``, so any function of your own that returns one is a prior.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor, nn
from torch.distributions import biject_to, constraints

__all__ = [
    "FittedNormal",
    "Prior",
    "allowed",
    "bounds",
    "center",
    "describe",
    "fan_in_normal",
    "for_network",
    "laplace",
    "listing",
    "normal",
    "only",
    "student_t",
]

Prior = Callable[[str, Tensor], Distribution]
"""A prior: ``(name, value) -> Distribution`` over tensors like ``value``."""

Groups = Literal["unit", "tensor"]

_SMALLEST_GROUP = 8
"""A scale is fitted only to this many values or more: to fewer it would fit their noise."""


class FittedNormal(dist.Normal):
    r"""A zero-mean normal whose scales may be fitted by the ELBO: empirical Bayes, also called type-II likelihood.

    The values share one scale along the axes ``shared``. Under a guide :math:`N(\mu_i, \sigma_i^2)` the ELBO is largest
    at :math:`s^2 = \operatorname{mean}_i(\mu_i^2 + \sigma_i^2)` over the group, in closed form: set the derivative of
    :math:`\sum_i \log s + (\mu_i^2 + \sigma_i^2) / (2 s^2)` to zero. Everything but `fit_svi` sees a plain normal.

    Args:
        scale: Standard deviations, of the full shape of the parameter.
        shared: Axes along which one scale is shared, counted from the last: ``(-1,)`` shares it along rows.

    References:
        MacKay (1992), A practical Bayesian framework for backpropagation networks, Neural Computation 4(3).
        Wu et al. (2019), Deterministic variational inference for robust Bayesian neural networks, arXiv:1810.03958,
        section 4, for the same step under a variational posterior.
    """

    def __init__(self, scale: Tensor, shared: tuple[int, ...]) -> None:
        super().__init__(torch.zeros_like(scale), scale)
        self.shared = shared

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> FittedNormal:
        """The same groups over further leading axes."""
        return FittedNormal(self.scale.expand(batch_shape), self.shared)

    def fitted(self, loc: Tensor, scale: Tensor) -> FittedNormal:
        """This prior with the scales that maximise the ELBO under a guide ``Normal(loc, scale)``."""
        return self.with_scale(self.fitted_variance(loc, scale).sqrt().expand_as(loc))

    def fitted_variance(self, loc: Tensor, scale: Tensor) -> Tensor:
        """The squares of those scales, of size 1 along the axes that share one."""
        return (loc.square() + scale.square()).mean(self.shared, keepdim=True)

    def with_scale(self, scale: Tensor) -> FittedNormal:
        """The same groups with other scales."""
        return FittedNormal(scale, self.shared)


def normal(scale: float = 1.0, loc: float = 0.0) -> Prior:
    """The same normal for every parameter, fixed.

    Args:
        scale: Standard deviation, positive.
        loc: Mean.

    Example:
        >>> normal(0.5)("0.weight", torch.zeros(3, 2)).stddev.unique()
        tensor([0.5000])
    """
    _check_scale(scale)
    return partial(_normal, scale, loc)


def laplace(scale: float = 1.0) -> Prior:
    """A zero-mean Laplace of scale ``scale`` (standard deviation ``sqrt(2) scale``) for every parameter."""
    _check_scale(scale)
    return partial(_laplace, scale)


def student_t(scale: float = 1.0, degrees_of_freedom: float = 3.0) -> Prior:
    """A zero-mean Student-t of scale ``scale`` and ``degrees_of_freedom`` for every parameter: heavy tails."""
    _check_scale(scale)
    if not degrees_of_freedom > 0:
        raise ValueError(f"degrees_of_freedom must be positive; got {degrees_of_freedom}.")
    return partial(_student_t, scale, degrees_of_freedom)


def _normal(scale: float, loc: float, name: str, value: Tensor) -> Distribution:
    return dist.Normal(torch.full_like(value, loc), scale)


def _laplace(scale: float, name: str, value: Tensor) -> Distribution:
    return dist.Laplace(torch.zeros_like(value), scale)


def _student_t(scale: float, degrees_of_freedom: float, name: str, value: Tensor) -> Distribution:
    return dist.StudentT(degrees_of_freedom, torch.zeros_like(value), scale)


@dataclass(frozen=True)
class FanInNormal:
    """The prior that `fan_in_normal` makes."""

    scale: float
    fit: Groups | None
    readout: str | None = None
    gains: tuple[str, ...] = ()

    def for_network(self, network: nn.Module) -> FanInNormal:
        """This prior knowing which weight reads out the last hidden units (the last matrix), and which are gains."""
        matrices = [name for name, value in network.named_parameters() if value.ndim > 1]
        norms = [name for name, module in network.named_modules() if type(module).__name__.endswith("Norm")]
        # A network of one layer has no hidden units.
        readout = matrices[-1] if len(matrices) > 1 else None
        return replace(self, readout=readout, gains=tuple(f"{name}.weight".lstrip(".") for name in norms))

    def __call__(self, name: str, value: Tensor) -> Distribution:
        """The prior of one parameter."""
        fan_in = value[0].numel() if value.ndim > 1 else 1
        scales = torch.full_like(value, self.scale / math.sqrt(fan_in))
        if name in self.gains:
            return dist.Normal(torch.ones_like(value), scales)
        if self.fit is None or value.numel() < _SMALLEST_GROUP:
            return dist.Normal(torch.zeros_like(value), scales)
        if self.fit == "unit" and name == self.readout and value.ndim == 2 and len(value) < _SMALLEST_GROUP:
            return FittedNormal(scales, (-2,))
        by_unit = self.fit == "unit" and fan_in >= _SMALLEST_GROUP
        return FittedNormal(scales, tuple(range(1 - value.ndim if by_unit else -value.ndim, 0)))


def fan_in_normal(scale: float = 3.0, fit: Groups | None = "unit") -> FanInNormal:
    r"""Zero-mean normals whose variance falls with a unit's number of inputs, :math:`N(0, s^2 / \text{fan-in})`.

    The variance of a layer's outputs then does not depend on its width. Vectors have no inputs to count: a bias gets
    :math:`N(0, s^2)`, and the gain of a normalisation layer :math:`N(1, s^2)`.

    With ``fit`` the scales are the start, and `fit_svi` fits them as part of the ELBO (see `FittedNormal`); every other
    method takes them as they stand. Why this is the default: docs/variational-fit.md. Tensors of fewer than 8 values
    and gains keep their fixed scale.

    Args:
        scale: The factor :math:`s`, positive.
        fit: ``"unit"`` fits one scale for the weights into each unit or filter, and one for the biases of a layer; a
            unit of fewer than 8 inputs shares its layer's. A last layer of fewer than 8 outputs has one scale for the
            weights out of each hidden unit instead, which lets units that are not needed fall silent (automatic
            relevance determination). ``"tensor"`` fits one scale for each tensor, ``None`` none.

    References:
        Neal (1996), Bayesian Learning for Neural Networks, sections 2.1 and 4.3.

    Example:
        >>> fan_in_normal(1.0, fit=None)("0.weight", torch.zeros(3, 16)).stddev.unique()
        tensor([0.2500])
    """
    _check_scale(scale)
    if fit not in ("unit", "tensor", None):
        raise ValueError(f'fit must be "unit", "tensor" or None; got {fit!r}.')
    return FanInNormal(scale, fit)


def only(pattern: str, prior: Prior, otherwise: Prior) -> Prior:
    """``prior`` for the parameters whose name matches, another one for the rest.

    Args:
        pattern: Shell pattern on the name: ``"0.*"``, ``"*.bias"``.
        prior: The prior where it matches.
        otherwise: The prior where it does not.

    Example:
        >>> prior = only("*.bias", normal(1.0), otherwise=fan_in_normal())
        >>> prior("2.bias", torch.zeros(2)).stddev
        tensor([1., 1.])
    """
    return Only(pattern, prior, otherwise)


@dataclass(frozen=True)
class Only:
    """The prior that `only` makes."""

    pattern: str
    prior: Prior
    otherwise: Prior

    def for_network(self, network: nn.Module) -> Only:
        """Both priors knowing the network."""
        return Only(self.pattern, for_network(self.prior, network), for_network(self.otherwise, network))

    def __call__(self, name: str, value: Tensor) -> Distribution:
        """The prior of one parameter."""
        return (self.prior if fnmatch.fnmatchcase(name, self.pattern) else self.otherwise)(name, value)


def for_network(prior: Prior, network: nn.Module) -> Prior:
    """A prior that wants to know the network it is for (it has a method of this name), told so; else itself."""
    return prior.for_network(network) if hasattr(prior, "for_network") else prior


def bounds(prior: Distribution) -> constraints.Constraint | None:
    """The support of a prior; ``None`` if it is all of the real line, or torch knows no map from that to it."""
    try:
        support = inner = prior.support
        while isinstance(within := getattr(inner, "base_constraint", None), constraints.Constraint):
            inner = within
        if inner is constraints.real:
            return None
        biject_to(support)
    except NotImplementedError:
        return None
    return support


def allowed(prior: Distribution, value: Tensor) -> Tensor:
    """A value with the numbers that a prior rules out mirrored at its support's lower end, or else put at its center.

    Numbers on an end itself are ruled out too, as no fit would leave it.

    Args:
        prior: A prior, shaped like the value.
        value: Any numbers; those that are none (NaN) stay.

    Example:
        >>> allowed(dist.HalfNormal(torch.ones(3)), torch.tensor([0.1, -0.2, 0.3]))
        tensor([0.1000, 0.2000, 0.3000])
    """
    support = bounds(prior)
    if support is None:
        return value
    lower, upper = (getattr(support, f"{end}_bound", None) for end in ("lower", "upper"))

    def is_inside(numbers: Tensor) -> Tensor:
        inside = support.check(numbers)
        inside = inside.reshape(inside.shape + (1,) * (numbers.ndim - inside.ndim))
        for end in (lower, upper):
            inside = inside if end is None else inside & (numbers != end)
        return inside | value.isnan()

    if lower is not None:
        value = torch.where(is_inside(value), value, 2 * lower - value)
    return torch.where(is_inside(value), value, center(prior))


def center(prior: Distribution) -> Tensor:
    """A value well inside a prior, without chance: its median where that is known, else its mean."""
    base = prior.base_dist if isinstance(prior, dist.Independent) else prior
    mean = base.mean
    try:
        middle = base.icdf(torch.full(base.batch_shape, 0.5, dtype=mean.dtype, device=mean.device))
    except NotImplementedError:
        middle = mean
    return torch.where(middle.isfinite(), middle, torch.zeros_like(middle))


def describe(prior: Distribution) -> str:
    """A prior in a few words: its family and the range of its standard deviations."""
    family = type(prior.base_dist if isinstance(prior, dist.Independent) else prior).__name__
    spread = prior.stddev
    low, high = float(spread.min()), float(spread.max())
    if not math.isfinite(high):
        return family
    return f"{family}(sd {low:.3g})" if low == high else f"{family}(sd {low:.3g} to {high:.3g})"


def listing(priors: Mapping[str, Distribution]) -> str:
    """A line for each site of ``priors``: its name, its shape and its prior."""
    width = max(map(len, priors))
    shapes = {name: str(tuple(prior.batch_shape + prior.event_shape)) for name, prior in priors.items()}
    return "\n".join(f"  {name:{width}}  {shapes[name]:14} {describe(prior)}" for name, prior in priors.items())


def _check_scale(scale: float) -> None:
    if not (isinstance(scale, Real) and scale > 0 and math.isfinite(scale)):
        raise ValueError(f"a prior scale must be a positive number; got {scale!r}. Write scale=1.0, say.")
