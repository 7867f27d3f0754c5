"""MeanFieldELBO: the evidence lower bound with closed-form Kullback-Leibler divergence, as a Pyro objective."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pyro.distributions import Independent, Normal, TransformedDistribution
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from pyro.infer import Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from bayesnn.axes import Rotation
from bayesnn.guides import AutoNormal
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import FittedNormal
from bayesnn.reparameterisation import PerDatumNoise

__all__ = ["MeanFieldELBO", "site_divergence"]


class MeanFieldELBO(TraceMeanField_ELBO):
    r"""The ELBO of a guide, split into fit and divergence.

    .. math:: \mathrm{ELBO} = \mathbb{E}_q[\log p(y \mid x, \theta)] - \beta\,\mathrm{KL}(q \,\|\, p).

    Works wherever a Pyro ELBO does: in ``pyro.infer.SVI(model, guide, optim, loss=MeanFieldELBO())`` and as
    ``MeanFieldELBO()(model, guide)``. With our `AutoNormal` the divergence of each site is in closed form where torch
    knows one and sampled elsewhere; `FittedNormal` priors are taken at their best scales. With any other guide it is
    sampled, ``log q - log p``, which is right for every reparameterised guide.

    For our model and guide together, the objective is computed without Pyro's handlers; the value is the same.

    Args:
        num_particles: Draws averaged in each estimate.
        kl_weight: The factor :math:`\beta`; 1 for the ELBO itself.
        per_datum_noise: Names of sites whose noise is drawn for each datum (see `bayesnn.reparameterisation`).

    References:
        Blundell et al. (2015), Weight Uncertainty in Neural Networks, arXiv:1505.05424, equation 1.
    """

    def __init__(
        self, num_particles: int = 1, *, kl_weight: float = 1.0, per_datum_noise: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(num_particles=num_particles, **kwargs)
        self.kl_weight = kl_weight
        self.per_datum_noise: Sequence[str] = tuple(per_datum_noise)

    def terms(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Expected log-likelihood of the whole data set and divergence from the prior, in nats, with gradients.

        Args:
            model: A Pyro model.
            guide: Its guide.
            *args: What both are called with, ``x, y``.
            **kwargs: The same by name.
        """
        if isinstance(model, BayesianNeuralNetwork) and isinstance(guide, AutoNormal) and not kwargs:
            particles = [self._direct_terms(model, guide, *args) for _ in range(self.num_particles)]
        else:
            particles = [_traced_terms(*traces) for traces in self._get_traces(model, guide, args, kwargs)]
        fit, divergence = (torch.stack(term).sum() / self.num_particles for term in zip(*particles, strict=True))
        return fit, divergence

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """The negative ELBO with gradients."""
        fit, divergence = self.terms(model, guide, *args, **kwargs)
        return self.kl_weight * divergence - fit

    def _direct_terms(
        self, model: BayesianNeuralNetwork, guide: AutoNormal, x: Tensor, y: Tensor
    ) -> tuple[Tensor, ...]:
        guide_sites = guide.sites()
        values = {name: site.rsample() for name, site in guide_sites.items()}
        with PerDatumNoise(values, guide.noise(self.per_datum_noise)):
            log_likelihood = model.log_likelihood(values, x, y).sum()
        priors = {name: prior.to_event() for name, prior in model.priors().items()} | model.latents()
        divergences = [site_divergence(site, priors[name], values[name]) for name, site in guide_sites.items()]
        return log_likelihood * (max(model.num_data or 0, len(x)) / len(x)), torch.stack(divergences).sum()

    # Pyro's own entry points

    def _get_trace(self, model: Callable, guide: Callable, args: Any, kwargs: Any) -> Any:
        if not (self.per_datum_noise and isinstance(guide, AutoNormal)):
            return Trace_ELBO._get_trace(self, model, guide, args, kwargs)
        values: dict[str, Tensor] = {}

        def sampled(*args: Any, **kwargs: Any) -> dict[str, Tensor]:
            values.update(guide(*args, **kwargs))
            return values

        def noisy(*args: Any, **kwargs: Any) -> Any:
            with PerDatumNoise(values, guide.noise(self.per_datum_noise)):
                return model(*args, **kwargs)

        return Trace_ELBO._get_trace(self, noisy, sampled, args, kwargs)

    def _differentiable_loss_particle(self, model_trace: Any, guide_trace: Any) -> tuple[float, Tensor]:
        fit, divergence = _traced_terms(model_trace, guide_trace)
        loss = self.kl_weight * divergence - fit
        return loss.item(), loss


def site_divergence(guide: Distribution, prior: Distribution, value: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence of one site, in nats: closed form where known, else ``log q - log p`` at ``value``.

    A `FittedNormal` prior is taken at the scales that suit the guide best, held constant in the gradient: at the
    optimum the derivative with respect to them is zero.
    """
    if isinstance(guide, TransformedDistribution) and isinstance(guide.transforms[0], Rotation):
        return _rotated_divergence(guide, prior, value)
    if isinstance(prior, Independent) and isinstance(prior.base_dist, FittedNormal) and isinstance(guide, Independent):
        base = guide.base_dist
        prior = prior.base_dist.fitted(base.mean.detach(), base.stddev.detach()).to_event(
            prior.reinterpreted_batch_ndims
        )
    try:
        return kl_divergence(guide, prior).sum()
    except NotImplementedError:
        return (guide.log_prob(value) - prior.log_prob(value)).sum()


def _rotated_divergence(guide: TransformedDistribution, prior: Distribution, value: Tensor) -> Tensor:
    """The same for a guide along other axes, whose entropy does not change with the rotation.

    A prior of one scale along each row looks the same along all axes. For another normal the cross-entropy needs the
    guide's mean and variance along the prior's own.
    """
    along, base, rotation = guide.base_dist, prior.base_dist, guide.transforms[0].axes
    if isinstance(base, FittedNormal) and -1 in base.shared:
        return site_divergence(along, prior, value)
    if not isinstance(base, Normal):
        return (guide.log_prob(value) - prior.log_prob(value)).sum()
    mean, variance = along.mean @ rotation.T, along.variance @ rotation.square().T
    if isinstance(base, FittedNormal):
        base = base.fitted(mean.detach(), variance.sqrt().detach())
    cross = (base.scale.log() + (variance + (mean - base.loc).square()) / (2 * base.variance) - 0.5).sum()
    return cross - along.stddev.log().sum()


def _traced_terms(model_trace: Any, guide_trace: Any) -> tuple[Tensor, Tensor]:
    """Log-likelihood and divergence of one pair of Pyro traces, with their plates' scales and masks."""
    fit, divergence = torch.zeros(()), torch.zeros(())
    for name, site in model_trace.nodes.items():
        if site["type"] != "sample":
            continue
        if site["is_observed"]:
            fit = fit + site["log_prob_sum"]
            continue
        guide_site = guide_trace.nodes[name]
        if guide_site["infer"].get("mean_field") and site["mask"] is None and site["scale"] == 1.0:
            divergence = divergence + site_divergence(guide_site["fn"], site["fn"], guide_site["value"])
        else:
            divergence = divergence + guide_site["log_prob_sum"] - site["log_prob_sum"]
    for name, site in guide_trace.nodes.items():
        if site["type"] == "sample" and name not in model_trace.nodes:  # auxiliary sites of Pyro's own guides
            divergence = divergence + site["log_prob_sum"]
    return fit, divergence
