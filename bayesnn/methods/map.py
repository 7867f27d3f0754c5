"""fit_map: the plain network, its weights at the maximum of the posterior density. One draw, no epistemic part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import biject_to

from bayesnn.fitting import epochs_for, isolated, prepared
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.posterior import WeightPosterior
from bayesnn.priors import center
from bayesnn.training import Callback, Minibatches, optimise

__all__ = ["fit_map"]

_STEPS = 2000


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
) -> WeightPosterior:
    r"""Fit a plain network: the weights that maximise the posterior density (MAP).

    .. math:: \hat\theta = \arg\max_\theta \; \sum_n \log p(y_n \mid x_n, \theta) + \log p(\theta),

    which for a normal prior is training with weight decay. The densities are those of the model's own sites, a noise
    scale among them.

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

    Returns:
        A posterior of one draw.

    Raises:
        TypeError: If model or data are of the wrong kind.
        ValueError: If the data do not suit the model; the message says how.

    Example:
        >>> from bayesnn import BayesianNeuralNetwork, likelihoods, networks
        >>> x, y = torch.randn(20, 2), torch.randn(20)
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
        >>> fit_map(model, x, y, num_epochs=2, progress=False)(x).mean.shape
        torch.Size([20])
    """
    model, inputs, targets = prepared(model, x, y, device)
    epochs = epochs_for(num_epochs, _STEPS, len(inputs), batch_size)
    num_data = len(inputs)
    with isolated(seed, inputs.device):
        transforms = {name: biject_to(prior.support) for name, prior in model.latents().items()}
        free = model.start()
        free |= {name: transforms[name].inv(center(prior)) for name, prior in model.latents().items()}
        free = {name: value.detach().clone().requires_grad_() for name, value in free.items()}

        def weights() -> dict[str, Tensor]:
            return {name: transforms[name](value) if name in transforms else value for name, value in free.items()}

        def loss(step: int, batch: Sequence[Tensor]) -> dict[str, Tensor]:
            at = weights()
            misfit = -model.log_likelihood(at, *batch).mean()
            return {"loss": misfit - model.log_prior(at) / num_data, "misfit": misfit}

        history = optimise(
            loss,
            free.values(),
            Minibatches([inputs, targets], batch_size),
            num_epochs=epochs,
            learning_rate=learning_rate,
            progress=progress,
            callback=callback,
            label="map",
        )
        found = {name: value.detach()[None] for name, value in weights().items()}
    last = history.epochs[-1]["loss"] if history.epochs else float("nan")
    return WeightPosterior(model, found, "map", history, {"log_joint_per_datum": -last})
