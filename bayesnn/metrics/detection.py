"""Detection: does an uncertainty score tell two kinds of input apart, and which predictions to keep?

Scores, kinds and losses may be tensors, arrays, lists or series; what comes back are tensors, on the score's device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesnn.data import refuse_masked

__all__ = ["as_scores", "aupr", "aurc", "auroc", "aurocs", "fpr95", "risk_coverage", "roc_curve"]


def auroc(score: Any, positive: Any) -> Tensor:
    """Area under the receiver operating characteristic: the chance that a positive scores higher than a negative.

    Args:
        score: Uncertainty ``(N,)``; ties count one half.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean or 0 and 1.

    Returns:
        A scalar between 0 and 1; NaN where all inputs are of one kind.

    Raises:
        TypeError: If something is not numbers.
        ValueError: If there is a NaN, not one kind for each score, or a kind that is no yes or no.
    """
    score = as_scores(score)
    return aurocs(score, positive, score.new_ones(1, len(score)))[0]


def aurocs(score: Any, positive: Any, weights: Any) -> Tensor:
    r"""The same under several weightings of the inputs at once, by one sort: what a bootstrap asks for.

    .. math:: \frac{\sum_{i \in +} \sum_{j \in -} w_i w_j \, ([s_i > s_j] + \tfrac12 [s_i = s_j])}
              {\sum_{i \in +} w_i \sum_{j \in -} w_j}

    Args:
        score: Uncertainty ``(N,)``.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean or 0 and 1.
        weights: How often each input counts ``(B, N)``, 0 or more.

    Returns:
        ``(B,)``; NaN where all that counts is of one kind.

    Raises:
        TypeError: If something is not numbers.
        ValueError: If there is a NaN, not one kind and one weight for each score, or a kind that is no yes or no.
    """
    score, positive = _with_kinds(score, positive)
    weights = _numbers(weights, "weights").to(score.device, torch.float64)
    if weights.ndim != 2 or weights.shape[1] != len(score):
        raise ValueError(
            f"weights must be (B, N), a row for each weighting, N = {len(score)}; got {tuple(weights.shape)}. "
            "One weighting? Pass weights[None]."
        )
    values, group = score.unique(return_inverse=True)  # sorted
    empty = weights.new_zeros(len(weights), len(values))
    ups = empty.index_add(1, group[positive], weights[:, positive])
    downs = empty.index_add(1, group[~positive], weights[:, ~positive])
    below = downs.cumsum(1) - downs / 2
    return (ups * below).sum(1) / (ups.sum(1) * downs.sum(1))


def roc_curve(score: Any, positive: Any) -> tuple[Tensor, Tensor]:
    """The receiver operating characteristic, a point for each threshold; tied inputs are suspected together.

    Args:
        score: Uncertainty ``(N,)``.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean or 0 and 1.

    Returns:
        Share of the negatives that is suspected, and share of the positives that is found, both from 0 to 1, one point
        more than there are different scores; NaN where there are none of a kind.

    Raises:
        TypeError: If something is not numbers.
        ValueError: If there is a NaN, not one kind for each score, or a kind that is no yes or no.
    """
    suspected, found, _ = _by_threshold(*_with_kinds(score, positive))
    return suspected / suspected[-1], found / found[-1]


def fpr95(score: Any, positive: Any) -> Tensor:
    """Share of the negatives that is suspected at the first threshold that finds 95 % of the positives.

    Args:
        score: Uncertainty ``(N,)``.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean or 0 and 1.

    Returns:
        A scalar between 0 and 1, smaller is better; NaN where all inputs are of one kind.

    Raises:
        TypeError: If something is not numbers.
        ValueError: If there is a NaN, not one kind for each score, or a kind that is no yes or no.

    References:
        Liang et al. (2018), Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks,
        arXiv:1706.02690, section 4.2.
    """
    suspected, found, _ = _by_threshold(*_with_kinds(score, positive))
    if not (suspected[-1] > 0 and found[-1] > 0):
        return found.new_tensor(float("nan"))
    # In whole inputs, so that rounding decides nothing: 100 found >= 95 of all.
    return (suspected / suspected[-1])[(100 * found >= 95 * found[-1]).nonzero()[0, 0]]


def aupr(score: Any, positive: Any) -> Tensor:
    r"""Area under the precision-recall curve by steps, :math:`\sum_t (R_t - R_{t-1}) P_t` (average precision).

    By chance it is the share of positives. Which kind is looked for matters: for the other one, write
    ``aupr(-score, ~positive)``.

    Args:
        score: Uncertainty ``(N,)``; tied inputs are suspected together.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean or 0 and 1.

    Returns:
        A scalar between 0 and 1; NaN where all inputs are of one kind.

    Raises:
        TypeError: If something is not numbers.
        ValueError: If there is a NaN, not one kind for each score, or a kind that is no yes or no.
    """
    _, found, all_suspected = _by_threshold(*_with_kinds(score, positive))
    if not 0 < found[-1] < all_suspected[-1]:
        return found.new_tensor(float("nan"))
    return (found.diff() / found[-1] * found[1:] / all_suspected[1:]).sum()


def risk_coverage(score: Any, loss: Any) -> tuple[Tensor, Tensor]:
    r"""Mean loss of the predictions that are kept, when the most uncertain are left to someone else.

    A point for each different score :math:`t`: :math:`\frac1N \sum_n [s_n \le t]` and
    :math:`\sum_n \ell_n [s_n \le t] / \sum_n [s_n \le t]`. Tied inputs are kept together, so that their order does not
    matter.

    Args:
        score: Uncertainty ``(N,)``.
        loss: What each prediction costs ``(N,)``: whether it is wrong, its squared error, or any other loss.

    Returns:
        Coverage, the share that is kept, rising to 1; and risk, the mean loss of it, in units of the loss; a value each
        for every different score.

    Raises:
        TypeError: If something is not numbers.
        ValueError: If there is a NaN, or not one loss for each score.

    References:
        Geifman and El-Yaniv (2017), Selective Classification for Deep Neural Networks, arXiv:1705.08500.

    Example:
        >>> coverage, risk = risk_coverage(torch.tensor([0.1, 0.3, 0.3, 0.9]), torch.tensor([0, 0, 1, 1]))
        >>> coverage, risk
        (tensor([0.2500, 0.7500, 1.0000], dtype=torch.float64), tensor([0.0000, 0.3333, 0.5000], dtype=torch.float64))
    """
    kept, risk = _kept(*_with_losses(score, loss))
    return kept / kept[-1:], risk


def aurc(score: Any, loss: Any) -> Tensor:
    r"""Area under the risk-coverage curve, in units of the loss: smaller is better.

    .. math:: \frac1N \sum_n \text{risk}(s_n)

    where :math:`\text{risk}(s_n)` is the mean loss of the inputs that are no more uncertain than input :math:`n`, the
    tied ones included. Of a score that knows nothing it is about the mean loss.

    Args:
        score: Uncertainty ``(N,)``.
        loss: What each prediction costs ``(N,)``.

    Returns:
        A scalar; NaN where there are no inputs.

    Raises:
        TypeError: If something is not numbers.
        ValueError: If there is a NaN, or not one loss for each score.

    References:
        Geifman et al. (2019), Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, arXiv:1805.08206.
    """
    score, loss = _with_losses(score, loss)
    kept, risk = _kept(score, loss)
    return (kept.diff(prepend=kept.new_zeros(1)) * risk).sum() / len(score)


def as_scores(score: Any, name: str = "score") -> Tensor:
    """Uncertainty ``(N,)`` as a tensor of numbers in floating point, which can be put in order.

    Args:
        score: Tensor, array, list or series ``(N,)``, or one column ``(N, 1)``; infinity is a number, NaN is none.
        name: What to call it in an error.

    Returns:
        ``(N,)``, without a gradient; tensors of floating point keep their type and device, all else becomes float64.

    Raises:
        TypeError: If it is not numbers.
        ValueError: If it has another shape, or holds NaN.
    """
    numbers = _numbers(score, name)
    if numbers.ndim == 2 and numbers.shape[1] == 1:
        numbers = numbers[:, 0]
    if numbers.ndim != 1:
        raise ValueError(
            f"{name} must be one number for each input, shape (N,); got {tuple(numbers.shape)}. Pass one column."
        )
    return numbers


def _numbers(values: Any, name: str) -> Tensor:
    """The door: numbers in floating point, none of them NaN."""
    refuse_masked(values, name)
    if isinstance(values, Tensor):
        numbers = values.detach() if values.is_floating_point() else values.double()
    else:
        try:
            numbers = torch.from_numpy(np.array(values, dtype=np.float64))
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"{name} must be a tensor, array, list or series of numbers; got {type(values).__name__} ({error})."
            ) from error
    missing = numbers.isnan()
    if bool(missing.any()):
        row = int(torch.atleast_1d(missing).nonzero()[0, 0])
        raise ValueError(
            f"{name} must be numbers that can be put in order; got {int(missing.sum())} NaN, the first at row {row}. "
            "Drop those inputs first, from all that belongs to them."
        )
    return numbers


def _with_kinds(score: Any, positive: Any) -> tuple[Tensor, Tensor]:
    """Scores, and whether each input is of the kind looked for."""
    score, kinds = _of_same_length(score, positive, "positive")
    if not bool(((kinds == 0) | (kinds == 1)).all()):
        raise ValueError(
            "positive must be a yes or no for each input, boolean or 0 and 1; got values from "
            f"{float(kinds.min()):g} to {float(kinds.max()):g}. Write y == 3 for a class, or mistakes(predictive, y)."
        )
    return score, kinds.bool()


def _with_losses(score: Any, loss: Any) -> tuple[Tensor, Tensor]:
    """Scores and losses, in double precision."""
    score, loss = _of_same_length(score, loss, "loss")
    return score, loss.double()


def _of_same_length(score: Any, other: Any, name: str) -> tuple[Tensor, Tensor]:
    score, other = as_scores(score), as_scores(other, name)
    if len(score) != len(other):
        raise ValueError(
            f"{name} must have one entry for each score, N = {len(score)}; got {len(other)}. Pass both of the same "
            "inputs."
        )
    return score, other.to(score.device)


def _by_threshold(score: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of negatives, positives and inputs at or above each different score, the highest first; 0 in front."""
    values, group = (-score).unique(return_inverse=True)
    counts = torch.zeros(2, len(values) + 1, dtype=torch.float64, device=score.device)
    counts.index_put_((positive.long(), group + 1), torch.ones_like(group, dtype=torch.float64), accumulate=True)
    suspected, found = counts.cumsum(1)
    return suspected, found, suspected + found


def _kept(score: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Number of inputs at or below each different score, the lowest first, and their mean loss."""
    values, group = score.unique(return_inverse=True)
    kept, lost = (loss.new_zeros(len(values)).index_add(0, group, part) for part in (torch.ones_like(loss), loss))
    kept = kept.cumsum(0)
    return kept, lost.cumsum(0) / kept
