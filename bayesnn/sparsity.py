"""Which weights matter: signal over noise, and a posterior without those that do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from bayesnn.guides import AutoNormal
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import Draws, WeightPosterior

__all__ = ["pruned", "signal_to_noise"]


@torch.no_grad()
def signal_to_noise(posterior: WeightPosterior) -> dict[str, Tensor]:
    r"""How sure the posterior is that a weight is not 0: :math:`|\mu| / \sigma` of each.

    Args:
        posterior: Draws of a network's weights, two at least.

    Returns:
        A tensor in the shape of each parameter, by name; from the guide itself where it is mean-field, from the draws
        otherwise. A weight whose mean is 0 has 0, without noise too, as after `pruned`.

    Raises:
        TypeError: If it is no posterior of a network's weights.
        ValueError: If it has one draw only, and so no noise.

    References:
        Graves (2011), Practical Variational Inference for Neural Networks, NIPS, on pruning; Blundell et al. (2015),
        Weight Uncertainty in Neural Networks, arXiv:1505.05424, section 5.1.

    Example:
        >>> from bayesnn import fit_svi, likelihoods, networks
        >>> x = torch.randn(200, 3)
        >>> model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=()), likelihood=likelihoods.gaussian)
        >>> y = x[:, 0] + 0.1 * torch.randn(200)
        >>> posterior = fit_svi(model, x, y, num_epochs=500, progress=False)
        >>> signal_to_noise(posterior)["0.weight"].argmax()
        tensor(0)
    """
    names = _names(posterior)
    if isinstance(posterior.guide, AutoNormal) and all(name in posterior.guide.real_moments() for name in names):
        moments = posterior.guide.real_moments()
        return {name: _ratio(*moments[name]).to(posterior.device) for name in names}  # the guide stays where it was
    if posterior.num_samples < 2:
        raise ValueError(
            f"signal over noise needs two draws at least; {posterior.method} has one. Fit by fit_svi, or any "
            "method with draws."
        )
    drawn = {name: torch.std_mean(posterior.weights[name], 0) for name in names}
    return {name: _ratio(mean, sd) for name, (sd, mean) in drawn.items()}


@torch.no_grad()
def pruned(
    posterior: WeightPosterior,
    fraction: float = 0.5,
    *,
    by: Callable[[WeightPosterior], dict[str, Tensor]] = signal_to_noise,
) -> WeightPosterior:
    """The posterior with the weights of least signal over noise set to 0 in every draw.

    What that costs is seen by `bayesnn.evaluate` on held-out data, or by ``az.compare`` of both as `bayesnn.to_arviz`
    exports them. There is no density of the rest.

    Args:
        posterior: Draws of a network's weights.
        fraction: Which share of all the network's weights together, from 0 to 1.
        by: What ranks them, the lowest first.

    Returns:
        A posterior whose ``summary`` tells ``pruned``, the share.

    Raises:
        TypeError: If it is no posterior of a network's weights.
        ValueError: If the fraction is none, or there is no noise to rank by.

    Example:
        >>> from bayesnn import fit_svi, likelihoods, networks
        >>> x = torch.randn(200, 3)
        >>> model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=()), likelihood=likelihoods.gaussian)
        >>> y = x[:, 0] + 0.1 * torch.randn(200)
        >>> posterior = fit_svi(model, x, y, num_epochs=500, progress=False)
        >>> pruned(posterior, 0.75).weights["0.weight"][0].count_nonzero()
        tensor(1)
    """
    names = _names(posterior)
    if isinstance(fraction, bool) or not isinstance(fraction, Real) or not 0 <= fraction <= 1:
        raise ValueError(f"fraction must be a share of the weights from 0 to 1; got {fraction!r}. For half write 0.5.")
    ranks = by(posterior)
    flat = torch.cat([ranks[name].flatten() for name in names])
    kept = torch.ones(len(flat), dtype=torch.bool, device=flat.device)
    kept[flat.argsort()[: round(fraction * len(flat))]] = False
    parts = kept.split([ranks[name].numel() for name in names])
    masks = {name: part.view(ranks[name].shape) for name, part in zip(names, parts, strict=True)}

    return replace(
        posterior,
        weights=_cut(masks, posterior.weights),
        method=f"{posterior.method}, pruned",
        summary={"pruned": float((~kept).double().mean())},
        draws=None if posterior.draws is None else partial(_cut_draws, masks, posterior.draws),
        guide=None,
        density=None,
    )


def _cut(masks: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value * masks[name] if name in masks else value for name, value in weights.items()}


def _cut_draws(masks: Mapping[str, Tensor], made: Draws, number: int, seed: int) -> dict[str, Tensor]:
    return _cut(masks, made(number, seed))


def _ratio(mean: Tensor, sd: Tensor) -> Tensor:
    """Signal over noise; 0 / 0 is no signal, and would be sorted behind every number."""
    return torch.where(mean == 0, torch.zeros_like(mean), mean.abs() / sd)


def _names(posterior: Any) -> list[str]:
    """The network's parameters among the draws."""
    model = getattr(posterior, "model", None)
    if not isinstance(posterior, WeightPosterior) or not isinstance(model, BayesianNeuralNetwork):
        given = getattr(posterior, "method", type(posterior).__name__)
        raise TypeError(
            f"this needs draws of a whole network's weights; got {given}. Fit by fit_svi, fit_swag, fit_nuts or "
            "fit_ensemble."
        )
    return model.parameter_names
