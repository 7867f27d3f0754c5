"""Columns of frames: their names in a fit, and whether those of a prediction are the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bayesnn.data import batches

__all__ = ["columns_of", "named"]


def columns_of(x: Any) -> tuple[str, ...]:
    """The names of a frame's columns; none of anything else, or where they are words for none of them.

    Example:
        >>> columns_of([[1.0, 2.0]])
        ()
    """
    if not (hasattr(x, "columns") and hasattr(x, "to_numpy")):
        return ()
    names = list(x.columns)
    return tuple(names) if all(isinstance(name, str) for name in names) else ()


def named(x: Any, columns: tuple[str, ...]) -> Iterator[Any]:
    """The batches of inputs, as `bayesnn.data.batches`; frames must have the columns of the fit, in their order.

    What has no names goes by position.

    Raises:
        ValueError: If they differ.
    """
    for batch in batches(x):
        _check(columns_of(batch), columns)
        yield batch


def _check(own: tuple[str, ...], columns: tuple[str, ...]) -> None:
    if not own or not columns or own == columns:
        return
    listed = ", ".join(map(repr, columns[:3])) + (", ..." if len(columns) > 3 else "")
    missing, further = [n for n in columns if n not in own], [n for n in own if n not in columns]
    if missing:
        came = f"{', '.join(map(repr, missing[:3]))} is missing"
        raise ValueError(f"x must have the columns of the fit, {listed}; {came}. Without names they go by position.")
    came = (
        f"got {', '.join(map(repr, further[:3]))} besides"
        if further
        else f"got them as {', '.join(map(repr, own[:3]))}"
    )
    raise ValueError(
        f"x must have the columns of the fit in their order, {listed}; {came}. Write x[list(posterior.columns)]."
    )
