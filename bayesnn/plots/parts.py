"""The two parts of the uncertainty against each other, and over inputs of two features."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from torch import Tensor

from bayesnn.plots.canvas import COLOURS, new_axes
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.uncertainty import decompose

__all__ = ["aleatoric_epistemic", "decision_map"]

Part = Literal["total", "aleatoric", "epistemic"]

_MARKERS = ("o", "^", "s", "D", "v", "P")
_GROUPS = (COLOURS["inside"], COLOURS["outside"], "#cc79a7", "#56b4e9", "black", "#f0e442")


def decision_map(
    posterior: Callable[[Any], Predictive],
    x: Tensor,
    y: Tensor | None = None,
    *,
    part: Part = "epistemic",
    resolution: int = 80,
    margin: float = 0.35,
    largest: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One part of the uncertainty over inputs of two features, with the data on it.

    Of classes the part is an entropy in nats, with a line where the most probable class changes; of one real target it
    is a standard deviation, in the units of ``y``.

    Args:
        posterior: A fitted method.
        x: Data ``(N, 2)``, around which the map is drawn.
        y: Their targets, which colour the points.
        part: ``"total"``, ``"aleatoric"`` or ``"epistemic"``.
        resolution: Points of the map along each feature.
        margin: How far the map reaches beyond the data, as a fraction of their range.
        largest: Value of the darkest colour, so that several maps have one scale; the map's own largest if left out.
        ax: Where to draw.

    Returns:
        The axes, with a colour bar beside them.

    Raises:
        TypeError: If there is no posterior but its predictions.
        ValueError: If ``x`` does not have two columns, or the part has another name.

    Example:
        >>> def posterior(at):
        ...     return Predictive(torch.distributions.Categorical(logits=torch.stack([at, -at, 2 * at])))
        >>> decision_map(posterior, torch.randn(20, 2), resolution=5).get_xlabel()
        'first feature'
    """
    if isinstance(posterior, Predictive) or not callable(posterior):
        raise TypeError("decision_map asks the posterior about a grid of its own; pass the posterior, not predictions.")
    if part not in ("total", "aleatoric", "epistemic"):
        raise ValueError(f'part must be "total", "aleatoric" or "epistemic"; got {part!r}.')
    points = torch.as_tensor(x).detach().cpu()
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"a map is of inputs of two features, (N, 2); got {tuple(points.shape)}.")
    low, high = points.amin(0), points.amax(0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    lines = [torch.linspace(float(low[i]), float(high[i]), resolution, dtype=points.dtype) for i in range(2)]
    grid = torch.cartesian_prod(*lines)
    predictive = posterior(grid.to(torch.as_tensor(x).device))
    expect_predictive(predictive)
    if predictive.event_shape not in ((), (1,)):
        raise ValueError(f"decision_map draws one target; the predictive has {predictive.event_shape[0]}.")
    classes = predictive.has_enumerate_support
    value = getattr(decompose(predictive), part).detach().cpu().flatten()
    value = value if classes else value.sqrt()
    across, up = (line.numpy() for line in lines)
    shape = (resolution, resolution)
    ax = new_axes(ax, (4.6, 3.6))
    shades = LinearSegmentedColormap.from_list(part, ["white", COLOURS[part]])
    top = float(value.max()) if largest is None else largest
    image = ax.pcolormesh(across, up, value.view(shape).T.numpy(), cmap=shades, vmin=0, vmax=max(top, 1e-9),
                          shading="nearest", rasterized=True)  # fmt: skip
    ax.figure.colorbar(image, ax=ax, label=f"{part} ({'nats' if classes else 'units of y'})")
    if classes:
        said = predictive.mode.cpu().view(shape).T.numpy()
        for edge in range(int(said.min()), int(said.max())):
            ax.contour(across, up, said, [edge + 0.5], colors="0.3", linewidths=0.8)
    _data(ax, points, y, classes)
    ax.set(xlabel="first feature", ylabel="second feature")
    return ax


def aleatoric_epistemic(groups: Predictive | Mapping[str, Predictive], *, ax: Axes | None = None) -> Axes:
    """Each input's aleatoric part against its epistemic one; groups of inputs have colours and marks of their own.

    Of classes in nats, of a real target standard deviations in its units.

    Args:
        groups: Predictions, or several by name: ``{"known": posterior(x), "never seen": posterior(x_ood)}``.
        ax: Where to draw.

    Returns:
        The axes.

    Raises:
        TypeError: If there are no predictions.
        ValueError: If they are of different kinds of target, or of several targets.

    Example:
        >>> predictive = Predictive(torch.distributions.Categorical(torch.rand(5, 20, 3)))
        >>> aleatoric_epistemic({"known": predictive}).get_xlabel()
        'aleatoric (nats)'
    """
    by_name = groups if isinstance(groups, Mapping) else {"": groups}
    if not by_name:
        raise ValueError("there must be one group at least; got none.")
    for predictive in by_name.values():
        expect_predictive(predictive)
    kinds = {predictive.has_enumerate_support for predictive in by_name.values()}
    if len(kinds) > 1 or any(predictive.event_shape not in ((), (1,)) for predictive in by_name.values()):
        raise ValueError("all groups must be of one target, all of classes or all of real numbers.")
    classes = kinds.pop()
    ax = new_axes(ax, (4.6, 3.8))
    for number, (name, predictive) in enumerate(by_name.items()):
        parts = decompose(predictive)
        aleatoric, epistemic = (value.detach().cpu().flatten() for value in (parts.aleatoric, parts.epistemic))
        if not classes:
            aleatoric, epistemic = aleatoric.sqrt(), epistemic.sqrt()
        ax.scatter(aleatoric, epistemic, s=14, alpha=0.5, lw=0, marker=_MARKERS[number % len(_MARKERS)],
                   color=_GROUPS[number % len(_GROUPS)], label=name or None)  # fmt: skip
    unit = "nats" if classes else "units of y"
    ax.set(xlabel=f"aleatoric ({unit})", ylabel=f"epistemic ({unit})")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
    if any(by_name):
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)  # off the points
    return ax


def _data(ax: Axes, points: Tensor, y: Tensor | None, classes: bool) -> None:
    """The data, each class with a mark of its own."""
    if y is None:
        ax.plot(*points.T.numpy(), ".", color="black", ms=3)
        return
    labels = torch.as_tensor(y).detach().cpu().flatten()
    if len(labels) != len(points):
        raise ValueError(f"y must have one target for each of the {len(points)} rows of x; got {len(labels)}.")
    if not classes:
        ax.scatter(points[:, 0], points[:, 1], c=labels.numpy(), cmap="gray", s=10, edgecolor="black", lw=0.4)
        return
    for number, label in enumerate(np.unique(labels.numpy())):
        chosen = points[labels == label]
        ax.scatter(
            chosen[:, 0], chosen[:, 1], s=14, marker=_MARKERS[number % len(_MARKERS)], edgecolor="black", lw=0.6,
                   facecolor=("white", "black", "0.6")[number % 3])  # fmt: skip
