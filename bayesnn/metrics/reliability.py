"""Reliability: how often classes come true, bin by bin of the probability they were given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bayesnn.predictive import Predictive, expect_predictive
from bayesnn.rows import one_each

__all__ = ["Reliability", "gaps", "reliability"]


@dataclass(frozen=True, eq=False)
class Reliability:
    """What a reliability diagram shows, in bins of rising confidence.

    Attributes:
        confidence: Mean probability of the most probable class in each bin ``(num_bins,)``; NaN where it is empty.
        accuracy: Fraction of right classes in each bin ``(num_bins,)``, equal to the confidence when calibrated; NaN
            where it is empty.
        count: Number of inputs (and labels) in each bin ``(num_bins,)``.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor

    @property
    def ece(self) -> Tensor:
        """Expected calibration error, as a fraction: the mean over inputs of the distance of their bin.

        NaN where a probability is NaN.
        """
        distance = (self.accuracy - self.confidence).abs().where(self.count > 0, 0.0)  # an empty bin has no weight
        return (self.count * distance).sum() / self.count.sum()

    def __repr__(self) -> str:
        return f"Reliability(bins={len(self.count)}, inputs={int(self.count.sum())}, ece={float(self.ece):.4g})"


def reliability(predictive: Predictive, y: Tensor, num_bins: int = 15, *, equal_mass: bool = False) -> Reliability:
    """Mean confidence, accuracy and count in bins of the largest class probability.

    Args:
        predictive: Members of finite support.
        y: Labels ``(N,)``, or ``(N, D)``: all labels are binned together.
        num_bins: Number of bins.
        equal_mass: Bins of equally many inputs, between quantiles of the confidence, in place of bins of equal width.
            Tied inputs share a bin, so that some may stay empty.

    Raises:
        NotImplementedError: If the targets are real.
        ValueError: If the labels are none of the classes, one for each input, or there is no input or no bin.

    References:
        DeGroot and Fienberg (1983), The Comparison and Evaluation of Forecasters, The Statistician 32; Nguyen and
        O'Connor (2015), Posterior Calibration and Exploratory Analysis for Natural Language Processing Models,
        arXiv:1508.05154, for bins of equal mass.

    Example:
        >>> probs = torch.tensor([[[0.9, 0.1], [0.7, 0.3], [0.6, 0.4]]]).double()
        >>> bins = reliability(Predictive(torch.distributions.Categorical(probs)), torch.tensor([0, 0, 1]), num_bins=4)
        >>> bins.confidence, bins.accuracy
        (tensor([   nan,    nan, 0.6500, 0.9000], dtype=torch.float64),
         tensor([   nan,    nan, 0.5000, 1.0000], dtype=torch.float64))
        >>> bins
        Reliability(bins=4, inputs=3, ece=0.1333)
    """
    _check(num_bins)
    expect_predictive(predictive, fewest=1)
    confidence = predictive.log_probs.amax(-1).exp().double().flatten()
    target = one_each(predictive.checked(y), predictive.batch_shape + predictive.event_shape)
    right = (predictive.mode == target).double().flatten()
    bins = _equal_mass(confidence, num_bins) if equal_mass else _equal_width(confidence, num_bins)
    count, sure, hits = (
        confidence.new_zeros(num_bins).index_add(0, bins, part)
        for part in (torch.ones_like(confidence), confidence, right)
    )
    return Reliability(sure / count, hits / count, count.long())


def gaps(chance: Tensor, happened: Tensor, num_bins: int) -> Tensor:
    """Calibration error ``(K,)`` of each of K events, in bins of equal width.

    Args:
        chance: What probability each event was given ``(N, K)``.
        happened: Whether it came true ``(N, K)``.
        num_bins: Number of bins.

    Raises:
        ValueError: If there is no bin.
    """
    _check(num_bins)
    empty = chance.new_zeros(num_bins, chance.shape[1])
    excess = empty.scatter_add(0, _equal_width(chance, num_bins), happened.to(chance) - chance)
    return excess.abs().sum(0) / len(chance)


def _equal_width(chance: Tensor, num_bins: int) -> Tensor:
    """Bins (lower, upper], as in Guo et al. (2017): the last holds a chance of 1, the first one of 0 too."""
    return (chance * num_bins).ceil().long().clamp(1, num_bins) - 1


def _equal_mass(chance: Tensor, num_bins: int) -> Tensor:
    """Bins (lower, upper] between quantiles, in whole ranks, so that rounding moves no value past itself."""
    ranks = torch.arange(1, num_bins, device=chance.device) * (len(chance) - 1) // num_bins
    return torch.searchsorted(chance.sort().values[ranks], chance)


def _check(num_bins: int) -> None:
    if num_bins < 1:
        raise ValueError(f"num_bins must be 1 or more; got {num_bins}. Write num_bins=15.")
