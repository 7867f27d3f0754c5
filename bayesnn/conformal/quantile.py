"""The conformal quantile: how badly a new target may score, by the scores of held-out ones."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from torch import Tensor

from bayesnn.data import as_values, refuse_masked

__all__ = ["conformal_quantile"]


def conformal_quantile(scores: Any, level: float = 0.9) -> Tensor:
    r"""The score that a new one stays within with a chance of ``level`` or more.

    It is the :math:`\lceil (n + 1) \ell \rceil`-th smallest of n scores, :math:`\ell` being the level. A new score,
    exchangeable with them, is equally likely to have each of n + 1 ranks. Without ties, and given the n scores, the
    number of m new ones within is beta-binomial, with :math:`a = \lceil (n + 1) \ell \rceil` and :math:`b = n + 1 - a`.

    Args:
        scores: ``(n,)``, large for what fits badly; or ``(n, D)``, each column for itself: tensor, array, list, series
            or frame.
        level: Chance, as the decimal that is written.

    Returns:
        ``()`` or ``(D,)``.

    Raises:
        TypeError: If scores are not numbers.
        ValueError: If the level is no fraction, there are too few scores for it, or a score is NaN or masked.

    References:
        Lei et al. (2018), Distribution-Free Predictive Inference for Regression, arXiv:1604.04173, section 2.2;
        Marques (2023), Universal Distribution of the Empirical Coverage in Split Conformal Prediction,
        arXiv:2303.02770, for the beta-binomial.

    Example:
        >>> import torch
        >>> conformal_quantile(torch.arange(1.0, 20.0), level=0.9)
        tensor(18.)
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}. For 90 % write 0.9.")
    scores = _as_scores(scores)
    exact = Fraction(str(float(level)))  # 100 * 0.07 is 7.000000000000001, of which the ceiling is 8
    rank = math.ceil((len(scores) + 1) * exact)
    if rank > len(scores):
        raise ValueError(
            f"a level of {level} needs {math.ceil(exact / (1 - exact))} calibration rows at least; got {len(scores)}. "
            "Pass more rows, or a lower level."
        )
    if bool(scores.isnan().any()):
        raise ValueError(f"scores must be numbers; got {int(scores.isnan().sum())} NaN. Are the predictions finite?")
    return scores.kthvalue(rank, dim=0).values


def _as_scores(scores: Any) -> Tensor:
    refuse_masked(scores, "scores")
    try:
        found = as_values(scores, "scores")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"scores must be numbers, one for each row; got {type(scores).__name__} ({error}). Pass a tensor."
        ) from error
    if not found.ndim:
        raise ValueError(f"scores must be one for each row, (n,) or (n, D); got the number {found.item()}.")
    return found
