"""fit_map: the plain network, its weights at the maximum of the posterior density. One draw, no epistemic part."""

from __future__ import annotations

from typing import Any

import torch

from bayesnn.fitting import epochs_for, isolated, prepared
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.points import Objective, maximise
from bayesnn.posterior import WeightPosterior
from bayesnn.training import Callback, History

__all__ = ["fit_map"]

STEPS = 2000
"""Steps of a fit whose number of epochs is left open."""


def fit_map(
    model: BayesianNeuralNetwork,
    x: Any,
    y: Any = None,
    *,
    num_epochs: int | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    device: torch.device | str | None = None,
    seed: int = 0,
    progress: bool = True,
    callback: Callback | None = None,
    beta: float = 0.5,
    adversarial: float = 0.0,
) -> WeightPosterior:
    r"""Fit a plain network: the weights that maximise the posterior density (MAP).

    .. math:: \hat\theta = \arg\max_\theta \; \sum_n \log p(y_n \mid x_n, \theta) + \log p(\theta),

    which for a normal prior is training with weight decay. The densities are those of the model's own sites, a noise
    scale among them.

    With a likelihood that has a place and a scale (`likelihoods.heteroscedastic_gaussian`) this is a network that
    predicts its own noise. Each datum's part of the sum is then weighted by a power ``beta`` of the predicted scale,
    without which such networks tend to take what they have not learnt yet for noise, and never learn it (see
    `bayesnn.likelihoods.beta_weighted`); the formula above is ``beta=0``.

    Args:
        model: Network, prior and likelihood. Scales of `priors.fan_in_normal` are taken as they stand.
        x: Inputs ``(N, ...)`` in raw units; or a ``Dataset`` or ``DataLoader`` of ``(x, y)``.
        y: Targets ``(N,)`` or ``(N, D)``.
        num_epochs: Passes over the data; if left out, as many as make 2000 steps, 20 at least.
        batch_size: Data in a minibatch.
        learning_rate: Adam's step size at the start.
        device: Where to fit; where the network is, if left out.
        seed: Seed of the minibatches' order.
        progress: Whether to show a progress bar.
        callback: Called after each epoch with its number and the mean of each term.
        beta: Power of the predicted scale in the weight of a datum, between 0 and 1, with ``heteroscedastic_gaussian``,
            ``student_t``, ``laplace`` and ``log_normal``; of no effect with other likelihoods.
        adversarial: Train on adversarial examples too: half of the loss is then of inputs moved by this fraction of
            each input's range, against the gradient's sign (0.01 in Lakshminarayanan et al. 2017). 0 for none.

    Returns:
        A posterior of one draw.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If the data do not suit the model; the message says how.

    References:
        Seitzer et al. (2022), arXiv:2203.09168, for ``beta``; Lakshminarayanan et al. (2017), arXiv:1612.01474,
        algorithm 1, for adversarial training.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, likelihoods, networks
        >>> x, y = torch.randn(20, 2), torch.randn(20)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
        >>> fit_map(model, x, y, num_epochs=2, progress=False)(x).mean.shape
        torch.Size([20])
    """
    model, inputs, targets = prepared(model, x, y, device)
    objective = Objective(model, inputs, beta, adversarial)
    with isolated(seed, inputs.device):
        found, history = maximise(
            objective,
            targets,
            model.start(),
            num_epochs=epochs_for(num_epochs, STEPS, len(inputs), batch_size),
            batch_size=batch_size,
            learning_rate=learning_rate,
            progress=progress,
            callback=callback,
            label="map",
        )
    weights = {name: value[None] for name, value in found.items()}
    return WeightPosterior(model, weights, "map", history, {"final_loss": final_loss(history)})


def final_loss(history: History) -> float:
    """Mean loss per datum in the last epoch: what was minimised, with its weights and adversarial examples."""
    return history.epochs[-1]["loss"] if history.epochs else float("nan")
