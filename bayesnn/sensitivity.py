"""How much a fit hangs on its prior: fits with other prior scales, and at another temperature, beside it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.diagnosis import Finding
from bayesnn.held_out import predicted
from bayesnn.model import BayesianNeuralNetwork

__all__ = ["rescaled", "sensitivities"]

_LARGE = 0.1
"""Nats per datum that a score may change by before it is said."""

_FACTORS = (0.5, 2.0)
_TEMPERATURE = 0.5


def sensitivities(
    posterior: Any, x: Tensor, y: Tensor, scored_on: tuple[Any, Any], refit: Callable[..., Any]
) -> tuple[dict[str, float], list[Finding]]:
    """Scores of fits with half and twice the prior scales, and at half the temperature where ``refit`` takes one.

    Args:
        posterior: The fit.
        x: Its inputs.
        y: Their targets.
        scored_on: Data ``(x, y)`` that fits are scored on.
        refit: ``(model, x, y, **options) -> posterior``.

    Returns:
        ``nll_change_prior_0.5``, ``nll_change_prior_2``, ``nll_change_temperature_0.5``, nats per datum; and findings.

    Raises:
        TypeError: If ``refit`` is no function, or the posterior has no model of this package to change.
    """
    model = getattr(posterior, "model", None)
    if not callable(refit) or not isinstance(model, BayesianNeuralNetwork):
        raise TypeError(
            f"refit must be a function (model, x, y) -> posterior, of a BayesianNeuralNetwork; got {refit!r} for "
            f"{getattr(posterior, 'method', posterior)}. Write refit=partial(fit_svi, progress=False)."
        )

    def score(fitted: Any) -> float:
        predictive, truth = predicted(fitted, *scored_on)
        return -float(predictive.log_prob(truth).double().mean())

    here, figures = score(posterior), {}
    for factor in _FACTORS:
        figures[f"nll_change_prior_{factor:g}"] = score(refit(rescaled(model, factor), x, y)) - here
    if "temperature" in inspect.signature(refit).parameters:
        figures[f"nll_change_temperature_{_TEMPERATURE:g}"] = score(refit(model, x, y, temperature=_TEMPERATURE)) - here
    large = {name: value for name, value in figures.items() if abs(value) > _LARGE}
    if not large:
        return figures, []
    told = ", ".join(
        f"{name.removeprefix('nll_change_').replace('_', ' x ', 1)}: {v:+.2g}" for name, v in large.items()
    )
    words = (
        f"the score changes by more than {_LARGE} nats a datum with the prior or the temperature ({told}): what it "
        "says hangs on them. A fall at a lower temperature is the cold-posterior effect: prior or guide fit badly."
    )
    return figures, [Finding("sensitive to the prior", words, is_warning=False)]


def rescaled(model: BayesianNeuralNetwork, factor: float) -> BayesianNeuralNetwork:
    """The model with every prior of its weights as it stands, about its middle, at a multiple of its scale.

    Args:
        model: A model; fitted prior scales are taken as they were fitted, and are fixed.
        factor: The multiple, positive.
    """

    def prior(name: str, value: Tensor) -> Distribution:
        found = model.priors()[name]
        if isinstance(found, dist.Normal):
            return dist.Normal(found.loc, factor * found.scale)
        middle = found.mean.nan_to_num()
        moved = torch.distributions.transforms.AffineTransform(middle * (1 - factor), factor)
        return dist.TransformedDistribution(found, moved)

    return BayesianNeuralNetwork(model.network, prior, model.likelihood, standardise=model.standardise)
