"""Calibration: do the stated probabilities come true?"""

from __future__ import annotations

import torch
from torch import Tensor

from bayesnn.predictive import Predictive

__all__ = ["coverage", "ece"]


def ece(predictive: Predictive, y: Tensor, num_bins: int = 15) -> Tensor:
    r"""Expected calibration error of the most probable class, as a fraction.

    .. math:: \sum_b \frac{n_b}{N} \, |\text{accuracy}_b - \text{confidence}_b|

    over ``num_bins`` bins of equal width of the largest class probability.

    Args:
        predictive: Members of finite support.
        y: Labels ``(N,)``.
        num_bins: Number of bins.

    References:
        Guo et al. (2017), On Calibration of Modern Neural Networks, arXiv:1706.04599, equation 3 (15 bins as there).
    """
    confidence = predictive.log_probs.amax(-1).exp().flatten()
    right = (predictive.mode == predictive.checked(y)).to(confidence).flatten()
    # Bins are (lower, upper], as in the source; a confidence of 1 falls in the last.
    bins = (confidence * num_bins).ceil().long().clamp(1, num_bins) - 1
    gaps = torch.zeros(num_bins, dtype=confidence.dtype, device=confidence.device).index_add_(
        0, bins, right - confidence
    )
    return gaps.abs().sum() / len(confidence)


def coverage(predictive: Predictive, y: Tensor, level: float = 0.9) -> Tensor:
    """Fraction of targets within their central interval of the given level; ``level`` itself when calibrated."""
    lower, upper = predictive.interval(level)
    y = predictive.checked(y)
    return ((lower <= y) & (y <= upper)).double().mean()
