"""Rounding: where scores of uncertainty differ by their last digits alone, and say nothing of the inputs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["beyond_rounding", "wholes"]

_ROUNDING, _REST = 16, 4
"""Scores that lie within so many of their last digits of one number are one: noise that is the same for all inputs,
averaged over draws, comes out a digit more or less by the place of the input. And so many of those of the numbers that
they are what is left of: the mutual information of draws that are all the same is rounding alone."""

_WHOLE = {"mutual_information": "entropy", "expected_pairwise_kl": "entropy", "epistemic": "total"}
"""What a score is what is left of."""

_OF_ONE = ("brier_", "zero_one_", "max_probability", "mutual_information", "expected_pairwise_kl", "entropy")
"""Scores whose digits are those of probabilities or of their logarithms, of which sure ones are near 1 and 0."""


def beyond_rounding(score: Tensor, whole: Tensor | float = 0.0) -> Tensor:
    """Scores in double precision ``(N,)``; all one where a single number is each of them but for rounding.

    Args:
        score: Uncertainty of each input ``(N,)``.
        whole: The numbers that each is what is left of ``(N,)``, as mutual information is of entropies.

    Example:
        >>> beyond_rounding(torch.tensor([0.1, 0.10000001]))  # a last digit apart
        tensor([0., 0.], dtype=torch.float64)
    """
    values = score.double()
    if not len(values):
        return values
    of = torch.as_tensor(whole, dtype=torch.float64, device=values.device).abs()
    of = torch.where(of.isfinite(), of, 0.0)
    room = torch.finfo(score.dtype).eps * torch.maximum(_ROUNDING * values.abs(), _REST * of)
    one = (values - room).max() <= (values + room).min()  # not where one is infinite or NaN
    return torch.zeros_like(values) if bool(one) else values


def wholes(by_score: Mapping[str, Tensor]) -> dict[str, Tensor | float]:
    """What each of the scores of `bayesnn.uncertainty` is what is left of, for `beyond_rounding`."""
    found: dict[str, Tensor | float] = {}
    for name in by_score:
        of, least = by_score.get(_WHOLE.get(name, "")), float(name.startswith(_OF_ONE))
        found[name] = least if of is None else of.clamp_min(least)
    return found
