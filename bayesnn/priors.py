"""Priors: functions ``(name, value) -> Distribution`` that say what is believed of a parameter before the data.

``name`` is the parameter's name in the network (``"0.weight"``), ``value`` the tensor it starts from. A prior's
distribution has the shape of ``value``, so any function of your own that returns one is a prior.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable
from typing import Literal

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

__all__ = ["FittedNormal", "Prior", "describe", "fan_in_normal", "laplace", "normal", "only", "student_t"]

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
        second_moment = (loc.square() + scale.square()).mean(self.shared, keepdim=True)
        return self.with_scale(second_moment.sqrt().expand_as(loc))

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
    return lambda name, value: dist.Normal(torch.full_like(value, loc), scale)


def laplace(scale: float = 1.0) -> Prior:
    """A zero-mean Laplace of scale ``scale`` (standard deviation ``sqrt(2) scale``) for every parameter."""
    _check_scale(scale)
    return lambda name, value: dist.Laplace(torch.zeros_like(value), scale)


def student_t(scale: float = 1.0, degrees_of_freedom: float = 3.0) -> Prior:
    """A zero-mean Student-t of the given scale and degrees of freedom for every parameter: heavy tails."""
    _check_scale(scale)
    if not degrees_of_freedom > 0:
        raise ValueError(f"degrees_of_freedom must be positive; got {degrees_of_freedom}.")
    return lambda name, value: dist.StudentT(degrees_of_freedom, torch.zeros_like(value), scale)


def fan_in_normal(scale: float = 3.0, fit: Groups | None = "unit") -> Prior:
    r"""Zero-mean normals whose variance falls with a unit's number of inputs, :math:`N(0, s^2 / \text{fan-in})`.

    The variance of a layer's outputs then does not depend on its width. Vectors have no inputs to count: a bias gets
    :math:`N(0, s^2)`, and a gain (a vector named ``weight``, as in a normalisation layer) :math:`N(1, s^2)`.

    With ``fit`` the scales are the start, and `fit_svi` fits them as part of the ELBO (see `FittedNormal`); every other
    method takes them as they stand. Why this is the default: docs/variational-fit.md. A group of fewer than 8 values,
    and a gain, keep their fixed scale.

    Args:
        scale: The factor :math:`s`, positive.
        fit: ``"unit"`` fits one scale for the incoming weights of each unit or filter and one for the biases of a
            layer, ``"tensor"`` one for each tensor, ``None`` fixes them.

    References:
        Neal (1996), Bayesian Learning for Neural Networks, section 2.1.

    Example:
        >>> fan_in_normal(1.0, fit=None)("0.weight", torch.zeros(3, 16)).stddev.unique()
        tensor([0.2500])
    """
    _check_scale(scale)
    if fit not in ("unit", "tensor", None):
        raise ValueError(f'fit must be "unit", "tensor" or None; got {fit!r}.')

    def prior(name: str, value: Tensor) -> Distribution:
        fan_in = value[0].numel() if value.ndim > 1 else 1
        scales = torch.full_like(value, scale / math.sqrt(fan_in))
        if value.ndim == 1 and name.rpartition(".")[2] == "weight":
            return dist.Normal(torch.ones_like(value), scales)
        by_unit = fit == "unit" and value.ndim > 1 and fan_in >= _SMALLEST_GROUP
        if fit is None or (value.numel() < _SMALLEST_GROUP):
            return dist.Normal(torch.zeros_like(value), scales)
        return FittedNormal(scales, tuple(range(1 - value.ndim if by_unit else -value.ndim, 0)))

    return prior


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
    return lambda name, value: (prior if fnmatch.fnmatchcase(name, pattern) else otherwise)(name, value)


def describe(prior: Distribution) -> str:
    """A prior in a few words: its family and the range of its standard deviations."""
    family = type(prior.base_dist if isinstance(prior, dist.Independent) else prior).__name__
    spread = prior.stddev
    low, high = float(spread.min()), float(spread.max())
    return f"{family}(sd {low:.3g})" if low == high else f"{family}(sd {low:.3g} to {high:.3g})"


def _check_scale(scale: float) -> None:
    if not (isinstance(scale, int | float) and scale > 0 and math.isfinite(scale)):
        raise ValueError(f"a prior scale must be a positive number; got {scale!r}. Write scale=1.0, say.")
