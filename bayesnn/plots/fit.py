"""How a fit went."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.training import History

__all__ = ["elbo_curve"]


def elbo_curve(history: Any, *, ax: Axes | None = None) -> Axes:
    """The ELBO of each epoch with its two terms, per datum.

    Args:
        history: What happened in a variational fit, ``posterior.history``, or the posterior that has it.
        ax: Where to draw.

    Returns:
        The axes, in nats per datum.

    Raises:
        TypeError: If it is neither.
        ValueError: If it is not that of a variational fit.
    """
    history = getattr(history, "history", history)
    if not isinstance(history, History | None):
        raise TypeError(
            f"elbo_curve needs a fitted posterior or its history; got {type(history).__name__}. Write "
            "elbo_curve(fit_svi(model, x, y))."
        )
    if history is None or not history.epochs or "kl" not in history.epochs[0]:
        raise ValueError("elbo_curve needs the history of a variational fit of one epoch at least, as fit_svi's.")
    ax = new_axes(ax)
    fit, divergence = -np.array(history["misfit"]), np.array(history["kl"])
    lines = {
        "ELBO": (fit - divergence, "-", 2.0),
        "expected log-likelihood": (fit, "--", 1.0),
        "−KL": (-divergence, ":", 1.0),
    }
    for label, (values, style, width) in lines.items():
        marker = "o" if len(values) == 1 else None
        ax.plot(range(1, len(values) + 1), values, style, lw=width, marker=marker, color=COLOURS["total"], label=label)
    # The first epochs, far off, would flatten the rest: show what the second half spans, and as much on either side.
    later = np.concatenate([values[len(values) // 2 :] for values, _, _ in lines.values()])
    span = later.max() - later.min()
    highest = min(max(values.max() for values, _, _ in lines.values()), later.max() + span)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.set(xlabel="epoch", ylabel="nats per datum")
    ax.set_ylim(later.min() - span - (0.15 * span + 0.05), highest + (0.15 * span + 0.05))
    ax.legend(frameon=False)
    return ax
