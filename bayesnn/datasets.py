"""Data to try methods on, split into training, test and inputs from another world."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Split", "digits"]


@dataclass(frozen=True)
class Split:
    """A data set, split.

    Attributes:
        name: What it is.
        x_train: Training inputs ``(N, ...)`` in raw units.
        y_train: Their targets ``(N,)``.
        x_test: Test inputs from the same world.
        y_test: Their targets.
        x_ood: Inputs from another world, which no method has seen.
        classes: Name of each class, in the order of the labels.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    x_ood: Tensor
    classes: tuple[str, ...]

    def __repr__(self) -> str:
        sizes = f"{len(self.x_train)} train, {len(self.x_test)} test, {len(self.x_ood)} out-of-distribution"
        return f"Split({self.name}: {sizes}; inputs {tuple(self.x_train.shape[1:])}, {len(self.classes)} classes)"


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
        x[~inside],
        tuple(map(str, known)),
    )
