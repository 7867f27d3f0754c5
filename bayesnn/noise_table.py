"""NoiseTable: standard normal numbers for many steps, drawn once for several of them.

To draw the noise of a step takes as long as a pass through a large network's weights several times over, and a sixth of
the time of a small network's step. Each table is therefore read eight times, from another place each time: the numbers
of one reading are independent, and a weight or a unit meets other numbers in each, as two readings put a number into
different columns. Of fewer than eight columns some would come back to their own, so these are drawn each time.

References:
    Salimans et al. (2017), Evolution Strategies as a Scalable Alternative to Reinforcement Learning, arXiv:1703.03864,
    section 2.1, which slices such a table likewise.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["NoiseTable"]

_READINGS = 8
"""Readings of a table. At eight, drawing it takes an eighth of the time, and further ones bring next to nothing."""

_STRIDES = (61, 67)
"""Places between two readings: the first of which the width is no multiple, so that numbers change their column."""


class NoiseTable:
    """Standard normal numbers, as many as asked for at a time.

    Args:
        like: A tensor of the numbers' type and device.

    Example:
        >>> noise = NoiseTable(torch.zeros(()))
        >>> noise(torch.Size([2, 3])).shape
        torch.Size([2, 3])
    """

    def __init__(self, like: Tensor) -> None:
        self._table, self._number, self._readings = like.new_empty(0), 0, 0
        self._first = self._table  # as many of its numbers as one reading has at most
        self._views: dict[torch.Size, list[Tensor]] = {}

    def __call__(self, shape: torch.Size) -> Tensor:
        """Numbers of a shape ``(..., columns)``: a view of the table, to be read and not to be changed."""
        views = self._views.get(shape) or self._laid_out(shape)
        if len(views) == 1 or self._readings == 0:
            self._first.normal_()
        elif self._readings == 1:  # the rest of it, in time for the second reading
            self._table[self._number :].normal_()
        if len(views) == 1:
            return views[0]
        found = views[self._readings]
        self._readings = (self._readings + 1) % _READINGS
        return found

    def _laid_out(self, shape: torch.Size) -> list[Tensor]:
        """The readings of a shape, one for each time; of few columns a single one. The table grows where it must."""
        number, width = shape.numel(), shape[-1]
        if number > self._number:
            self._number, self._readings, self._views = number, 0, {}
            self._table = self._table.new_empty(number + (_READINGS - 1) * max(_STRIDES))
            self._first = self._table[:number]
        stride = _STRIDES[0] if width % _STRIDES[0] else _STRIDES[1]
        starts = range(0, stride * _READINGS, stride) if width >= _READINGS else [0]
        self._views[shape] = [self._table[start : start + number].view(shape) for start in starts]
        return self._views[shape]
