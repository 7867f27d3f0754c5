"""The histogram of simulation-based calibration."""

from __future__ import annotations

from matplotlib.axes import Axes
from scipy import stats

from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.rank_statistics import RankStatistics

__all__ = ["rank_histogram"]

_BAND = 0.99
"""How often a calibrated posterior's bar lies in the band."""


def rank_histogram(statistics: RankStatistics, quantity: str | None = None, *, ax: Axes | None = None) -> Axes:
    """Ranks of the truth among posterior draws; level within the band if the posterior is calibrated.

    Bars that rise at both ends tell of a posterior that is too narrow, a hump of one too wide, a slope of one that is
    off. The band holds a bar of a calibrated posterior with a chance of 99 %.

    Args:
        statistics: What `bayesnn.simulated.simulation_based_calibration` found.
        quantity: Which of its quantities; the first if left out.
        ax: Where to draw.

    Raises:
        ValueError: If there is no such quantity.

    References:
        Talts et al. (2018), arXiv:1804.06788, section 5.
    """
    names = statistics.names
    if quantity is not None and quantity not in names:
        raise ValueError(f"quantity must be one of {', '.join(names)}; got {quantity!r}.")
    column = names.index(quantity) if quantity is not None else 0
    ax = new_axes(ax)
    counts = statistics.counts()[:, column].numpy()
    width = (statistics.num_samples + 1) / len(counts)
    low, high = (stats.binom.ppf(level, counts.sum(), 1 / len(counts)) for level in ((1 - _BAND) / 2, (1 + _BAND) / 2))
    ax.axhspan(low, high, color="0.85", lw=0, label="99 % of calibrated bars")
    ax.axhline(counts.sum() / len(counts), color="0.5", lw=1, label="uniform")
    ax.bar([(n + 0.5) * width - 0.5 for n in range(len(counts))], counts, 0.94 * width, color=COLOURS["epistemic"])
    ax.set(xlabel=f"rank of the true {names[column]} among {statistics.num_samples} draws", ylabel="simulations")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    return ax
