"""The parts of the uncertainty over inputs of two features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from bayesnn.columns import columns_of, named
from bayesnn.data import as_inputs, as_targets
from bayesnn.plots.canvas import COLOURS, Picture, new_axes
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.uncertainty import decompose

__all__ = ["decision_map", "decision_maps"]

Part = Literal["total", "aleatoric", "epistemic"]

_PARTS: tuple[Part, ...] = ("total", "aleatoric", "epistemic")
_MARKERS = ("o", "^", "s", "D", "v", "P")
_FACES = ("white", "black", "0.6")


def decision_map(
    posterior: Callable[[Any], Predictive],
    x: Any,
    y: Any = None,
    *,
    part: Part = "epistemic",
    resolution: int = 80,
    margin: float = 0.35,
    largest: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One part of the uncertainty over inputs of two features, with the data on it.

    Of classes the part is an entropy in nats, with a line where the most probable class changes; of one real target it
    is a standard deviation, in the units of ``y``. The posterior is asked once, about the whole grid.

    Args:
        posterior: A fitted method.
        x: Data ``(N, 2)``, around which the map is drawn: tensor, array, lists or frame.
        y: Their targets ``(N,)``, which mark the points: each class by a mark, a number by its shade.
        part: ``"total"``, ``"aleatoric"`` or ``"epistemic"``.
        resolution: Points of the map along each feature.
        margin: How far the map reaches beyond the data, as a fraction of their range.
        largest: Value of the darkest colour, so that several maps have one scale; the map's own largest if left out.
        ax: Where to draw.

    Returns:
        The axes, with a colour bar beside them, called by the columns of the fit's frame, or of ``x``.

    Raises:
        TypeError: If there is no posterior but its predictions, or the data are not numbers.
        ValueError: If a number is not finite, ``x`` does not have two columns, those of the fit, ``y`` is not one
            target for each row, of the kind that is predicted, the part has another name, or the grid one point.

    Example:
        >>> def posterior(at):
        ...     return Predictive(torch.distributions.Categorical(logits=torch.stack([at, -at, 2 * at])))
        >>> decision_map(posterior, torch.randn(20, 2), resolution=5).get_xlabel()
        'first feature'
    """
    if part not in _PARTS:
        raise ValueError(f'part must be "total", "aleatoric" or "epistemic"; got {part!r}.')
    answers = _ask(posterior, x, y, resolution, margin)
    return _draw(answers, part, largest, new_axes(ax, (4.6, 3.6)))


def decision_maps(
    posterior: Callable[[Any], Predictive], x: Any, y: Any = None, *, resolution: int = 80, margin: float = 0.35
) -> Figure:
    """`decision_map` of all three parts side by side, on one scale: their colours can be compared.

    Args:
        posterior: A fitted method, which is asked once.
        x: Data ``(N, 2)``.
        y: Their targets ``(N,)``.
        resolution: Points of the maps along each feature.
        margin: How far the maps reach beyond the data, as a fraction of their range.

    Returns:
        A figure of its own.

    Raises:
        TypeError: As `decision_map`.
        ValueError: As `decision_map`.

    Example:
        >>> def posterior(at):
        ...     return Predictive(torch.distributions.Categorical(logits=torch.stack([at, -at, 2 * at])))
        >>> len(decision_maps(posterior, torch.randn(20, 2), resolution=5).axes)  # each with its colour bar
        6
    """
    answers = _ask(posterior, x, y, resolution, margin)
    figure = Picture(figsize=(11, 3.2), layout="constrained")
    largest = float(_value(answers.predictive, "total").max())
    for part, ax in zip(_PARTS, figure.subplots(1, 3), strict=True):
        _draw(answers, part, largest, ax)
    return figure


@dataclass(frozen=True, eq=False)
class _Answers:
    """Predictions on a grid around the data: ``across`` and ``up`` are its lines, the second feature runs first."""

    points: Tensor
    labels: Tensor | None
    across: Tensor
    up: Tensor
    predictive: Predictive
    names: tuple[str, ...]

    def on_grid(self, value: Tensor) -> Any:
        return value.detach().cpu().reshape(len(self.across), len(self.up)).T.numpy()


