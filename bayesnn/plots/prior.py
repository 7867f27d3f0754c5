"""What a model says before any data: functions drawn from its prior, and the targets they make."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from bayesnn.data import as_targets
from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.plots.one_feature import as_dates, as_line, as_points, name_of
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.seeding import seeded

__all__ = ["prior_functions", "prior_targets"]

_LEVEL = 0.9


@torch.no_grad()
def prior_functions(
    x: Any,
    predictive: Predictive,
    *,
    data: tuple[Any, Any] | None = None,
    num_functions: int = 20,
    ax: Axes | None = None,
) -> Axes:
    """Functions drawn from a prior over one input, with the band that holds 90 % of the targets they make.

    Args:
        x: Inputs ``(N,)`` or ``(N, 1)``: tensor, array, list, series or frame, of numbers or dates.
        predictive: Predictions there by `bayesnn.prior_predictive`'s posterior, of one real target.
        data: Points ``(x, y)`` to show: should the prior hold them?
        num_functions: How many functions to draw.
        ax: Where to draw.

    Returns:
        The axes, in the units of ``y``.

    Raises:
        TypeError: If something is neither numbers nor dates, x is one and that of the data the other, or there is no
            predictive.
        ValueError: If x are not the inputs that were predicted, targets are classes or several, or the data are not
            one number in each row of both.
    """
    expect_predictive(predictive, fewest=1)
    at = as_line(x, len(predictive))
    if predictive.event_shape not in ((), (1,)) or predictive.has_enumerate_support:
        raise ValueError("prior_functions draws one real target; of classes or several targets write prior_targets.")
    points = None if data is None else as_points(data)
    ax, order = new_axes(ax), at.argsort()
    as_dates(ax, x, data)
    low, high = (end.cpu().flatten()[order].numpy() for end in predictive.interval(_LEVEL))
    means = predictive.members.mean[:num_functions].flatten(1).cpu()[:, order].numpy()
    ax.fill_between(at[order].numpy(), low, high, color=COLOURS["aleatoric"], alpha=0.3, lw=0, label="90 % of targets")
    lines = ax.plot(at[order].numpy(), means.T, color=COLOURS["epistemic"], alpha=0.6, lw=0.9)
    lines[0].set_label("drawn functions")
    if points is not None:
        ax.plot(*points, ".", color="black", ms=3, label="data")
    ax.set(xlabel=name_of(x, "x"), ylabel="y" if data is None else name_of(data[1], "y"))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)
    return ax


@torch.no_grad()
def prior_targets(predictive: Predictive, y: Any = None, *, ax: Axes | None = None) -> Axes:
    """What targets a prior makes beside the data's own: their density; of classes, how sure drawn classifiers are.

    Args:
        predictive: Predictions by `bayesnn.prior_predictive`'s posterior.
        y: The data's targets: tensor, array, list, series or frame.
        ax: Where to draw.

    Returns:
        The axes; of targets in the units of ``y``, cut where 1 % of the drawn ones lie beyond, on either side. Bars of
        counts are whole numbers wide.

    Raises:
        TypeError: If targets are not numbers, or there is no predictive.
        ValueError: If no drawn target is finite, or one of the data's is not.
    """
    expect_predictive(predictive, fewest=1)
    ax = new_axes(ax)
    if predictive.has_enumerate_support:
        largest = predictive.member_log_probs.exp().max(-1).values.flatten().cpu().numpy()
        ax.hist(largest, list(np.linspace(0, 1, 41)), density=True, color=COLOURS["epistemic"], alpha=0.6)
        ax.set(xlabel="largest class probability of a drawn classifier", ylabel="density", xlim=(0, 1))
        return ax
    drawn = _sampled(predictive).flatten().cpu().double().numpy()
    drawn = drawn[np.isfinite(drawn)]
    if not len(drawn):
        raise ValueError(
            "targets drawn from a prior must be finite to be shown; none is. Take a narrower prior, as "
            "priors.fan_in_normal(scale=...)."
        )
    own = None if y is None else as_targets(y).flatten().double().cpu().numpy()
    low, high = np.quantile(drawn, [0.01, 0.99])
    if own is not None:
        low, high = min(low, own.min()), max(high, own.max())
    counts = predictive.support is not None and predictive.support.is_discrete
    edges = list(_around_counts(low, high) if counts else np.linspace(low, high, 61))
    ax.hist(drawn, edges, density=True, color=COLOURS["epistemic"], alpha=0.6, label="drawn from the prior")
    if own is not None:
        ax.hist(own, edges, density=True, histtype="step", color="black", label="data")
    ax.set(xlabel="target (units of y)", ylabel="density")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return ax


def _around_counts(low: float, high: float) -> NDArray[np.float64]:
    """Edges between whole numbers, about sixty: bars that hold one whole number more than others look like a comb."""
    width = max(1, math.ceil((high - low) / 60))
    return np.arange(math.floor(low) - 0.5, math.ceil(high) + width, width)


def _sampled(predictive: Predictive) -> Tensor:
    """A target from each member, by a state of its own."""
    with seeded(0, predictive.device):
        return predictive.members.sample()
