"""Calibration against bins counted one by one, and on targets that the predictive drew itself."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import Categorical, Independent, Normal

from bayesnn.metrics.calibration import coverage, ece
from bayesnn.predictive import Predictive

S, N, C = 4, 200, 3
SIGMAS = 5  # a normal variate lies further out with a chance of 6e-7


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def confident(*confidences):
    """One draw that gives class 0 these probabilities, class 1 the rest."""
    first = torch.tensor(confidences, dtype=torch.float64)
    return Predictive(Categorical(probs=torch.stack([first, 1 - first], -1)[None]))


def brute_force_ece(probs, y, num_bins):
    error = 0.0
    for b in range(num_bins):
        inside = [p for p in zip(probs, y, strict=True) if b / num_bins < p[0].max() <= (b + 1) / num_bins]
        if inside:
            right = np.mean([p.argmax() == label for p, label in inside])
            error += len(inside) / len(y) * abs(right - np.mean([p.max() for p, _ in inside]))
    return error


@pytest.mark.parametrize("num_bins", [1, 2, 10, 15, 1000])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_ece_is_that_of_bins_counted_one_by_one(num_bins, dtype):
    predictive, y = Predictive(Categorical(logits=2 * random(S, N, C))), torch.arange(N) % C
    expected = brute_force_ece(predictive.probs.numpy(), y.numpy(), num_bins)
    assert ece(predictive, y.to(dtype), num_bins).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("confidences", "y", "num_bins", "expected"),
    [
        ((1.0, 1.0), [0, 0], 15, 0.0),
        ((1.0, 1.0), [1, 1], 15, 1.0),
        ((0.75,) * 4, [0, 0, 0, 1], 15, 0.0),
        ((0.75,) * 4, [1, 1, 1, 0], 15, 0.5),
        ((0.625, 0.875), [1, 0], 1, 0.25),
        ((0.625, 0.875), [1, 0], 4, 0.375),
    ],
    ids=["sure and right", "sure and wrong", "calibrated", "too sure", "cancelling in one bin", "each in its own bin"],
)
def test_ece_worked_out_by_hand(confidences, y, num_bins, expected):
    assert ece(confident(*confidences), torch.tensor(y), num_bins).item() == pytest.approx(expected, abs=1e-6)


def test_a_bin_holds_its_upper_edge():
    # Apart, 0.5 and 0.75 are off by 0.5 and 0.75; were 0.5 in the upper bin, the errors would cancel to 0.25.
    predictive = confident(0.5, 0.75)
    assert ece(predictive, torch.tensor([0, 1]), 2).item() == pytest.approx((0.5 + 0.75) / 2, abs=1e-6)


@pytest.mark.parametrize("shape", [(S, 5000), (S, 2500, 2)])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_coverage_of_its_own_draws_is_the_level(shape, level):
    # Columns of one input come from the same member: count them as dependent, hence the inputs alone.
    members = Normal(4000 + random(*shape), random(*shape, seed=1).exp())
    predictive = Predictive(Independent(members, len(shape) - 2))
    error = coverage(predictive, predictive.sample(), level).item() - level
    assert abs(error) < SIGMAS * math.sqrt(level * (1 - level) / shape[1])


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_counts_targets_within_the_quantiles_of_scipy(level):
    y = 3 * random(N)
    predictive = Predictive(Normal(torch.zeros(1, N, dtype=torch.float64), 2.0))
    half_width = 2 * scipy.stats.norm.ppf((1 + level) / 2)
    assert coverage(predictive, y, level).item() == (y.abs() <= half_width).double().mean().item()


def test_coverage_is_of_ninety_per_cent_unless_told():
    predictive, y = Predictive(Normal(random(S, N), 1.0)), 2 * random(N, seed=1)
    assert coverage(predictive, y) == coverage(predictive, y, 0.9) != coverage(predictive, y, 0.8)
