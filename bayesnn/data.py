"""The door for data: tensors, arrays, frames, data sets and loaders become tensors, or a clear sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from bayesnn.frames import in_columns, refuse_other_order, refuse_text, shape_advice
from bayesnn.seeding import seeded

__all__ = [
    "as_inputs",
    "as_targets",
    "as_training_data",
    "as_values",
    "batches",
    "brings_targets",
    "on_device",
    "refuse_masked",
    "unlike",
]


def as_training_data(x: Any, y: Any = None) -> tuple[Tensor, Tensor]:
    """Inputs and targets as tensors.

    Args:
        x: Inputs ``(N, ...)`` as tensor, array or frame; or one ``Dataset`` or ``DataLoader`` of ``(x, y)`` pairs,
            which is read into memory.
        y: Targets ``(N,)`` or ``(N, D)``; left out when ``x`` brings them.

    Raises:
        TypeError: If something is not data.
        ValueError: If rows do not match (of pandas also where they have the same labels in another order), there are
            fewer than two, or a value is masked or not finite.
    """
    if brings_targets(x):
        if y is not None:
            raise TypeError("a Dataset or DataLoader brings its own targets; pass it alone, without y.")
        x, y = _read(x)
    elif y is None:
        raise TypeError("targets are missing: pass x and y, or one Dataset or DataLoader of (x, y) pairs.")
    refuse_other_order(x, y)
    inputs, targets = as_inputs(x), as_targets(y)
    if len(inputs) != len(targets):
        hint = " Transposed? Pass x.T." if inputs.ndim == 2 and inputs.shape[1] == len(targets) else ""
        hint = " Transposed? Pass y.T." if targets.ndim == 2 and targets.shape[1] == len(inputs) else hint
        raise ValueError(
            f"targets must have one row per input, N = {len(inputs)}; got shape {tuple(targets.shape)}.{hint}"
        )
    if len(inputs) < 2:
        raise ValueError(f"data must have two rows at least; got {len(inputs)}.")
    # What was made within ``torch.inference_mode`` autograd takes as a copy only.
    inputs, targets = (part.clone() if part.is_inference() else part for part in (inputs, targets))
    return inputs, targets


def brings_targets(x: Any) -> bool:
    """Whether it is a ``Dataset`` or ``DataLoader``, of pairs ``(x, y)``."""
    return isinstance(x, Dataset | DataLoader)


def as_inputs(x: Any) -> Tensor:
    """Inputs ``(N, ...)`` as a tensor of finite numbers; yes and no, as ``pd.get_dummies`` gives, become 1 and 0."""
    inputs = _tensor(x, "x")
    if inputs.dtype == torch.bool:
        inputs = inputs.to(torch.uint8)
    if inputs.ndim < 2:
        raise ValueError(
            f"x must have shape (N, features) or (N, ...) for pictures; got {tuple(inputs.shape)}. {shape_advice(x)}"
        )
    return inputs


def as_targets(y: Any) -> Tensor:
    """Targets ``(N,)`` or ``(N, D)`` as a tensor of finite numbers."""
    targets = _tensor(y, "y")
    if targets.ndim not in (1, 2):
        raise ValueError(f"y must have shape (N,) or (N, D); got {tuple(targets.shape)}.")
    return targets


def on_device(device: torch.device | str | None, fallback: torch.device) -> torch.device:
    """The device asked for, or a sentence that says it is not there."""
    if device is None:
        return fallback
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, TypeError) as error:
        have = ["cpu"] + [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        have += ["mps"] if torch.backends.mps.is_available() else []
        raise ValueError(
            f"device must be one that is here ({', '.join(have)}); got {str(device)!r}. Leave device out."
        ) from error
    return found


def batches(x: Any) -> Iterator[Any]:
    """``x`` itself if it is one block of data, else its batches without their targets, in their order.

    Raises:
        ValueError: If it is a ``DataLoader`` that shuffles.
    """
    if isinstance(x, Dataset):
        x = DataLoader(x, batch_size=1000)
    if isinstance(x, DataLoader):
        _refuse_shuffled(x)
        with seeded(0):  # as `_read`; all at once, as between two batches the caller would draw from this state
            x = [_without_targets(batch) for batch in x]
    block = isinstance(x, Tensor) or hasattr(x, "__array__") or hasattr(x, "to_numpy") or not isinstance(x, Iterable)
    if isinstance(x, list | tuple) and not any(hasattr(part, "__array__") or isinstance(part, tuple) for part in x[:1]):
        block = True  # nested lists of numbers
    if block:
        yield x
        return
    for batch in x:
        yield _without_targets(batch)


def _without_targets(batch: Any) -> Any:
    return batch[0] if isinstance(batch, list | tuple) else batch


def _refuse_shuffled(loader: DataLoader) -> None:
    """Refuse a loader whose rows come in an order that nobody knows."""
    sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
    if isinstance(sampler, RandomSampler | SubsetRandomSampler | WeightedRandomSampler):
        raise ValueError(
            "a DataLoader to predict must give its rows in their order, or nobody knows which prediction is whose; its "
            f"sampler is a {type(sampler).__name__}. Write DataLoader(data, shuffle=False)."
        )


def _read(source: Dataset | DataLoader) -> tuple[Tensor, Tensor]:
    inputs, targets = [], []
    # A loader draws a seed, and a shuffling one an order: neither from the caller's random state.
    with seeded(0):
        for item in source if isinstance(source, DataLoader) else DataLoader(source, batch_size=1024):
            if not isinstance(item, list | tuple) or len(item) != 2:
                raise TypeError("a Dataset or DataLoader must give pairs (x, y); this one gave something else.")
            x, y = _tensor(item[0], "x"), _tensor(item[1], "y")
            inputs.append(x if y.ndim else x[None])  # without batches it gives one datum at a time
            targets.append(y if y.ndim else y[None])
    if not inputs:
        raise ValueError("data must have two rows at least; the Dataset or DataLoader is empty.")
    return torch.cat(inputs), torch.cat(targets)


def _tensor(values: Any, name: str) -> Tensor:
    refuse_masked(values, name)
    try:
        if isinstance(values, list | tuple) and values and all(isinstance(value, Tensor) for value in values):
            values = torch.stack(list(values))
        tensor = values.detach() if isinstance(values, Tensor) else torch.from_numpy(_array(values))
    except (TypeError, ValueError, RuntimeError) as error:
        refuse_text(values, name)
        raise TypeError(
            f"{name} must be a tensor, array or frame of numbers; got {type(values).__name__} ({error}). "
            "Encode text and categories as numbers first."
        ) from error
    if tensor.is_complex():
        raise TypeError(f"{name} must be real numbers; got {tensor.dtype}. Pass real and imaginary parts as columns.")
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        bad = ~tensor.isfinite().flatten(1).all(1) if tensor.ndim > 1 else ~tensor.isfinite()
        raise ValueError(
            f"{name} must be finite; got NaN or infinity in {int(bad.sum())} row(s), the first at row "
            f"{int(bad.flatten().nonzero()[0])}{in_columns(values, ~tensor.isfinite().cpu().numpy())}. Drop or impute "
            "them first."
        )
    return tensor


def as_values(values: Any, name: str) -> Tensor:
    """Numbers of any kind and shape as a tensor; none of them masked."""
    refuse_masked(values, name)
    return values if isinstance(values, Tensor) else torch.as_tensor(np.array(values))  # a copy, which may be written


def refuse_masked(values: Any, name: str) -> None:
    """Refuse arrays of ``numpy.ma`` some of whose entries are masked: a tensor has no mask."""
    parts = values if isinstance(values, list | tuple) else [values]
    if any(isinstance(part, np.ma.MaskedArray) and np.ma.is_masked(part) for part in parts):
        mask = np.atleast_1d(np.ma.getmaskarray(np.ma.array(values)))
        rows = mask.reshape(len(mask), -1).any(1)
        raise ValueError(
            f"{name} must have no masked entries; got {mask.sum()} of them in {rows.sum()} row(s), the first at row "
            f"{rows.argmax()}. Drop those rows of x and y, or impute them: pass {name}.filled(value)."
        )


def _array(values: Any) -> np.ndarray:
    """A copy as an array of numbers; frames of mixed numeric columns too."""
    array = np.array(values.to_numpy() if hasattr(values, "to_numpy") else values, order="C")
    if array.dtype == object:
        if array.ndim == 0:
            raise TypeError("not numbers")
        array = array.astype(np.float64)
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)
    return array


def unlike(x: Tensor, words: str, error: Exception) -> str:
    """What to say of inputs that a fitted method could not take.

    Args:
        x: The inputs, or some of them.
        words: The shape of the training inputs, ``"(N, 3)"``.
        error: What went wrong.
    """
    if (own := f"({', '.join(['N', *map(str, x.shape[1:])])})") == words:
        return f"x must look like the training inputs, {words}; it has that shape, and yet: {error}"
    hint = " One input? Write x[None]." if x.ndim == words.count(",") else ""
    return f"x must look like the training inputs, {words}; got {own}.{hint}"
