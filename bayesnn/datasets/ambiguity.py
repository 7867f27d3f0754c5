"""Pictures that are two things at once: cat or dog? High in aleatoric uncertainty, if a model has learnt such."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from bayesnn.datasets.bundled import digits
from bayesnn.datasets.split import Split

__all__ = ["ambiguous_digits", "with_ambiguous"]


def ambiguous_digits(num_pictures: int = 100, *, split: Split | None = None, seed: int = 0) -> tuple[Tensor, Tensor]:
    r"""Test pictures of two classes laid over each other, half and half.

    :math:`x = \tfrac12 x_a + \tfrac12 x_b` pixel by pixel, where :math:`a` is a random test picture and :math:`b` a
    random one of another class. To a model that was trained without such pictures they are from another world; for
    the demonstration of aleatoric uncertainty see `with_ambiguous`.

    Args:
        num_pictures: How many, drawn with replacement.
        split: Whose test pictures, any with classes; `digits` if left out.
        seed: Seed of the pairs.

    Returns:
        Pictures ``(num_pictures, ...)``, and both labels of each, ``(num_pictures, 2)``, in the split's numbering.

    Raises:
        ValueError: If there are not two classes to mix, or no pictures are asked for.

    Example:
        >>> pictures, labels = ambiguous_digits(5)
        >>> pictures.shape, labels.shape
        (torch.Size([5, 8, 8]), torch.Size([5, 2]))
    """
    if num_pictures < 1:
        raise ValueError(f"num_pictures must be 1 or more; got {num_pictures!r}.")
    of = digits() if split is None else split
    _check_classes(of)
    return _mixed(of.x_test, of.y_test, num_pictures, torch.Generator().manual_seed(seed))


def with_ambiguous(split: Split, *, fraction: float = 0.2, seed: int = 0) -> Split:
    r"""Add pictures whose class is a coin toss, so that a model can learn what ambiguity looks like.

    Noise in the labels is a property of the world that is trained on. So mixtures of two training pictures (as in
    `ambiguous_digits`) are trained on, each once, under one of its two labels by the toss of a fair coin, and mixtures
    of test pictures are kept apart as ``x_ambiguous``. For those the truth is known: half and half between two
    classes, an entropy of :math:`\log 2 \approx 0.693` nats, all of it aleatoric and, with data enough, none of it
    epistemic. A held-out class in ``x_ood`` is the contrast: never trained on, so its epistemic part should be the
    larger. Its aleatoric part may be anything: no label says what it should be.

    Args:
        split: Any with classes, such as ``digits(hold_out=9)``.
        fraction: Mixtures as a fraction of the training pictures (added to them), and of the test pictures (apart).
        seed: Seed of the pairs and of the coin.

    Returns:
        The split with more training rows (the old ones first), the same test rows, and ``x_ambiguous``.

    Raises:
        ValueError: If there are not two classes to mix, or the fraction is not above 0 and up to 1.

    References:
        Mukhoti et al. (2021), Deep Deterministic Uncertainty: A Simple Baseline, arXiv:2102.11582, whose Dirty-MNIST
        trains on ambiguous digits for the same reason; theirs are decoded by a variational autoencoder.

    Example:
        >>> with_ambiguous(digits(hold_out=9))
        Split(digits without 9, with mixtures: 1358 train, 486 test, 180 out-of-distribution, 98 ambiguous;
        inputs (8, 8), 9 classes)
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be above 0 and up to 1; got {fraction}.")
    _check_classes(split)
    draws = torch.Generator().manual_seed(seed)
    added, pairs = _mixed(split.x_train, split.y_train, math.ceil(fraction * len(split.x_train)), draws)
    coin = torch.randint(2, (len(pairs), 1), generator=draws)
    apart, _ = _mixed(split.x_test, split.y_test, math.ceil(fraction * len(split.x_test)), draws)
    return replace(
        split,
        name=f"{split.name}, with mixtures",
        x_train=torch.cat([split.x_train, added]),
        y_train=torch.cat([split.y_train, pairs.gather(1, coin)[:, 0]]),
        x_ambiguous=apart,
    )


def _mixed(x: Tensor, y: Tensor, number: int, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Means of a random row and a random row of another class, and both labels."""
    order = y.argsort(stable=True)
    counts = y.bincount()
    first = torch.randint(len(y), (number,), generator=draws)
    own = y[first]
    # With the rows in the order of their classes, those of all other classes are what lies before and behind its own.
    others = len(y) - counts[own]
    place = (torch.rand(number, generator=draws, dtype=torch.float64) * others).long()
    place += torch.where(place < (counts.cumsum(0) - counts)[own], 0, counts[own])
    second = order[place]
    return x[first] / 2 + x[second] / 2, torch.stack([own, y[second]], -1)


def _check_classes(split: Split) -> None:
    if not split.classes or min(len(y.unique()) for y in (split.y_train, split.y_test)) < 2:
        raise ValueError(
            f"a mixture needs two classes at least, in train and test rows; got {split!r}. Pass a split with classes."
        )
