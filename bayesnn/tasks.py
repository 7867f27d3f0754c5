"""Two tasks that show if uncertainty is any good: does it find the own mistakes, and inputs from another world?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from bayesnn.data import as_targets
from bayesnn.detected import NUM_BOOTSTRAP, Detection, Found, detection
from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.rows import one_each
from bayesnn.uncertainty import all_scores, spreads

__all__ = [
    "each_fit",
    "misclassification",
    "mistakes",
    "out_of_distribution",
    "pairs",
    "squared_errors",
    "told",
    "truth",
]


def misclassification(
    predictive: Predictive | Iterable[Predictive], y: Any, *, largest: float = 0.1, num_bootstrap: int = NUM_BOOTSTRAP
) -> Detection:
    """Does the uncertainty find the predictive's own mistakes?

    Of classes a mistake is a wrong most probable class (of several labels, one wrong at least); of real targets one of
    the largest errors, by default the largest tenth: with several target dimensions, by the root of the mean squared
    error, each in units of its targets' standard deviation.

    Args:
        predictive: Predictions for N inputs; or a list of those of several fits, from other seeds, for the same inputs.
        y: Their true targets ``(N,)`` or ``(N, D)``.
        largest: Which share of the errors of real targets is large.
        num_bootstrap: Resamples of the inputs behind the intervals, 20 or more; 0 for none. They are drawn of both
            kinds apart; of several fits, which make other mistakes, of all inputs together.

    Returns:
        For each score of uncertainty how well it detects the mistakes; of several fits the mean and the standard
        deviation over them, and the interval of the mean of these fits over other inputs.

    Raises:
        ValueError: If ``y`` does not have one target for each input, there is no input, or a setting is out of range.

    References:
        Hendrycks and Gimpel (2017), A Baseline for Detecting Misclassified and Out-of-Distribution Examples,
        arXiv:1610.02136.

    Example:
        >>> probs = torch.tensor([[[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]])
        >>> found = misclassification(Predictive(torch.distributions.Categorical(probs)), [0, 1, 1])
        >>> found.auroc["entropy"]
        1.0
    """
    fits = each_fit(predictive)
    name = "misclassification" if fits[0].has_enumerate_support else f"the largest {100 * largest:g} % of errors"
    found = [Found(all_scores(fit, scale=spreads(fit)), mistakes(fit, y, largest)) for fit in fits]
    return detection(name, found, num_bootstrap)


def mistakes(predictive: Predictive, y: Any, largest: float = 0.1) -> Tensor:
    """Whether each prediction is a mistake ``(N,)``, as `misclassification` has it."""
    target = truth(predictive, y)
    if predictive.has_enumerate_support:
        wrong = predictive.mode != target
        return wrong if wrong.ndim == 1 else wrong.any(1)
    if not 0 < largest < 1:
        raise ValueError(f"largest must be a share of the errors between 0 and 1; got {largest}. Write largest=0.1.")
    error = squared_errors(predictive, target)
    count = max(1, round(largest * len(error)))
    found = torch.zeros(len(error), dtype=torch.bool, device=error.device)
    return found.index_fill(0, error.topk(count).indices, True)


def squared_errors(predictive: Predictive, target: Tensor) -> Tensor:
    """Squared error of each prediction of one real target ``(N,)``, in squared units of ``y``.

    Of several targets it is the mean over them, each in units of its standard deviation over the inputs.
    """
    error = (predictive.mean - target).double()
    if predictive.event_shape.numel() == 1:
        return error.flatten().square()
    spread = target.double().std(0)
    return (error / torch.where(spread > 0, spread, 1.0)).square().mean(1)


def out_of_distribution(
    inside: Predictive | Iterable[Predictive],
    outside: Predictive | Iterable[Predictive],
    *,
    num_bootstrap: int = NUM_BOOTSTRAP,
) -> Detection:
    """Does the uncertainty tell inputs from another world?

    Args:
        inside: Predictions for inputs like the training data; or a list of those of several fits, from other seeds, for
            the same inputs.
        outside: Predictions of the same posterior for inputs from elsewhere; of several fits a list likewise.
        num_bootstrap: Resamples of the inputs behind the intervals, drawn of both kinds apart, 20 or more; 0 for none.

    Returns:
        For each score of uncertainty how well it detects inputs from elsewhere; of several fits the mean and the
        standard deviation over them, and the interval of the mean of these fits over other inputs.

    Raises:
        ValueError: If the two cannot be of one posterior, as they have other targets or another number of classes, or
            one of them has no input; or the fits are not of the same inputs.

    Example:
        >>> sure, unsure = torch.tensor([[[0.9, 0.1]]]), torch.tensor([[[0.5, 0.5]]])
        >>> inside, outside = (Predictive(torch.distributions.Categorical(probs)) for probs in (sure, unsure))
        >>> out_of_distribution(inside, outside).auroc["entropy"]
        1.0
    """
    return detection("out-of-distribution", [_strangers(*pair) for pair in pairs(inside, outside)], num_bootstrap)


def _strangers(inside: Predictive, outside: Predictive) -> Found:
    if _kind(inside) != _kind(outside):
        raise ValueError(f"inside and outside must be of one posterior; got {told(inside)} and {told(outside)}.")
    scale = spreads(inside)
    here, there = all_scores(inside, scale=scale), all_scores(outside, scale=scale)
    joined = {name: torch.cat([here[name], there[name].to(here[name])]) for name in here}
    return Found(joined, torch.arange(len(inside) + len(outside)) >= len(inside))


def each_fit(predictive: Predictive | Iterable[Predictive]) -> tuple[Predictive, ...]:
    """The predictives of one fit or of several, for the same inputs, one at least.

    Raises:
        TypeError: If one is none.
        ValueError: If they are of other inputs or targets, or there are none.
    """
    several: Any = predictive  # a tensor can be gone through too, but holds no fits
    alone = isinstance(several, Predictive | Tensor) or not isinstance(several, Iterable)
    fits: tuple[Predictive, ...] = (several,) if alone else tuple(several)
    if not fits:
        raise ValueError("there must be the predictive of one fit at least; got none.")
    for fit in fits:
        expect_predictive(fit, fewest=1)
        if len(fit) != len(fits[0]) or _kind(fit) != _kind(fits[0]):
            raise ValueError(
                f"several fits must have predicted the same inputs; got {told(fits[0])} and {told(fit)}. Write "
                "[posterior(x) for posterior in posteriors]."
            )
    return fits


def pairs(
    one: Predictive | Iterable[Predictive], other: Predictive | Iterable[Predictive]
) -> list[tuple[Predictive, Predictive]]:
    """What each fit says of two kinds of input.

    Raises:
        TypeError: If one is no predictive.
        ValueError: If there are more fits of one kind than of the other, or as `each_fit`.
    """
    ones, others = each_fit(one), each_fit(other)
    if len(ones) != len(others):
        raise ValueError(
            f"both kinds of input must be predicted by the same fits; got {len(ones)} and {len(others)} of them."
        )
    return list(zip(ones, others, strict=True))


def truth(predictive: Predictive, y: Any) -> Tensor:
    """Targets for the predictive's inputs, one for each.

    Raises:
        ValueError: If there is not one for each.
    """
    return one_each(predictive.checked(as_targets(y)), predictive.batch_shape + predictive.event_shape)


def told(predictive: Predictive) -> str:
    """The predictive in words, with its number of classes, which its ``repr`` leaves out."""
    classes = _kind(predictive)[1]
    return f"{predictive!r} of {classes} classes" if classes else repr(predictive)


def _kind(predictive: Predictive) -> tuple[torch.Size, int]:
    """What two predictives must have in common to be compared: their targets, and how many classes there are."""
    classes = len(predictive.enumerate_support(expand=False)) if predictive.has_enumerate_support else 0
    return predictive.event_shape, classes
