"""The prior predictive: what a model says before it has seen any data, and whether that could be so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bayesnn.checks import check_count, check_seed
from bayesnn.data import as_inputs, brings_targets, on_device
from bayesnn.fitting import prepared, prepared_pyro_model
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import WeightPosterior
from bayesnn.predictive import Predictive
from bayesnn.pyro_model import PyroModel
from bayesnn.seeding import seeded
from bayesnn.warned import warn

__all__ = ["prior_predictive"]

_TIMES = 30.0
"""How many times the targets' own spread a drawn function may vary by, or be short of it."""

_CERTAIN, _INDIFFERENT = 0.995, 0.02
"""Mean largest probability of drawn classifiers beyond which it is absurd, and distance from even odds within which."""

_TIMES_THE_LARGEST = 1000.0

_MOST_ROWS = 1000


def prior_predictive(
    model: BayesianNeuralNetwork | Callable,
    x: Any,
    y: Any = None,
    *,
    num_samples: int = 100,
    device: torch.device | str | None = None,
    seed: int = 0,
) -> WeightPosterior:
    r"""Draw all unknowns from their priors: the model before any fit, as a function from inputs to a `Predictive`.

    .. math:: p(y \mid x) = \int p(y \mid x, \theta) \, p(\theta) \, d\theta.

    All that takes a posterior takes it: `bayesnn.decompose`, pictures, `bayesnn.to_arviz`. Of the targets ``y`` only
    their units are used, as the model standardises by them.

    It warns when the prior says what the data's scale makes absurd: of real targets, when the mean of a drawn function
    varies over the inputs more than thirty times as much as the targets do, or less than a thirtieth as much; of
    classes, when drawn classifiers are certain of nearly every input, or of none; of positive targets and counts, when
    the largest mean of a drawn function is, in the median, beyond a thousand times the largest target.

    Args:
        model: A `BayesianNeuralNetwork`, or any Pyro model ``model(x, y=None)`` with one observed site.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``; they may be left out by a model that does not standardise, and nothing is
            checked then.
        num_samples: Number of draws S.
        device: Where; where the network is, if left out.
        seed: Seed of the draws.

    Returns:
        A posterior whose method is ``"prior"``. Its ``summary`` tells ``spread``, the median over draws of how much the
        mean varies over the inputs, in the targets' own standard deviations; or of classes ``max_probability``, the
        mean largest one; or of counts and positive targets ``spread``, the median over draws of the largest mean, in
        largest targets. Of constant targets it tells nothing.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If the model standardises and there are no targets, or the data do not suit it.

    References:
        Gelman et al. (2020), Bayesian Workflow, arXiv:2011.01808, section 2.4.

    Example:
        >>> from bayesnn import likelihoods, networks
        >>> x, y = torch.randn(50, 2), torch.randn(50)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
        >>> prior = prior_predictive(model, x, y)
        >>> prior(x).num_samples
        100
    """
    check_count("num_samples", num_samples)
    check_seed(seed)
    known: BayesianNeuralNetwork | PyroModel
    targets: Tensor | None = None
    if y is not None or brings_targets(x):
        if isinstance(model, BayesianNeuralNetwork):
            known, inputs, targets = prepared(model, x, y, device, trains=False)
        else:
            known, inputs, targets = prepared_pyro_model(model, x, y, device, None)
    else:
        known, inputs = _without_targets(model, x, device)

    draws = partial(_draws, known, inputs.device)
    prior = WeightPosterior(known, draws(num_samples, seed), "prior", draws=draws)
    if targets is None:
        return prior
    rows = torch.linspace(0, len(inputs) - 1, min(len(inputs), _MOST_ROWS)).round().long().to(inputs.device)
    figures, words = _judged(prior(inputs[rows]), targets)
    if words:
        warn(words)
    return WeightPosterior(known, prior.weights, "prior", None, figures, draws)


@torch.no_grad()
def _draws(model: BayesianNeuralNetwork | PyroModel, device: torch.device, number: int, seed: int) -> dict[str, Tensor]:
    with seeded(seed, device):
        return model.prior_draws(number)


def _without_targets(
    model: BayesianNeuralNetwork | Callable, x: Any, device: torch.device | str | None
) -> tuple[BayesianNeuralNetwork, Tensor]:
    if not isinstance(model, BayesianNeuralNetwork):
        raise TypeError(f"the prior of a Pyro model needs x and y, whose shapes it is run on; got no y for {model!r}.")
    if model.standardise and model.num_data is None:
        raise ValueError(
            "a model that standardises takes its units from x and y; got no y. Pass y, or write standardise=False."
        )
    there = on_device(device, model.device)
    return model.to(there) if device is not None else model, as_inputs(x).to(there)


@torch.no_grad()
def _judged(predictive: Predictive, y: Tensor) -> tuple[dict[str, float], str]:
    """A figure, and a sentence where it is absurd."""
    if predictive.has_enumerate_support:
        if predictive.event_shape:
            return {}, ""
        probs = predictive.member_log_probs.exp()
        largest, even = float(probs.max(-1).values.mean()), 1 / probs.shape[-1]
        words = ""
        if largest > _CERTAIN:
            words = "classifiers drawn from the prior are certain of nearly every input"
        elif largest < even + _INDIFFERENT:
            words = "classifiers drawn from the prior find all classes alike for nearly every input"
        scale = "narrower" if largest > _CERTAIN else "wider"
        told = f" (mean largest probability {largest:.3g}): take a {scale} prior, as priors.fan_in_normal(scale=...)."
        return {"max_probability": largest}, f"{words}{told}" if words else ""
    mean = predictive.members.mean.double().reshape(predictive.num_samples, len(predictive), -1)
    flat = y.double().reshape(len(y), -1)
    support = predictive.support
    if not bool((flat.std(0) > 0).all()):  # constant targets have no scale to hold a prior against
        return {}, ""
    if support is not None and (support.is_discrete or bool((flat > 0).all() and _is_positive(predictive))):
        worst = float((mean.amax(1) / flat.abs().amax(0).clamp_min(1e-30)).nan_to_num(nan=torch.inf).median())
        words = (
            f"a mean drawn from the prior reaches {worst:.3g} times the largest target: take a narrower prior, as "
            "priors.fan_in_normal(scale=...)."
        )
        return {"spread": worst}, words if worst > _TIMES_THE_LARGEST else ""
    ratio = float((mean.std(1) / flat.std(0).clamp_min(1e-30)).nan_to_num(nan=torch.inf).median())
    wide = ratio > _TIMES
    words = (
        f"functions drawn from the prior vary {ratio:.3g} times as much over the inputs as the targets do: take a "
        f"{'narrower' if wide else 'wider'} prior, as priors.fan_in_normal(scale=...)."
    )
    return {"spread": ratio}, words if wide or ratio < 1 / _TIMES else ""


def _is_positive(predictive: Predictive) -> bool:
    """Whether targets are positive by the likelihood."""
    support: Any = predictive.support
    support = getattr(support, "base_constraint", support)
    return getattr(support, "lower_bound", None) == 0 and not hasattr(support, "upper_bound")
