"""Do the stated probabilities come true? The reliability diagram, and the histogram of the probability integral."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bayesnn.metrics.calibration import pit
from bayesnn.metrics.reliability import reliability
from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.tasks import truth

__all__ = ["pit_histogram", "reliability_diagram"]

_BAND = 0.95
"""How often a calibrated predictive's bar lies in the band."""

_DISTANCE = "#cc79a7"
"""A colour that no part has."""


@torch.no_grad()
def reliability_diagram(
    predictive: Predictive, y: Any, *, num_bins: int = 15, equal_mass: bool = False, ax: Axes | None = None
) -> Axes:
    """Accuracy over confidence, bin by bin; on the diagonal the stated probabilities come true.

    Purple is the distance, which the expected calibration error averages over the inputs; the bars at the foot are the
    share of the inputs in each bin. Bins with few inputs are far from the diagonal by chance.

    Args:
        predictive: Predictions of classes for N inputs.
        y: Their true labels.
        num_bins: Number of bins.
        equal_mass: Bins of equally many inputs in place of equal width.
        ax: Where to draw.

    Returns:
        The axes; the legend has the expected calibration error, as a fraction.

    Raises:
        NotImplementedError: If the targets are real.
        ValueError: If there is not one label for each input, or no bin.

    Example:
        >>> import torch
        >>> predictive = Predictive(torch.distributions.Categorical(torch.rand(5, 20, 3)))
        >>> reliability_diagram(predictive, torch.zeros(20, dtype=torch.long)).get_xlabel()
        'confidence'
    """
    expect_predictive(predictive, fewest=1)
    if not predictive.has_enumerate_support:
        raise NotImplementedError("reliability is of classes; these targets are real. Write pit_histogram for them.")
    bins = reliability(predictive, truth(predictive, y), num_bins, equal_mass=equal_mass)
    seen = (bins.count > 0).cpu().numpy()
    confidence, accuracy = (part.cpu().numpy()[seen] for part in (bins.confidence, bins.accuracy))
    share = bins.count.cpu().numpy()[seen] / int(bins.count.sum())
    ax = new_axes(ax, (4.2, 4.0))
    ax.plot([0, 1], [0, 1], color="0.7", lw=1, zorder=0)
    ax.bar(confidence, share, width=0.6 / num_bins, color="0.85", edgecolor="0.6", lw=0.5, zorder=0,
           label="share of the inputs")  # fmt: skip
    ax.vlines(confidence, accuracy, confidence, color=_DISTANCE, lw=3, label="distance")
    ax.plot(confidence, accuracy, "o-", color="black", ms=4, lw=1, label="accuracy")
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    title = f"expected calibration error {float(bins.ece):.3g}"
    ax.legend(title=title, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=8)
    return ax


@torch.no_grad()
def pit_histogram(predictive: Predictive, y: Any, *, num_bins: int = 10, ax: Axes | None = None) -> Axes:
    r"""Histogram of the probability integral transform, flat when the predictive is calibrated.

    High at both ends: predictions too sure; high in the middle: not sure enough; leaning: biased. A bar of a calibrated
    predictive lies in the band (quantiles 0.025 and 0.975 of the binomial) with probability 0.95 at least, each bar for
    itself, if the targets are independent; dimensions of one target are counted as if they were.

    A count is no single value but the jump from :math:`F(y - 1)` to :math:`F(y)`, and is shared out evenly over the
    bars that it spans: in the mean they are as flat as those of real targets, and they scatter less.

    Args:
        predictive: Predictions of real targets or counts for N inputs.
        y: Their true targets.
        num_bins: Number of bars.
        ax: Where to draw.

    Returns:
        The axes; a bar's height is its share of the targets over that of a calibrated predictive.

    Raises:
        NotImplementedError: If the targets are classes.
        ValueError: If there is not one target for each input, or no bar.

    References:
        Czado et al. (2009), Predictive Model Assessment for Count Data, Biometrics 65(4), for counts.

    Example:
        >>> import torch
        >>> predictive = Predictive(torch.distributions.Normal(torch.zeros(1, 50), 1.0))
        >>> pit_histogram(predictive, torch.randn(50)).get_xlabel()
        'probability of a smaller target, F(y)'
    """
    from scipy.stats import binom

    expect_predictive(predictive, fewest=1)
    if num_bins < 1:
        raise ValueError(f"num_bins must be 1 or more; got {num_bins}. Write num_bins=10.")
    target = truth(predictive, y)
    values = pit(predictive, target).double().flatten().cpu().numpy()
    edges = np.linspace(0, 1, num_bins + 1)
    if predictive.support is not None and predictive.support.is_discrete:
        half = values - predictive.cdf(target - 1).double().flatten().cpu().numpy()  # `pit` is the middle of the jump
        counts = _shared_out(values - half, values + half, edges)
    else:
        counts = np.histogram(values, edges)[0]
    calibrated = len(values) / num_bins
    low, high = binom.interval(_BAND, len(values), 1 / num_bins)
    ax = new_axes(ax)
    ax.axhspan(low / calibrated, high / calibrated, color="0.9", zorder=0, label="95 % of calibrated bars")
    ax.axhline(1, color="0.6", lw=1, zorder=0)
    ax.bar(edges[:-1], counts / calibrated, width=np.diff(edges), align="edge", color=COLOURS["total"], alpha=0.5,
           edgecolor="white", label="targets")  # fmt: skip
    ax.set(xlabel="probability of a smaller target, F(y)", ylabel="share over calibrated share", xlim=(0, 1))
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return ax


def _shared_out(below: NDArray[np.float64], reached: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[Any]:
    """How much of all jumps lies between the edges, each jump a uniform number's share; one of no height is a point."""
    height = (reached - below)[:, None]
    share = (edges - below[:, None]) / np.where(height > 0, height, 1.0)
    passed = np.where(height > 0, share.clip(0, 1), reached[:, None] <= edges)
    passed[:, 0] = 0  # a point at 0 lies in the first bar
    return np.diff(passed.sum(0))