def _ask(posterior: Callable[[Any], Predictive], x: Any, y: Any, resolution: int, margin: float) -> _Answers:
    if isinstance(posterior, Predictive) or not callable(posterior):
        raise TypeError("decision_map asks the posterior about a grid of its own; pass the posterior, not predictions.")
    columns = getattr(posterior, "columns", ())
    next(named(x, columns), None)
    names, data = columns or columns_of(x) or ("first feature", "second feature"), as_inputs(x)
    if data.ndim != 2 or data.shape[1] != 2 or not len(data):
        raise ValueError(
            f"a map is of inputs of two features, (N, 2); got {tuple(data.shape)}. Of more features, pass "
            "lambda at: posterior(rows that have these two features and fixed others)."
        )
    if resolution < 2:
        raise ValueError(f"resolution must be 2 or more; got {resolution}. Write resolution=80.")
    labels = None if y is None else as_targets(y).cpu()
    if labels is not None and labels.shape not in ((len(data),), (len(data), 1)):
        raise ValueError(f"y must have one target for each of the {len(data)} rows of x; got {tuple(labels.shape)}.")
    points = data.cpu() if data.is_floating_point() else data.cpu().to(torch.get_default_dtype())
    low, high = points.amin(0), points.amax(0)
    reach = torch.where(high > low, margin * (high - low), 0.5)  # a feature that is constant has no range
    across, up = (torch.linspace(float(a), float(b), resolution, dtype=points.dtype)
                  for a, b in zip(low - reach, high + reach, strict=True))  # fmt: skip
    predictive = posterior(torch.cartesian_prod(across, up).to(data.device))
    expect_predictive(predictive)
    if predictive.event_shape not in ((), (1,)):
        raise ValueError(
            f"decision_map draws one target; the predictive has {predictive.event_shape[0]}. Write "
            "lambda x: posterior(x).target(0) in the posterior's place for the first of them."
        )
    whole = labels is None or not labels.is_floating_point() or bool((labels == labels.round()).all())
    if predictive.has_enumerate_support and not whole:
        raise ValueError("this posterior predicts classes, and y must be their labels, whole numbers; got fractions.")
    return _Answers(points, None if labels is None else labels.flatten(), across, up, predictive, names)


def _value(predictive: Predictive, part: Part) -> Tensor:
    """A part in the units it is drawn in: nats, or those of the target."""
    value: Tensor = getattr(decompose(predictive), part)
    return value if predictive.has_enumerate_support else value.sqrt()


def _draw(answers: _Answers, part: Part, largest: float | None, ax: Axes) -> Axes:
    value = _value(answers.predictive, part)
    classes = answers.predictive.has_enumerate_support
    shades = LinearSegmentedColormap.from_list(part, ["white", COLOURS[part]])
    top = float(value.max()) if largest is None else largest
    image = ax.pcolormesh(answers.across.numpy(), answers.up.numpy(), answers.on_grid(value), cmap=shades, vmin=0,
                          vmax=max(top, 1e-9), shading="nearest", rasterized=True)  # fmt: skip
    ax.figure.colorbar(image, ax=ax, label=f"{part} ({'nats' if classes else 'units of y'})")
    if classes:
        _borders(answers, ax)
    _data(answers, classes, ax)
    ax.set(xlabel=answers.names[0], ylabel=answers.names[1])
    return ax


def _borders(answers: _Answers, ax: Axes) -> None:
    """Where a class becomes the most probable: its lead over the best of the others is 0."""
    probs = answers.predictive.probs.detach().flatten(0, -2)
    for number in range(probs.shape[1] - 1):  # every border of the last class is another's too
        others = torch.cat([probs[:, :number], probs[:, number + 1 :]], 1)
        lead = answers.on_grid(probs[:, number] - others.amax(1))
        if lead.min() < 0 < lead.max():
            for colour, width in (("white", 2.6), ("black", 1.0)):  # seen on light and dark
                ax.contour(answers.across, answers.up, lead, [0.0], colors=colour, linewidths=width)


def _data(answers: _Answers, classes: bool, ax: Axes) -> None:
    """The data, each class with a mark of its own."""
    points, labels = answers.points, answers.labels
    if labels is None:
        ax.plot(*points.T.numpy(), ".", color="black", ms=3)
    elif classes:
        for number, label in enumerate(labels.unique().tolist()):
            chosen = points[labels == label]
            marker, face = _MARKERS[number % 6], _FACES[(number + number // 6) % 3]
            ax.scatter(chosen[:, 0], chosen[:, 1], s=14, marker=marker, facecolor=face, edgecolor="black", lw=0.6,
                       label=f"class {label:g}")  # fmt: skip
    else:
        ax.scatter(points[:, 0], points[:, 1], c=labels.numpy(), cmap="gray", s=10, edgecolor="black", lw=0.4)
