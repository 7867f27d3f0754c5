"""Pictures. Each takes an ``Axes`` (or makes one) and returns it, but for the sheet of pictures, a figure of its own.

A part has the same colour everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.training import History
from bayesnn.uncertainty import decompose, variance_decomposition

__all__ = [
    "COLOURS",
    "detection_histogram",
    "elbo_curve",
    "predicted_against_true",
    "regression_bands",
    "uncertain_pictures",
]

COLOURS = {
    "total": "#4d4d4d",
    "aleatoric": "#e69f00",
    "epistemic": "#0072b2",
    "inside": "#009e73",
    "outside": "#cc3311",
}
"""Colour of each part, chosen so that the colour-blind can tell them apart."""


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
    ax = _axes(ax)
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
    ax.fill_between(
        at, mean - epistemic, mean + epistemic, color=COLOURS["epistemic"], alpha=0.5, lw=0, label="epistemic (±2 sd)"
    )
    ax.plot(at, mean, color=COLOURS["total"], lw=1.5, label="mean")
    if data is not None:
        ax.plot(*(torch.as_tensor(d).detach().flatten().cpu() for d in data), ".", color="black", ms=3, label="data")
    ax.set(xlabel="x", ylabel="y")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)  # off the bands
    return ax


def detection_histogram(
    inside: Tensor, outside: Tensor, *, score: str, unit: str = "nats", ax: Axes | None = None
) -> Axes:
    """Histograms of an uncertainty score on inputs like the training data and on inputs from elsewhere.

    Args:
        inside: Score of the inputs from the training data's world ``(N,)``.
        outside: Score of the others ``(M,)``.
        score: Its name.
        unit: Its unit.
        ax: Where to draw.
    """
    ax = _axes(ax)
    kinds = {"inside": inside.detach().cpu().double().numpy(), "outside": outside.detach().cpu().double().numpy()}
    if not all(len(values) for values in kinds.values()):
        raise ValueError("a histogram needs one score of each kind at least.")
    smallest, largest = (float(end([end(values) for values in kinds.values()])) for end in (np.min, np.max))
    ax.set(xlabel=f"{score} ({unit})", ylabel="fraction of inputs")
    if largest - smallest <= 1e-6 * max(abs(smallest), abs(largest)) or max(abs(smallest), abs(largest)) < 1e-7:
        # Mutual information of one draw is 0 but for rounding.
        ax.text(
            0.5, 0.5, f"{0.0 if abs(smallest) < 1e-7 else smallest:.3g} everywhere", ha="center", transform=ax.transAxes
        )
        return ax
    bins = np.linspace(min(smallest, 0.0), largest, 31).tolist()
    for name, label in (("inside", "known classes"), ("outside", "never seen")):
        share = np.full(len(kinds[name]), 1 / len(kinds[name]))
        ax.hist(kinds[name], bins, weights=share, color=COLOURS[name], alpha=0.35)
        ax.hist(kinds[name], bins, weights=share, color=COLOURS[name], histtype="step", lw=1.5, label=label)
    ax.set(xlim=(bins[0], bins[-1]))
    ax.legend(frameon=False)
    return ax


def uncertain_pictures(
    pictures: Tensor,
    predictive: Predictive,
    *,
    num_pictures: int = 12,
    truth: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
) -> Figure:
    """The inputs a classifier is most uncertain of, as pictures, each with its two parts as bars beneath.

    Args:
        pictures: Inputs ``(N, H, W)`` or ``(N, C, H, W)``.
        predictive: Predictions for them.
        num_pictures: How many to show.
        truth: What each picture is, in words.
        classes: Names of the classes.

    Returns:
        A figure of its own.
    """
    pictures = torch.as_tensor(pictures)
    if pictures.ndim not in (3, 4) or len(pictures) != len(predictive):
        raise ValueError(
            f"pictures must be those that were predicted, (N, H, W) or (N, C, H, W) with N = {len(predictive)}; got "
            f"{tuple(pictures.shape)}."
        )
    if num_pictures < 1 or (truth is not None and len(truth) != len(pictures)):
        raise ValueError("num_pictures must be 1 or more, and truth, where given, have a word for each picture.")
    parts = decompose(predictive)
    chosen = parts.total.argsort(descending=True)[:num_pictures].tolist()
    columns = min(6, len(chosen))
    rows = 2 * -(-len(chosen) // columns)
    figure = Figure(figsize=(max(1.5 * columns, 3.0), 1.15 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=[3, 1] * (rows // 2))
    largest = max(float(parts.total[chosen].max()), 1e-9)
    for ax in axes.flat:
        ax.set_axis_off()
    for place, index in enumerate(chosen):
        row, column = 2 * (place // columns), place % columns
        picture = pictures[index].detach().cpu().double()
        picture = picture.movedim(0, -1).squeeze(-1) if picture.ndim == 3 else picture
        lowest, highest = picture.min(), picture.max()
        picture = (picture - lowest) / (highest - lowest).clamp_min(1e-9)
        axes[row, column].imshow(picture.numpy(), cmap="gray_r")
        guess = int(predictive.mode[index])
        said = classes[guess] if classes else str(guess)
        title = f"said {said}" + (f": {truth[index]}" if truth is not None else "")
        axes[row, column].set_title(title, fontsize=8)
        aleatoric, epistemic = float(parts.aleatoric[index]), float(parts.epistemic[index])
        bar = axes[row + 1, column]
        bar.barh([0], [aleatoric], color=COLOURS["aleatoric"])
        bar.barh([0], [epistemic], left=[aleatoric], color=COLOURS["epistemic"])
        bar.set(xlim=(0, largest), ylim=(-0.9, 0.5))
        bar.text(0, -0.8, f"{aleatoric:.2f} + {epistemic:.2f} nats", fontsize=7, va="center")
    handles = [Patch(color=COLOURS[part], label=part) for part in ("aleatoric", "epistemic")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def elbo_curve(history: History, *, ax: Axes | None = None) -> Axes:
    """The ELBO of each epoch with its two terms, per datum."""
    ax = _axes(ax)
    if not history.epochs or "kl" not in history.epochs[0]:
        raise ValueError("elbo_curve needs the history of a variational fit of one epoch at least.")
    fit, divergence = -np.array(history["misfit"]), np.array(history["kl"])
    lines = {
        "ELBO": (fit - divergence, "-", 2.0),
        "expected log-likelihood": (fit, "--", 1.0),
        "−KL": (-divergence, ":", 1.0),
    }
    for label, (values, style, width) in lines.items():
        marker = "o" if len(values) == 1 else None
        ax.plot(range(1, len(values) + 1), values, style, lw=width, marker=marker, color=COLOURS["total"], label=label)
    # The first epochs, far below, would flatten the rest: show what the second half spans, and as much again.
    later = np.concatenate([values[len(values) // 2 :] for values, _, _ in lines.values()])
    margin = 0.15 * (later.max() - later.min()) + 0.05
    ax.set(xlabel="epoch", ylabel="nats per datum")
    ax.set_ylim(later.min() - (later.max() - later.min()) - margin, later.max() + margin)
    ax.legend(frameon=False)
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
    ax = _axes(ax)
    truth = predictive.checked(y).cpu().numpy()
    low, high = (end.cpu().numpy() for end in predictive.interval(level))
    mean = predictive.mean.cpu().numpy()
    ends = [min(truth.min(), low.min()), max(truth.max(), high.max())]
    ax.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    ax.vlines(truth, low, high, color=COLOURS["total"], alpha=0.5, linewidth=1.5, label=f"{100 * level:g} % interval")
    ax.scatter(truth, mean, color="black", s=10, zorder=3, label="mean")
    ax.set(xlabel="true target", ylabel="predicted target")
    ax.legend(frameon=False)
    return ax


def _axes(ax: Axes | None) -> Axes:
    return ax if ax is not None else Figure(figsize=(5, 3.2), layout="constrained").subplots()
