"""Likelihoods of real targets with outliers: Student-t and Laplace, their place and scale predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import pyro.distributions as dist
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.checks import check_columns
from bayesnn.likelihoods.likelihood import SMALLEST_SCALE, Affine, Likelihood, beta_weighted, columns, standard

__all__ = ["Laplace", "StudentT", "laplace", "student_t"]


@dataclass(frozen=True)
class _PlaceAndScale(Likelihood):
    """Two outputs a target: its place, and its scale before a softplus."""

    def outputs_per_target(self) -> int:
        """Two: a place and a scale."""
        return 2

    def affine(self, y: Tensor) -> Affine:
        """Mean and standard deviation of each target column."""
        return standard(y)

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Real targets ``(N,)`` or ``(N, D)``."""
        return check_columns(y, num_outputs, 2)

    def weighted_log_prob(self, members: Distribution, y: Tensor, beta: float, target: Affine) -> Tensor:
        """Log-probability weighted by a power of the predicted scale, see `bayesnn.likelihoods.beta_weighted`."""
        return beta_weighted(members, y, beta, target)

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        place, raw = outputs.chunk(2, dim=-1)
        loc = target.loc + target.scale * columns(place, target)
        scale = target.scale * (F.softplus(columns(raw, target)) + SMALLEST_SCALE)
        return self._family(loc, scale).to_event(target.loc.ndim)

    def _family(self, loc: Tensor, scale: Tensor) -> Distribution:
        raise NotImplementedError


@dataclass(frozen=True)
class StudentT(_PlaceAndScale):
    r"""A Student-t whose place and scale the network predicts: :math:`y \sim t_\nu(\mu(x), \sigma(x))`.

    The first half of the outputs is the place, the second half the scale before a softplus. The degrees of freedom
    :math:`\nu` are known: few data tell them, and a fit that may choose them goes for extremes. With 4, the default,
    the tails are heavy and the variance, :math:`\sigma^2 \nu / (\nu - 2)`, is finite: there is something to split.

    References:
        Lange et al. (1989), Robust Statistical Modeling Using the t Distribution, JASA 84(408), for small fixed values.
    """

    degrees_of_freedom: float = 4.0

    def with_degrees_of_freedom(self, degrees_of_freedom: float) -> StudentT:
        """The same likelihood with other degrees of freedom, above 2.

        Example:
            >>> student_t.with_degrees_of_freedom(10)
            StudentT(degrees_of_freedom=10.0)
        """
        if not (isinstance(degrees_of_freedom, Real) and 2 < degrees_of_freedom < math.inf):
            raise ValueError(
                f"degrees_of_freedom must be above 2, or there is no variance to split; got {degrees_of_freedom!r}. "
                "Write 4, say."
            )
        return StudentT(float(degrees_of_freedom))

    def _family(self, loc: Tensor, scale: Tensor) -> Distribution:
        return dist.StudentT(self.degrees_of_freedom, loc, scale)


@dataclass(frozen=True)
class Laplace(_PlaceAndScale):
    r"""A Laplace whose place and scale the network predicts: density :math:`\exp(-|y - \mu(x)| / b(x)) / (2 b(x))`.

    The first half of the outputs is the place, the second half the scale before a softplus.
    """

    def constant_log_likelihood(self, y: Tensor) -> float:
        """That of a Laplace around the median with the mean absolute deviation as its scale."""
        y = y.double()
        spread = (y - y.median(0).values).abs().mean(0)
        return float(-((2 * spread).log() + 1).sum())

    def _family(self, loc: Tensor, scale: Tensor) -> Distribution:
        return dist.Laplace(loc, scale)


student_t = StudentT()
laplace = Laplace()
