"""Sets that come with scikit-learn: digits, breast cancer, wine and diabetes. No download."""

from __future__ import annotations

import math
import operator

import torch
from torch import Tensor

from bayesnn.datasets.split import Split, apart, check_hold_out

__all__ = ["breast_cancer", "diabetes", "digits", "wine"]

# scikit-learn is imported inside: importing it changes the process's warning filters, importing bayesnn must not.


def digits(hold_out: int | None = 9, *, test_fraction: float = 0.3, seed: int = 0) -> Split:
    """scikit-learn's handwritten digits, 8 x 8 pixels from 0 to 16: 1797 pictures, bundled, no download.

    Args:
        hold_out: The digit that is never trained on; all its pictures are the other world. ``None`` for none.
        test_fraction: Fraction of the other digits kept for testing, the same of each.
        seed: Seed of the split.

    Returns:
        Pictures ``(N, 8, 8)`` and labels from 0 to 8, or to 9 with none held out.

    Raises:
        ValueError: If a setting is out of range.

    References:
        Alpaydin and Kaynak (1998), Optical Recognition of Handwritten Digits, UCI Machine Learning Repository.

    Example:
        >>> digits()
        Split(digits without 9: 1131 train, 486 test, 180 out-of-distribution; inputs (8, 8), 9 classes)
    """
    check_hold_out(hold_out, 10, "digit")
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    x = torch.tensor(pixels, dtype=torch.float32).view(-1, 8, 8)
    classes = tuple(map(str, range(10)))
    return _classes("digits", x, torch.tensor(labels), classes, (), hold_out, test_fraction, seed)


def breast_cancer(*, test_fraction: float = 0.3, seed: int = 0) -> Split:
    """Breast tumours from Wisconsin, malignant or benign: 569 rows of 30 features.

    Args:
        test_fraction: Fraction kept for testing, the same of either class.
        seed: Seed of the split.

    Returns:
        Features ``(N, 30)`` in raw units, in double precision, with their names; label 0 is malignant, 1 benign.

    References:
        Street, Wolberg and Mangasarian (1993), Nuclear feature extraction for breast tumor diagnosis, SPIE 1905.

    Example:
        >>> breast_cancer()
        Split(breast cancer: 398 train, 171 test; inputs (30,), 2 classes)
    """
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    x, y = torch.tensor(bunch.data), torch.tensor(bunch.target)
    names, features = tuple(map(str, bunch.target_names)), tuple(map(str, bunch.feature_names))
    return _classes("breast cancer", x, y, names, features, None, test_fraction, seed)


def wine(hold_out: int | None = None, *, test_fraction: float = 0.3, seed: int = 0) -> Split:
    """Wines of three growers by chemical analysis: 178 rows of 13 features.

    Args:
        hold_out: The grower, from 0 to 2, that is never trained on; all its wines are the other world.
        test_fraction: Fraction of the others kept for testing, the same of each.
        seed: Seed of the split.

    Returns:
        Features ``(N, 13)`` in raw units, in double precision, with their names; labels from 0 to 2, or to 1 with a
        grower held out.

    References:
        Forina et al., PARVUS; Aeberhard and Forina (1991), Wine, UCI Machine Learning Repository.

    Example:
        >>> wine(hold_out=2)
        Split(wine without class_2: 91 train, 39 test, 48 out-of-distribution; inputs (13,), 2 classes)
    """
    check_hold_out(hold_out, 3, "grower")
    from sklearn.datasets import load_wine

    bunch = load_wine()
    x, y = torch.tensor(bunch.data), torch.tensor(bunch.target)
    names, features = tuple(map(str, bunch.target_names)), tuple(map(str, bunch.feature_names))
    return _classes("wine", x, y, names, features, hold_out, test_fraction, seed)


def diabetes(*, test_fraction: float = 0.3, seed: int = 0) -> Split:
    """Progression of diabetes over one year: 442 patients, 10 features.

    Args:
        test_fraction: Fraction kept for testing.
        seed: Seed of the split.

    Returns:
        Features ``(N, 10)`` in raw units (years, mmHg ...; not scikit-learn's scaled ones), in double precision, with
        their names; real targets ``(N,)`` from 25 to 346, a measure of progression without a unit.

    References:
        Efron, Hastie, Johnstone and Tibshirani (2004), Least Angle Regression, Annals of Statistics 32(2).

    Example:
        >>> diabetes()
        Split(diabetes: 309 train, 133 test; inputs (10,), real targets)
    """
    from sklearn.datasets import load_diabetes
    from sklearn.model_selection import train_test_split

    bunch = load_diabetes(scaled=False)
    x, y = torch.tensor(bunch.data), torch.tensor(bunch.target)
    _check_split(len(y), test_fraction, seed)
    train, test = train_test_split(range(len(y)), test_size=test_fraction, random_state=seed)
    return Split("diabetes", x[train], y[train], x[test], y[test], features=tuple(bunch.feature_names))


def _classes(
    name: str,
    x: Tensor,
    y: Tensor,
    classes: tuple[str, ...],
    features: tuple[str, ...],
    hold_out: int | None,
    test_fraction: float,
    seed: int,
) -> Split:
    """Split within each class, one class apart where one is held out."""
    from sklearn.model_selection import train_test_split

    x_ood = None
    if hold_out is not None:
        name = f"{name} without {classes[hold_out]}"
        inside, y, known = apart(y, hold_out)
        x, x_ood, classes = x[inside], x[~inside], tuple(classes[label] for label in known)
    _check_split(len(y), test_fraction, seed, len(classes))
    train, test = train_test_split(range(len(y)), test_size=test_fraction, random_state=seed, stratify=y.numpy())
    return Split(name, x[train], y[train], x[test], y[test], classes, x_ood, features)


def _check_split(number: int, test_fraction: float, seed: int, fewest: int = 1) -> None:
    """Refuse what scikit-learn would in words of its own; a part has a row for each class at least."""
    try:
        known = operator.index(seed) in range(2**32) and type(seed) is not bool
    except TypeError:
        known = False
    if not known:
        raise ValueError(f"seed must be a whole number from 0 to {2**32 - 1}; got {seed!r}.")
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1; got {test_fraction}.")
    test = math.ceil(test_fraction * number)
    if min(test, number - test) < fewest:
        rows = "a row" if fewest == 1 else f"{fewest} rows, one of each class,"
        raise ValueError(
            f"test_fraction must leave {rows} in either part; got {test_fraction}, which makes {number - test} train "
            f"and {test} test. Write 0.3, say."
        )
