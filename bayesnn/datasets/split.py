"""What every data set is: training rows, test rows, and inputs that are hard in a known way."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Split", "apart", "check_hold_out"]


@dataclass(frozen=True)
class Split:
    """A data set, split.

    Attributes:
        name: What it is.
        x_train: Training inputs ``(N, ...)`` in raw units.
        y_train: Their targets ``(N,)``: labels from 0, or real numbers where there are no classes.
        x_test: Test inputs from the same world.
        y_test: Their targets.
        classes: Name of each class, in the order of the labels; none for real targets.
        x_ood: Inputs from another world, which no method has seen, if there are any.
        features: Name of each column of the inputs, where they have names.
        x_ambiguous: Inputs from the same world whose class is a fair coin between two, if there are any; see
            `with_ambiguous`.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...] = ()
    x_ood: Tensor | None = None
    features: tuple[str, ...] = ()
    x_ambiguous: Tensor | None = None

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train)} train, {len(self.x_test)} test"
        sizes += "" if self.x_ood is None else f", {len(self.x_ood)} out-of-distribution"
        sizes += "" if self.x_ambiguous is None else f", {len(self.x_ambiguous)} ambiguous"
        targets = f"{len(self.classes)} classes" if self.classes else "real targets"
        return f"Split({self.name}: {sizes}; inputs {tuple(self.x_train.shape[1:])}, {targets})"


def apart(y: Tensor, hold_out: int) -> tuple[Tensor, Tensor, list[int]]:
    """Take one class out of the labels.

    Args:
        y: Labels ``(N,)`` from 0.
        hold_out: The label to take out.

    Returns:
        Which rows are left, ``(N,)`` of booleans; their labels counted anew from 0; and the old label of each.
    """
    inside = y != hold_out
    known = [label for label in range(int(y.max()) + 1) if label != hold_out]
    return inside, torch.bucketize(y[inside], torch.tensor(known)), known


def check_hold_out(hold_out: Any, number: int, what: str) -> None:
    """Refuse what is no class to hold out, nor ``None`` for none; 9.0 and ``True`` are no classes either.

    Args:
        hold_out: The class.
        number: Classes that there are.
        what: A class in words.

    Raises:
        ValueError: If it is none of them.
    """
    if hold_out is None:
        return
    try:
        known = operator.index(hold_out) in range(number) and type(hold_out) is not bool
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"hold_out must be a {what} from 0 to {number - 1}, or None; got {hold_out!r}.")
