"""What all pictures share: a colour for each part, and an axes to draw on that notebooks show."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["COLOURS", "Picture", "new_axes"]

COLOURS = {
    "total": "#4d4d4d",
    "aleatoric": "#e69f00",
    "epistemic": "#0072b2",
    "inside": "#009e73",
    "outside": "#cc3311",
}
"""Colour of each part, chosen so that the colour-blind can tell them apart."""


class Picture(Figure):
    """A figure that pyplot does not hold, so that none stays open, and that a notebook shows all the same."""

    def _repr_png_(self) -> bytes:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=100)
        return png.getvalue()


def new_axes(ax: Axes | None, size: tuple[float, float] = (5.0, 3.2)) -> Axes:
    """The axes given, or new ones on a figure of their own, which a notebook shows where a cell ends with them."""
    if ax is not None:
        return ax
    figure = Picture(figsize=size, layout="constrained")
    made: Any = figure.subplots()
    made._repr_png_ = figure._repr_png_
    return made
