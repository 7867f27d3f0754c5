"""Held-out data at the door: what a fitted method predicts for them, beside their targets."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from bayesnn.data import as_training_data
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.scaling import input_scaling
from bayesnn.warned import warn

__all__ = ["Posterior", "predicted", "within"]

Posterior = Callable[[Any], Predictive]
"""A fitted method: a function of the inputs."""

_SAME = 1e-6
"""Means and scales that differ by less, in units of the scale, are those of the same rows."""


def within(posterior: Posterior, x: Any, memory: str | int | None) -> Predictive:
    """Predictions within so much memory, of a method that can be told; ``None`` leaves it to the method.

    Raises:
        TypeError: If the method takes no ``memory``.
    """
    if memory is None:
        return posterior(x)
    if "memory" not in inspect.signature(posterior).parameters:
        raise TypeError(f"memory= goes with a posterior that takes it; this {type(posterior).__name__} does not.")
    return posterior(x, memory=memory)  # type: ignore[call-arg]


def predicted(posterior: Posterior, x: Any, y: Any = None) -> tuple[Predictive, Tensor]:
    """Predictions for held-out inputs, and their targets in the predictive's shape and type.

    Args:
        posterior: A fitted method.
        x: Inputs ``(N, ...)`` in raw units, which the fit has not seen; or a ``Dataset`` or ``DataLoader`` of
            ``(x, y)``.
        y: Their true targets ``(N,)`` or ``(N, D)``.

    Raises:
        TypeError: If the posterior is no function of inputs that gives a `Predictive`, or something is not data.
        ValueError: If there is not one target for each input, or the predictive cannot take one.

    Example:
        >>> import torch
        >>> standard = lambda x: Predictive(torch.distributions.Normal(x.mT, 1.0))
        >>> predicted(standard, torch.zeros(3, 1), torch.ones(3, 1))
        (Predictive(Normal, S=1, N=3, event=()), tensor([1., 1., 1.]))
    """
    if not callable(posterior):
        raise TypeError(
            f"a posterior must be a function of inputs; got {type(posterior).__name__}. Pass posterior itself, not "
            "posterior(x)."
        )
    inputs, targets = as_training_data(x, y)
    _warn_of_the_fits_own(posterior, inputs)
    predictive = posterior(inputs)
    expect_predictive(predictive)
    checked, wanted = predictive.checked(targets), predictive.batch_shape + predictive.event_shape
    if checked.shape != wanted:
        raise ValueError(
            f"targets must have one row per input, shape {tuple(wanted)}; got {tuple(checked.shape)}. Pass the y that "
            "belongs to these inputs, (N,) for one target and (N, D) for several."
        )
    return predictive, checked


def _warn_of_the_fits_own(posterior: Posterior, x: Tensor) -> None:
    """Warn where these are the rows of the fit: as many, of the same mean and scale to the last digits."""
    model = getattr(posterior, "model", None)
    if not isinstance(model, BayesianNeuralNetwork) or len(x) != model.num_data:
        return
    loc, scale = (values.to(model.x_loc) for values in input_scaling(x))
    if loc.shape != model.x_loc.shape or not ((scale - model.x_scale).abs() <= _SAME * scale).all():
        return
    if ((loc - model.x_loc).abs() <= _SAME * scale).all():
        warn(
            "these are the rows of the fit, of which it says too much: new rows will be covered less often. Pass rows "
            "that the fit has not seen."
        )
