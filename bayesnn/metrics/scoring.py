"""Scoring a predictive against observed targets, a mean over inputs each. Smaller is better, but for accuracy."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesnn.predictive import Predictive

__all__ = ["accuracy", "brier", "brier_of_each", "nll", "rmse"]


def nll(predictive: Predictive, y: Tensor) -> Tensor:
    r"""Negative log predictive density, :math:`-\frac1N \sum_n \log \frac1S \sum_s p(y_n \mid x_n, \theta_s)`, in nats.

    For real targets it is a density in the units of ``y``: changing the unit shifts it.
    """
    return -predictive.log_prob(y).mean()


def accuracy(predictive: Predictive, y: Tensor) -> Tensor:
    """Fraction of inputs (and labels) whose most probable class is the true one."""
    return (predictive.mode == predictive.checked(y)).double().mean()


def brier(predictive: Predictive, y: Tensor) -> Tensor:
    r"""Brier score :math:`\frac1N \sum_n \sum_c (p_{nc} - [y_n = c])^2`, between 0 and 2.

    References:
        Brier (1950), Verification of forecasts expressed in terms of probability, Monthly Weather Review 78(1).
    """
    return brier_of_each(predictive, y).mean()


def brier_of_each(predictive: Predictive, y: Tensor) -> Tensor:
    """The score of each input ``(N,)``, or of each of its labels ``(N, D)``, of which `brier` is the mean."""
    probs = predictive.probs
    truth = torch.nn.functional.one_hot(predictive.checked(y).long(), probs.shape[-1])
    return (probs - truth).square().sum(-1)


def rmse(predictive: Predictive, y: Tensor) -> Tensor:
    """Root mean squared error of the predictive mean, in the units of ``y``, over all inputs and target dimensions."""
    return (predictive.mean - predictive.checked(y)).square().mean().sqrt()
