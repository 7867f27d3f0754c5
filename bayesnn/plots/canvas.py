"""What all pictures share: a colour for each part, and an axes to draw on."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "new_axes"]

COLOURS = {
    "total": "#4d4d4d",
    "aleatoric": "#e69f00",
    "epistemic": "#0072b2",
    "inside": "#009e73",
    "outside": "#cc3311",
}
"""Colour of each part, chosen so that the colour-blind can tell them apart."""


def new_axes(ax: Axes | None, size: tuple[float, float] = (5.0, 3.2)) -> Axes:
    """The axes given, or new ones on a figure of their own."""
    return ax if ax is not None else Figure(figsize=size, layout="constrained").subplots()
