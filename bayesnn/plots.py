"""Pictures. Each takes an ``Axes`` (or makes one) and returns it; a part has the same colour everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from bayesnn.predictive import Predictive
from bayesnn.training import History
from bayesnn.uncertainty import decompose, variance_decomposition

__all__ = ["COLOURS", "detection_histogram", "elbo_curve", "regression_bands", "uncertain_pictures"]

COLOURS = {
    "total": "#4d4d4d",
    "aleatoric": "#e69f00",
    "epistemic": "#0072b2",
    "inside": "#009e73",
    "outside": "#cc3311",
}
"""Colour of each part, from the palette of Okabe and Ito, which the colour-blind can tell apart."""


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
    order = torch.as_tensor(x).flatten().argsort()
    at = torch.as_tensor(x).flatten()[order].cpu().numpy()
    parts = variance_decomposition(predictive)
    mean = predictive.mean[order].cpu()
    if mean.ndim > 1:
        raise ValueError(f"regression_bands draws one target; the predictive has {mean.shape[1]}.")
    total, epistemic = (2 * part[order].cpu().sqrt() for part in (parts.total, parts.epistemic))
    ax.fill_between(
        at, mean - total, mean + total, color=COLOURS["aleatoric"], alpha=0.35, lw=0, label="with aleatoric (±2 sd)"
    )
    ax.fill_between(
        at, mean - epistemic, mean + epistemic, color=COLOURS["epistemic"], alpha=0.5, lw=0, label="epistemic (±2 sd)"
    )
    ax.plot(at, mean, color=COLOURS["total"], lw=1.5, label="mean")
    if data is not None:
        ax.plot(*(torch.as_tensor(d).flatten().cpu() for d in data), ".", color="black", ms=3, label="data")
    ax.set(xlabel="x", ylabel="y")
    ax.legend(frameon=False)
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
    largest = max(float(inside.max()), float(outside.max()), 1e-6)
    bins = torch.linspace(0, largest, 31).tolist()
    for values, name, label in ((inside, "inside", "known classes"), (outside, "outside", "never seen")):
        share = torch.full_like(values, 1 / len(values)).cpu().numpy()
        ax.hist(values.cpu().numpy(), bins, weights=share, color=COLOURS[name], alpha=0.6, label=label)
    ax.set(xlabel=f"{score} ({unit})", ylabel="fraction of inputs", xlim=(0, largest))
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
    parts = decompose(predictive)
    chosen = parts.total.argsort(descending=True)[:num_pictures].tolist()
    columns = min(6, len(chosen))
    rows = 2 * -(-len(chosen) // columns)
    figure = Figure(figsize=(1.5 * columns, 1.15 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, height_ratios=[3, 1] * (rows // 2))
    largest = float(parts.total[chosen].max())
    for ax in axes.flat:
        ax.set_axis_off()
    for place, index in enumerate(chosen):
        row, column = 2 * (place // columns), place % columns
        picture = pictures[index].cpu()
        axes[row, column].imshow(picture.movedim(0, -1) if picture.ndim == 3 else picture, cmap="gray_r")
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
    epochs = range(1, len(history.epochs) + 1)
    elbo = [-misfit - kl for misfit, kl in zip(history["misfit"], history["kl"], strict=True)]
    ax.plot(epochs, elbo, color=COLOURS["total"], label="ELBO")
    ax.plot(epochs, [-m for m in history["misfit"]], color=COLOURS["aleatoric"], lw=1, label="expected log-likelihood")
    ax.plot(epochs, [-k for k in history["kl"]], color=COLOURS["epistemic"], lw=1, label="−KL")
    top = max(max(elbo), 0.0)
    ax.set(xlabel="epoch", ylabel="nats per datum", ylim=(3 * min(elbo[len(elbo) // 2 :]) - 2 * top, top + 0.1))
    ax.legend(frameon=False)
    return ax


def _axes(ax: Axes | None) -> Axes:
    return ax if ax is not None else Figure(figsize=(5, 3.2), layout="constrained").subplots()
