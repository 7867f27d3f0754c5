"""Data to try methods on, split into training, test and inputs from another world."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["UCI", "Split", "digits", "uci"]

UCI = ("boston", "concrete", "energy", "kin8nm", "power", "wine-red", "yacht")
"""Names of the UCI regression sets."""

_FOLDER = "BAYESNN_DATA"


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
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...] = ()
    x_ood: Tensor | None = None

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train)} train, {len(self.x_test)} test"
        sizes += "" if self.x_ood is None else f", {len(self.x_ood)} out-of-distribution"
        targets = f"{len(self.classes)} classes" if self.classes else "real targets"
        return f"Split({self.name}: {sizes}; inputs {tuple(self.x_train.shape[1:])}, {targets})"


def digits(hold_out: int = 9, *, test_fraction: float = 0.3, seed: int = 0) -> Split:
    """scikit-learn's handwritten digits, 8 x 8 pixels from 0 to 16: 1797 pictures, bundled, no download.

    Args:
        hold_out: The digit that is never trained on; all its pictures are the other world.
        test_fraction: Fraction of the other digits kept for testing, the same of each.
        seed: Seed of the split.

    Returns:
        Pictures ``(N, 8, 8)`` and labels from 0 to 8.

    References:
        Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.

    Example:
        >>> digits()
        Split(digits without 9: 1131 train, 486 test, 180 out-of-distribution; inputs (8, 8), 9 classes)
    """
    if hold_out not in range(10):
        raise ValueError(f"hold_out must be a digit from 0 to 9; got {hold_out!r}.")
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1; got {test_fraction}.")
    # Imported here: importing scikit-learn changes the process's warning filters, importing bayesnn must not.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).view(-1, 8, 8)
    y = torch.tensor(labels)
    inside = y != hold_out
    known = sorted(set(range(10)) - {hold_out})
    y_inside = torch.bucketize(y[inside], torch.tensor(known))
    train, test = train_test_split(
        range(len(y_inside)), test_size=test_fraction, random_state=seed, stratify=y_inside.numpy()
    )
    return Split(
        f"digits without {hold_out}",
        x[inside][train],
        y_inside[train],
        x[inside][test],
        y_inside[test],
        tuple(map(str, known)),
        x[~inside],
    )


def uci(name: str, *, seed: int = 0, folder: str | Path | None = None) -> Split:
    """A set of the UCI regression benchmark with one of its 20 standard splits into 90 % and 10 %.

    The splits are those of Hernández-Lobato and Adams, which published results use; results on others differ.

    Args:
        name: One of `UCI`.
        seed: Number of the split, from 0 to 19.
        folder: Folder that holds ``uci/<name>.npz`` (arrays ``X``, ``y``, ``train_idx`` and ``test_idx``); the
            environment variable ``BAYESNN_DATA`` if left out.

    Returns:
        Features ``(N, d)`` and real targets ``(N,)`` in raw units, in double precision.

    Raises:
        ValueError: If there is no such set or split.
        FileNotFoundError: If the file is not there; the message says where it was looked for.

    References:
        Hernández-Lobato and Adams (2015), Probabilistic Backpropagation, arXiv:1502.05336, section 5.1.
    """
    if name not in UCI:
        raise ValueError(f"name must be one of {', '.join(UCI)}; got {name!r}.")
    given = folder if folder is not None else os.environ.get(_FOLDER)
    if given is None:
        raise FileNotFoundError(
            f"the UCI sets are read from a folder: pass --data FOLDER or folder=..., or set {_FOLDER}; it must hold "
            f"uci/{name}.npz."
        )
    path = Path(given) / "uci" / f"{name}.npz"
    if not path.is_file():
        raise FileNotFoundError(f"the folder must hold uci/{name}.npz; there is no {path}.")
    with np.load(path) as arrays:
        splits = len(arrays["train_idx"])
        if seed not in range(splits):
            raise ValueError(f"{name} has {splits} splits, from 0 to {splits - 1}; got {seed!r}.")
        x, y = torch.tensor(arrays["X"]), torch.tensor(arrays["y"])
        train, test = (torch.tensor(arrays[part][seed].astype(np.int64)) for part in ("train_idx", "test_idx"))
    return Split(f"uci/{name}, split {seed}", x[train], y[train], x[test], y[test])
