"""FlatDivergence: the divergence of independent normals from normal priors and its gradient, of one vector of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.distributions import Independent, LogNormal, Normal
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor
from torch.distributions.transforms import ExpTransform, Transform, identity_transform

from bayesnn.priors import FittedNormal

__all__ = ["FlatDivergence", "base_of", "is_between_normals"]


class FlatDivergence:
    r"""The Kullback-Leibler divergence of a guide from its priors.

    .. math:: \sum_i \log \frac{s_i}{\sigma_i} + \frac{\sigma_i^2 + (\mu_i - m_i)^2}{2 s_i^2} - \frac12

    Scales :math:`s` of `FittedNormal` priors stand still between two calls of `follow`.

    Args:
        priors: The sites' priors; of a log-normal one, mean and scale are those of the logarithm.
        views: ``views(vector) -> {site: its part of the vector}``.
        loc: Means, read in every call.
        log_scale: Logarithms of the scales, likewise.

    Attributes:
        precision: The priors' :math:`1 / s^2`.

    References:
        Kingma and Welling (2014), arXiv:1312.6114, appendix B, for the divergence of one normal from another.
    """

    def __init__(
        self,
        priors: Mapping[str, Distribution],
        views: Callable[[Tensor], Mapping[str, Tensor]],
        loc: Tensor,
        log_scale: Tensor,
    ) -> None:
        self._bases = {name: base_of(prior) for name, prior in priors.items()}
        self._views, self._loc, self._log_scale = views, loc, log_scale
        self._center, self.precision = torch.zeros_like(loc), torch.ones_like(loc)
        centers, precisions = views(self._center), views(self.precision)
        for name, base in self._bases.items():
            normal = base.base_dist if isinstance(base, LogNormal) else base
            centers[name].copy_(normal.loc)
            precisions[name].copy_(normal.scale**-2)
        self._off = None if bool((self._center == 0).all()) else torch.empty_like(loc)
        self.follow()

    def off(self) -> Tensor:
        """How far the means are from those of the priors."""
        return self._loc if self._off is None else torch.sub(self._loc, self._center, out=self._off)

    def follow(self) -> None:
        """Give fitted priors the scales that suit the guide best now."""
        scales, locs, precisions = (self._views(of) for of in (self._log_scale.exp(), self._loc, self.precision))
        for name, base in self._bases.items():
            if isinstance(base, FittedNormal):
                precisions[name].copy_(base.fitted_variance(locs[name], scales[name]).reciprocal_())
        self._constant = self.precision.log().sum() + len(self.precision)

    def value(self) -> Tensor:
        """The divergence in nats."""
        off = self.off()
        squares = torch.mul(self._log_scale, 2).exp_().addcmul_(off, off)
        twice = torch.dot(squares, self.precision).sub_(self._log_scale.sum(), alpha=2)
        return twice.sub_(self._constant).div_(2)


def is_between_normals(prior: Distribution, transform: Transform | None, *, of_logarithm: bool) -> bool:
    """Whether prior and guide of a site are both normal.

    Args:
        prior: The site's prior.
        transform: What makes the site's values of the guide's normal numbers.
        of_logarithm: Whether it is the logarithm of the site that is to be so.
    """
    base = base_of(prior)
    if of_logarithm:
        return isinstance(base, LogNormal) and isinstance(transform, ExpTransform)
    return type(base) in (Normal, FittedNormal) and transform == identity_transform


def base_of(prior: Distribution) -> Any:
    """The prior of single numbers."""
    return prior.base_dist if isinstance(prior, Independent) else prior
