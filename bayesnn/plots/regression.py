"""Pictures of predicted numbers: bands over one input, and predictions against the truth."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.plots.one_feature import as_dates, as_line, as_points, name_of
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.quantiles import common_bounds
from bayesnn.tasks import truth
from bayesnn.uncertainty import variance_decomposition

__all__ = ["predicted_against_true", "regression_bands"]


def regression_bands(
    x: Any, predictive: Predictive, *, data: tuple[Any, Any] | None = None, ax: Axes | None = None
) -> Axes:
    """Mean of a regression on one input, with its epistemic and its total band of two standard deviations.

    What the total band (standard deviations of noise and ignorance together) has beyond the epistemic one is noise.
    Where targets have bounds, as counts and positive ones, bands end there: two standard deviations about a small mean
    would go below 0. Such predictions are skewed; their quantiles are `Predictive.interval`.

    Args:
        x: Inputs ``(N,)`` or ``(N, 1)``: tensor, array, list, series or frame, of numbers or dates.
        predictive: Predictions there, of one real target.
        data: Training points ``(x, y)`` to show, of the same kinds.
        ax: Where to draw.

    Returns:
        The axes, in the units of ``y``, called by the names that series and frames have.

    Raises:
        TypeError: If something is neither numbers nor dates, x is one and that of the data the other, or there is no
            predictive.
        ValueError: If x are not the inputs that were predicted, there are several targets, or the data are not one
            number in each row of both.
        NotImplementedError: If the targets are classes.
    """
    expect_predictive(predictive, fewest=1)
    at = as_line(x, len(predictive))
    if predictive.event_shape not in ((), (1,)):
        raise ValueError(
            f"regression_bands draws one target; the predictive has {predictive.event_shape[0]}. Write "
            "predictive.target(0) and y[:, 0] for the first of them."
        )
    if predictive.has_enumerate_support:
        raise NotImplementedError("regression_bands draws a real target; these are classes. Write decision_map.")
    points, parts = None if data is None else as_points(data), variance_decomposition(predictive)
    order = at.argsort()
    at = at[order]
    mean, total, epistemic = (
        part.detach().cpu().flatten()[order]
        for part in (predictive.mean, 2 * parts.total.sqrt(), 2 * parts.epistemic.sqrt())
    )
    (low, high), (least, most) = (_within(predictive, mean, half) for half in (total, epistemic))
    ax = new_axes(ax)
    as_dates(ax, x, data)
    ax.fill_between(at, low, high, color=COLOURS["aleatoric"], alpha=0.35, lw=0, label="with aleatoric (±2 sd)")
    ax.fill_between(at, least, most, color=ax.get_facecolor(), lw=0)  # or blue would be teal
    ax.fill_between(at, least, most, color=COLOURS["epistemic"], alpha=0.5, lw=0, label="epistemic (±2 sd)")
    ax.plot(at, mean, color=COLOURS["total"], lw=1.5, label="mean")
    if points is not None:
        ax.plot(*points, ".", color="black", ms=3, label="data")
    ax.set(xlabel=name_of(x, "x"), ylabel="y" if data is None else name_of(data[1], "y"))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)  # off the bands
    return ax


@torch.no_grad()
def predicted_against_true(predictive: Predictive, y: Any, *, level: float = 0.9, ax: Axes | None = None) -> Axes:
    """Predicted mean and central interval of each input over its true target; right predictions lie on the diagonal.

    Args:
        predictive: Predictions of one real target for N inputs.
        y: Their true targets ``(N,)``: tensor, array, list, series or frame.
        level: Probability within each interval.
        ax: Where to draw; a new one if left out.

    Returns:
        The axes. Both are in the units of ``y``, and called by its name where it is a series or a frame.

    Raises:
        NotImplementedError: If the targets are classes, or several.
        TypeError: If targets are not numbers, or there is no predictive.
        ValueError: If there is not one finite target for each input.
    """
    expect_predictive(predictive, fewest=1)
    if predictive.event_shape or predictive.has_enumerate_support:
        raise NotImplementedError("predicted_against_true draws one real target; take one column, or use evaluate.")
    target = truth(predictive, y).detach().cpu().numpy()
    ax = new_axes(ax)
    low, high = (end.cpu().numpy() for end in predictive.interval(level))
    mean = predictive.mean.cpu().numpy()
    ends = [target.min(), target.max()]
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    ax.vlines(target, low, high, color=COLOURS["total"], alpha=0.5, linewidth=1.5, label=f"{100 * level:g} % interval")
    ax.scatter(target, mean, color="black", s=10, zorder=3, label="mean")
    name = name_of(y, "target (units of y)")
    ax.set(xlabel=f"true {name}", ylabel=f"predicted {name}")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)  # off the intervals
    return ax


def _within(predictive: Predictive, mean: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """The ends of a band about the mean, within the bounds that targets have."""
    low, high = common_bounds(predictive.support)
    return (mean - half).clamp(low, high), (mean + half).clamp(low, high)
