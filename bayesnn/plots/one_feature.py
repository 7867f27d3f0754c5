"""The door for pictures over one feature: places on a line, and points to show there."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import date2num
from numpy.typing import NDArray
from torch import Tensor

from bayesnn.data import as_inputs, as_targets, refuse_masked

__all__ = ["as_dates", "as_line", "as_points", "name_of"]


def as_line(x: Any, number: int) -> Tensor:
    """Inputs that were predicted, one number each, as a vector on the CPU.

    Args:
        x: Tensor, array, list or series ``(N,)``; or with frames ``(N, 1)``. Dates become days since 1970.
        number: How many inputs were predicted.

    Raises:
        TypeError: If they are neither numbers nor dates.
        ValueError: If there are not so many, of one feature, or one is not finite.
    """
    at = _column(x)
    if at.shape != (number, 1):
        came = len(at) if at.shape[1:] == (1,) else tuple(at.shape)
        raise ValueError(f"x must be the inputs that were predicted, one number each, N = {number}; got {came}.")
    return at[:, 0]


def as_points(data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Points ``(x, y)`` to show, as two vectors of one length.

    Args:
        data: Inputs ``(N,)`` or ``(N, 1)``, and targets likewise, as `as_line` takes them.

    Raises:
        TypeError: If they are no pair, or not numbers.
        ValueError: If they are not of one length and one column each, or a number is not finite.
    """
    if len(data) != 2:
        raise TypeError(f"data must be a pair (x, y); got {type(data).__name__} of length {len(data)}.")
    x, y = data
    inputs, targets = _column(x), as_targets(y).cpu()
    if inputs.shape[1:] != (1,) or targets.shape not in ((len(inputs),), (len(inputs), 1)):
        raise ValueError(
            "data must be points, one number for each row of x and of y; got shapes "
            f"{tuple(inputs.shape)} and {tuple(targets.shape)}. Pass the x and y of the same rows, x of one feature."
        )
    return inputs[:, 0].numpy(), targets.flatten().numpy()


def as_dates(ax: Axes, x: Any, data: Any = None) -> None:
    """Let the axis of inputs tell dates, where they are.

    Args:
        ax: The axes.
        x: Inputs, numbers or dates.
        data: Points ``(x, y)`` beside them, of the same kind; or none.

    Raises:
        TypeError: If one of them is dates and the other numbers.
    """
    dates = _in_days(x) is not None
    if data is not None and (_in_days(data[0]) is not None) != dates:
        raise TypeError(
            f"x and the x of data must both be dates or both numbers; got {'dates' if dates else 'numbers'} for x "
            "only. Pass both in one kind."
        )
    if dates:
        ax.xaxis_date()


def name_of(values: Any, otherwise: str) -> str:
    """What an axis is to be called: the name of a series or of a frame's only column.

    Args:
        values: Numbers of any kind.
        otherwise: What to call those that have no name.
    """
    columns = getattr(values, "columns", [getattr(values, "name", None)])
    return columns[0] if len(columns) == 1 and isinstance(columns[0], str) else otherwise


def _column(x: Any) -> Tensor:
    """Inputs ``(N, ...)`` on the CPU; of a vector ``(N, 1)``."""
    refuse_masked(x, "x")
    days = _in_days(x)
    x = x if days is None else days
    values = x if isinstance(x, Tensor) else np.asarray(x, dtype=object)  # ragged lists too, which `as_inputs` refuses
    return as_inputs(values[:, None] if values.ndim == 1 else values).cpu()


def _in_days(x: Any) -> NDArray[Any] | None:
    """Dates as days since 1970, as matplotlib draws them; nothing of numbers."""
    if isinstance(x, Tensor):
        return None
    values = x.to_numpy() if hasattr(x, "to_numpy") else x if isinstance(x, np.ndarray) else np.asarray(x, dtype=object)
    if not (values.dtype.kind == "M" or (values.size and isinstance(values.flat[0], date | np.datetime64))):
        return None
    return date2num(values.ravel()).reshape(values.shape)
