"""Pictures of predicted numbers: bands over one input, and predictions against the truth."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from torch import Tensor

from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.uncertainty import variance_decomposition

__all__ = ["predicted_against_true", "regression_bands"]


def regression_bands(
    x: Tensor, predictive: Predictive, *, data: tuple[Tensor, Tensor] | None = None, ax: Axes | None = None
) -> Axes:
    """Mean of a regression on one input, with its epistemic and its total band of two standard deviations.

    What the total band (standard deviations of noise and ignorance together) has beyond the epistemic one is noise.

    Args:
        x: Inputs ``(N,)`` or ``(N, 1)``.
        predictive: Predictions there, of one real target.
        data: Training points ``(x, y)`` to show.
        ax: Where to draw.
    """
    ax = new_axes(ax)
    at = torch.as_tensor(x).detach().cpu()
    if at.shape not in ((len(predictive),), (len(predictive), 1)):
        raise ValueError(
            f"x must be the inputs that were predicted, one number each, N = {len(predictive)}; got {tuple(at.shape)}."
        )
    if predictive.event_shape not in ((), (1,)):
        raise ValueError(f"regression_bands draws one target; the predictive has {predictive.event_shape[0]}.")
    order = at.flatten().argsort()
    at = at.flatten()[order]
    parts = variance_decomposition(predictive)
    mean, total, epistemic = (
        part.detach().cpu().flatten()[order]
        for part in (predictive.mean, 2 * parts.total.sqrt(), 2 * parts.epistemic.sqrt())
    )
    ax.fill_between(
        at, mean - total, mean + total, color=COLOURS["aleatoric"], alpha=0.35, lw=0, label="with aleatoric (±2 sd)"
    )
    ax.fill_between(at, mean - epistemic, mean + epistemic, color=ax.get_facecolor(), lw=0)  # or blue would be teal
    ax.fill_between(
        at, mean - epistemic, mean + epistemic, color=COLOURS["epistemic"], alpha=0.5, lw=0, label="epistemic (±2 sd)"
    )
    ax.plot(at, mean, color=COLOURS["total"], lw=1.5, label="mean")
    if data is not None:
        ax.plot(*(torch.as_tensor(d).detach().flatten().cpu() for d in data), ".", color="black", ms=3, label="data")
    ax.set(xlabel="x", ylabel="y")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)  # off the bands
    return ax


def predicted_against_true(predictive: Predictive, y: Tensor, *, level: float = 0.9, ax: Axes | None = None) -> Axes:
    """Predicted mean and central interval of each input over its true target; right predictions lie on the diagonal.

    Args:
        predictive: Predictions of one real target for N inputs.
        y: Their true targets ``(N,)``.
        level: Probability within each interval.
        ax: Where to draw; a new one if left out.

    Returns:
        The axes. Both are in the units of ``y``.
    """
    expect_predictive(predictive)
    if predictive.event_shape or predictive.has_enumerate_support:
        raise NotImplementedError("predicted_against_true draws one real target; take one column, or use evaluate.")
    ax = new_axes(ax)
    truth = predictive.checked(y).cpu().numpy()
    low, high = (end.cpu().numpy() for end in predictive.interval(level))
    mean = predictive.mean.cpu().numpy()
    ends = [truth.min(), truth.max()]
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    ax.vlines(truth, low, high, color=COLOURS["total"], alpha=0.5, linewidth=1.5, label=f"{100 * level:g} % interval")
    ax.scatter(truth, mean, color="black", s=10, zorder=3, label="mean")
    ax.set(xlabel="true target (units of y)", ylabel="predicted target (units of y)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)  # off the intervals
    return ax
