"""Detection: does an uncertainty score tell two kinds of input apart, and which predictions to keep?"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["aupr", "aurc", "auroc", "aurocs", "fpr95", "risk_coverage", "roc_curve"]


def auroc(score: Tensor, positive: Tensor) -> Tensor:
    """Area under the receiver operating characteristic: the chance that a positive scores higher than a negative.

    Args:
        score: Uncertainty ``(N,)``; ties count one half.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean.

    Returns:
        A scalar between 0 and 1; NaN where all inputs are of one kind.
    """
    return aurocs(score, positive, torch.ones(1, len(score), dtype=torch.float64, device=score.device))[0]


def aurocs(score: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
    r"""The same under several weightings of the inputs at once, by one sort: what a bootstrap asks for.

    .. math:: \frac{\sum_{i \in +} \sum_{j \in -} w_i w_j \, ([s_i > s_j] + \tfrac12 [s_i = s_j])}
              {\sum_{i \in +} w_i \sum_{j \in -} w_j}

    Args:
        score: Uncertainty ``(N,)``.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean.
        weights: How often each input counts ``(B, N)``, 0 or more.

    Returns:
        ``(B,)``; NaN where all that counts is of one kind.
    """
    values, group = score.detach().unique(return_inverse=True)  # sorted
    weights, positive = weights.double(), positive.bool()
    empty = weights.new_zeros(len(weights), len(values))
    ups = empty.index_add(1, group[positive], weights[:, positive])
    downs = empty.index_add(1, group[~positive], weights[:, ~positive])
    below = downs.cumsum(1) - downs / 2
    return (ups * below).sum(1) / (ups.sum(1) * downs.sum(1))


def roc_curve(score: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """The receiver operating characteristic, a point for each threshold; tied inputs are suspected together.

    Args:
        score: Uncertainty ``(N,)``.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean.

    Returns:
        Share of the negatives that is suspected, and share of the positives that is found, both from 0 to 1, one point
        more than there are different scores; NaN where there are none of a kind.
    """
    suspected, found, _ = _by_threshold(score, positive)
    return suspected / suspected[-1], found / found[-1]


def fpr95(score: Tensor, positive: Tensor) -> Tensor:
    """Share of the negatives that is suspected at the first threshold that finds 95 % of the positives.

    Args:
        score: Uncertainty ``(N,)``.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean.

    Returns:
        A scalar between 0 and 1, smaller is better; NaN where all inputs are of one kind.

    References:
        Liang et al. (2018), Enhancing the Reliability of Out-of-distribution Image Detection in Neural Networks,
        arXiv:1706.02690, section 4.2.
    """
    suspected, found, _ = _by_threshold(score, positive)
    if not (suspected[-1] > 0 and found[-1] > 0):
        return torch.tensor(float("nan"), dtype=torch.float64, device=score.device)
    # In whole inputs, so that rounding decides nothing: 100 found >= 95 of all.
    return (suspected / suspected[-1])[(100 * found >= 95 * found[-1]).nonzero()[0, 0]]


def aupr(score: Tensor, positive: Tensor) -> Tensor:
    r"""Area under the precision-recall curve by steps, :math:`\sum_t (R_t - R_{t-1}) P_t` (average precision).

    By chance it is the share of positives. Which kind is looked for matters: for the other one, write
    ``aupr(-score, ~positive)``.

    Args:
        score: Uncertainty ``(N,)``; tied inputs are suspected together.
        positive: Whether each input is of the kind looked for ``(N,)``, boolean.

    Returns:
        A scalar between 0 and 1; NaN where all inputs are of one kind.
    """
    _, found, all_suspected = _by_threshold(score, positive)
    if not 0 < found[-1] < len(score):
        return torch.tensor(float("nan"), dtype=torch.float64, device=score.device)
    return (found.diff() / found[-1] * found[1:] / all_suspected[1:]).sum()


def risk_coverage(score: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
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

    References:
        Geifman and El-Yaniv (2017), Selective Classification for Deep Neural Networks, arXiv:1705.08500.

    Example:
        >>> coverage, risk = risk_coverage(torch.tensor([0.1, 0.3, 0.3, 0.9]), torch.tensor([0, 0, 1, 1]))
        >>> coverage, risk
        (tensor([0.2500, 0.7500, 1.0000], dtype=torch.float64), tensor([0.0000, 0.3333, 0.5000], dtype=torch.float64))
    """
    kept, risk = _kept(score, loss)
    return kept / len(score), risk


def aurc(score: Tensor, loss: Tensor) -> Tensor:
    r"""Area under the risk-coverage curve, in units of the loss: smaller is better.

    .. math:: \frac1N \sum_n \text{risk}(s_n)

    where :math:`\text{risk}(s_n)` is the mean loss of the inputs that are no more uncertain than input :math:`n`, the
    tied ones included. Of a score that knows nothing it is about the mean loss.

    Args:
        score: Uncertainty ``(N,)``.
        loss: What each prediction costs ``(N,)``.

    Returns:
        A scalar; NaN where there are no inputs.

    References:
        Geifman et al. (2019), Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers, arXiv:1805.08206.
    """
    kept, risk = _kept(score, loss)
    return (kept.diff(prepend=kept.new_zeros(1)) * risk).sum() / len(score)


def _by_threshold(score: Tensor, positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers of negatives, positives and inputs at or above each different score, the highest first; 0 in front."""
    values, group = (-score.detach()).unique(return_inverse=True)
    counts = torch.zeros(2, len(values) + 1, dtype=torch.float64, device=score.device)
    counts.index_put_((positive.long(), group + 1), torch.ones_like(group, dtype=torch.float64), accumulate=True)
    suspected, found = counts.cumsum(1)
    return suspected, found, suspected + found


def _kept(score: Tensor, loss: Tensor) -> tuple[Tensor, Tensor]:
    """Number of inputs at or below each different score, the lowest first, and their mean loss."""
    values, group = score.detach().unique(return_inverse=True)
    loss = loss.detach().double()
    kept, lost = (loss.new_zeros(len(values)).index_add(0, group, part) for part in (torch.ones_like(loss), loss))
    kept = kept.cumsum(0)
    return kept, lost.cumsum(0) / kept
