"""What each site of a mean-field guide has learnt: its divergence from the prior, and signal to noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.distributions import LogNormal, Normal

from bayesnn.elbo import site_divergence
from bayesnn.guides import AutoNormal
from bayesnn.model import BayesianNeuralNetwork

__all__ = ["site_divergences"]

_DRAWS = 100
_NOTHING = 0.01
"""Nats of divergence below which a weight has learnt nothing: a shift by a seventh of its prior's scale."""


@torch.no_grad()
def site_divergences(model: BayesianNeuralNetwork, guide: AutoNormal) -> dict[str, dict[str, float]]:
    r"""Figures of every site under a fitted guide.

    Of one weight with prior :math:`N(m, s^2)` and posterior :math:`N(\mu, \sigma^2)` the divergence is
    :math:`\log(s / \sigma) + (\sigma^2 + (\mu - m)^2) / (2 s^2) - \frac12`, in nats; of a guide along other axes these
    are those of its marginals.

    Args:
        model: The model, its priors as fitted.
        guide: Its guide.

    Returns:
        For each site ``size``, ``kl`` in nats, ``kl_per_weight``, ``at_prior``, the share of its numbers within 0.01
        nats of their prior, and ``signal_to_noise``, the median of :math:`|\mu| / \sigma`. The last two are not a
        number where a site is not normal.
    """
    priors = {name: prior.to_event() for name, prior in model.priors().items()} | model.latents()
    moments, sites = guide.real_moments(), guide.sites()
    found = {}
    for name, site in sites.items():
        value, inner = site.sample(), getattr(priors[name], "base_dist", priors[name])
        # Where there is no closed form the mean over draws stands for it.
        number = 1 if isinstance(inner, Normal | LogNormal) else _DRAWS
        draws = [site_divergence(site, priors[name], site.sample()) for _ in range(number)]
        kl = float(torch.stack(draws).mean())
        figures = {"size": float(value.numel()), "kl": kl, "kl_per_weight": kl / value.numel()}
        found[name] = figures | _of_weights(model, name, moments)
    return found


def _of_weights(
    model: BayesianNeuralNetwork, name: str, moments: Mapping[str, tuple[Tensor, Tensor]]
) -> dict[str, float]:
    prior = model.priors().get(name)
    if not isinstance(prior, Normal) or name not in moments:
        return {"at_prior": float("nan"), "signal_to_noise": float("nan")}
    loc, scale = moments[name]
    ratio = scale / prior.scale
    each = -ratio.log() + 0.5 * (ratio.square() + ((loc - prior.loc) / prior.scale).square() - 1)
    return {
        "at_prior": float((each < _NOTHING).double().mean()),
        "signal_to_noise": float((loc.abs() / scale).median()),
    }
