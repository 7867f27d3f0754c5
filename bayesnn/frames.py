"""What there is to say of pandas frames and series that are no numbers as they stand: text, gaps, rows in disorder."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["in_columns", "refuse_other_order", "refuse_text", "shape_advice"]


def refuse_text(values: Any, name: str) -> None:
    """Refuse text, and nullable columns with values missing, with the names of the columns.

    Args:
        values: What could not become an array of numbers.
        name: ``"x"`` or ``"y"``.

    Raises:
        TypeError: If some of it is text.
        ValueError: If values are missing.
    """
    text = [column for column in getattr(values, "columns", []) if _is_text(values[column])]
    if text and name == "x":
        raise TypeError(
            f"{name} must be numbers; column {', '.join(map(repr, text))} is text. Write "
            f"pd.get_dummies(x, columns={text!r}, dtype=float)."
        )
    if name == "y" and (text or _is_text(values)):
        raise TypeError(
            "y must be numbers; got text. Classes are whole numbers from 0: codes, names = pd.factorize(y)."
        )
    if hasattr(values, "isna"):
        missing = np.asarray(values.isna())
        rows = missing.reshape(len(missing), -1).any(1)
        if rows.any():
            raise ValueError(
                f"{name} must be finite; got missing values in {int(rows.sum())} row(s), the first at row "
                f"{int(rows.argmax())}{in_columns(values, missing)}. Drop or impute them first."
            )


def in_columns(values: Any, bad: np.ndarray) -> str:
    """The columns of a frame in which something is wrong, in words; nothing for what has no columns.

    Args:
        values: Perhaps a frame ``(N, columns)``.
        bad: Whether each number of it is wrong, of the same shape.
    """
    columns = getattr(values, "columns", [])
    if len(columns) == 0 or bad.shape != (len(bad), len(columns)):
        return ""
    return f", in column {', '.join(repr(c) for c, wrong in zip(columns, bad.T, strict=True) if wrong.any())}"


def refuse_other_order(x: Any, y: Any) -> None:
    """Refuse inputs and targets of pandas that have the same row labels, or most of them, in another order.

    Rows that pandas itself has numbered from 0 are no labels: most of them may be those of others by chance.

    Args:
        x: Inputs of any kind.
        y: Targets of any kind.

    Raises:
        ValueError: If row for row they do not belong together.
    """
    rows, others = getattr(x, "index", None), getattr(y, "index", None)
    if rows is None or others is None or not hasattr(rows, "equals") or not hasattr(others, "equals"):
        return
    if len(rows) != len(others) or rows.equals(others) or not (rows.is_unique and others.is_unique):
        return
    places = others.get_indexer(rows)
    shared = places >= 0
    most = 2 * shared.sum() > len(rows) and not (_is_numbered(rows) or _is_numbered(others))
    if (shared.all() or most) and (places != np.arange(len(rows)))[shared].any():
        which = "the same labels" if shared.all() else f"{int(shared.sum())} of {len(rows)} labels in common, but"
        raise ValueError(
            f"x and y must have their rows in the same order; they have {which} in another one. Write "
            "y.loc[x.index]; or y.to_numpy(), if they belong together as they stand."
        )


def shape_advice(x: Any) -> str:
    """What to write in place of a single axis of inputs: of pandas by the name of the column."""
    if hasattr(x, "to_frame"):
        column = "a" if getattr(x, "name", None) is None else x.name
        return f"A series is no table: write x[[{column!r}]] for one column, or frame.iloc[[0]] for one row."
    return "One feature? Pass x[:, None]. One input? Pass x[None]."


def _is_numbered(index: Any) -> bool:
    return (getattr(index, "start", None), getattr(index, "step", None)) == (0, 1)


def _is_text(values: Any) -> bool:
    """Whether some of it is a string that does not spell a number."""
    try:
        found = np.asarray(values, object).flat
    except ValueError:  # ragged
        return False
    return any(isinstance(value, str) and not _spells_a_number(value) for value in found)


def _spells_a_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
