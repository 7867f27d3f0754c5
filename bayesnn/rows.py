"""Rows of a predictive: which of its inputs are meant, targets beside them, and what is found of them in blocks."""

from __future__ import annotations

import dataclasses
import operator
from typing import Any

import torch
from torch import Tensor

__all__ = ["as_rows", "beside_draws", "chosen", "is_one", "one_each", "put", "room_for"]


def is_one(index: Any) -> bool:
    """Whether an index is a whole number, also numpy's or torch's: of one row, where all others are of several."""
    return hasattr(index, "__index__") and getattr(index, "ndim", 0) == 0


def chosen(index: Any, number: int) -> Any:
    """An index of some of so many inputs that keeps their axis: of a whole number, also numpy's or torch's, a list.

    Raises:
        TypeError: If it is none, or goes along further axes.
        IndexError: If there is no such input.
    """
    if hasattr(index, "to_numpy"):  # torch would take a series by its labels
        index = index.to_numpy(copy=True)
    if getattr(index, "ndim", 0) == 1 or isinstance(index, slice | list | range):
        return index
    try:
        if getattr(index, "ndim", 0) > 1 or str(getattr(index, "dtype", type(index).__name__)).endswith("bool"):
            raise TypeError
        at = operator.index(index)
    except TypeError:
        raise TypeError(
            "predictions are indexed along their inputs, by a whole number, a slice, a list of whole numbers or a mask "
            f"(N,); got {index!r}. One target of several is predictive.target(0)."
        ) from None
    if not -number <= at < number:
        raise IndexError(f"there are {number} inputs; got index {at}.")
    return [at]


def as_rows(y: Tensor, batch: torch.Size, event: torch.Size) -> Tensor:
    """Targets of batch shape ``(N,)``, or further axes in front; one column and a vector are one for one target.

    Raises:
        ValueError: If there is not one target for each input.
    """
    wanted = batch + event
    if y.shape == (*batch, 1) and not event:
        y = y[:, 0]
    elif y.shape == batch and event == (1,):
        y = y[:, None]
    if y.ndim and y.shape[-len(wanted) :] != wanted:
        raise ValueError(
            f"targets must have one row per input, shape {tuple(wanted)}; got {tuple(y.shape)}. "
            "Pass the y that belongs to these inputs, (N,) for one target and (N, D) for several."
        )
    return y


def one_each(y: Tensor, shape: torch.Size) -> Tensor:
    """Targets of a predictive's batch and event shape, without further axes; one number alone is that of all inputs.

    Raises:
        ValueError: If there is not one target for each input.
    """
    if y.ndim and y.shape != shape:
        raise ValueError(
            f"targets must have one row per input, shape {tuple(shape)}; got {tuple(y.shape)}. Several sets of "
            "targets? Pass one: y[0]."
        )
    return y.expand(shape)


def beside_draws(values: Tensor, event_dim: int) -> Tensor:
    """Targets with an axis for the draws in front of the inputs, behind any further leading axes."""
    return values.unsqueeze(-event_dim - 2) if values.ndim > 1 + event_dim else values


def room_for(some: Any, number: int) -> Any:
    """Room for so many inputs, in the form of what a function gives for some."""
    if isinstance(some, Tensor):
        return some.new_empty(number, *some.shape[1:])
    if isinstance(some, dict):
        return {name: room_for(value, number) for name, value in some.items()}
    return dataclasses.replace(some, **{name: room_for(value, number) for name, value in _tensors(some).items()})


def put(whole: Any, some: Any, rows: slice) -> None:
    """Put what a function gives for some inputs into its place."""
    if isinstance(some, Tensor):
        whole[rows] = some
    elif isinstance(some, dict):
        for name, value in some.items():
            put(whole[name], value, rows)
    else:
        put(_tensors(whole), _tensors(some), rows)


def _tensors(record: Any) -> dict[str, Tensor]:
    """The fields of a data class that are tensors."""
    values = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}
