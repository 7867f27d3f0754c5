"""The reliability diagram and the histogram of the probability integral, read back against numpy and scipy."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from drawn import CLASSES, LOC, REALS, SCALE, N
from matplotlib.colors import to_rgb
from torch.distributions import Poisson

from bayesnn.plots import COLOURS, pit_histogram, reliability_diagram
from bayesnn.predictive import Predictive

LABELS = torch.arange(N) % 3


def test_the_points_of_a_reliability_diagram_are_those_of_its_bins():
    ax = reliability_diagram(CLASSES, LABELS, num_bins=4)
    probs = CLASSES.probs.numpy()
    confidence, right = probs.max(1), probs.argmax(1) == LABELS.numpy()
    inside = [(low < confidence) & (confidence <= low + 0.25) for low in (0, 0.25, 0.5, 0.75)]
    inside = [chosen for chosen in inside if chosen.any()]
    curve = ax.lines[1]
    np.testing.assert_allclose(curve.get_xdata(), [confidence[chosen].mean() for chosen in inside])
    np.testing.assert_allclose(curve.get_ydata(), [right[chosen].mean() for chosen in inside])
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], [chosen.mean() for chosen in inside])
    gap = sum(chosen.mean() * abs(right[chosen].mean() - confidence[chosen].mean()) for chosen in inside)
    assert ax.get_legend().get_title().get_text() == f"expected calibration error {gap:.3g}"
    (distance,) = ax.collections
    assert to_rgb(distance.get_color()[0]) not in {to_rgb(colour) for colour in COLOURS.values()}
    for segment, chosen in zip(distance.get_segments(), inside, strict=True):
        ends = right[chosen].mean(), confidence[chosen].mean()
        np.testing.assert_allclose(sorted(segment[:, 1]), sorted(ends))


def test_bins_may_hold_equally_many():
    ax = reliability_diagram(CLASSES, LABELS, num_bins=4, equal_mass=True)
    np.testing.assert_allclose([bar.get_height() for bar in ax.patches], 0.25, atol=1 / N)


def test_the_bars_of_the_probability_integral_are_numpys():
    y = torch.linspace(3, 7, N).double()
    ax = pit_histogram(REALS, y, num_bins=5)
    below = scipy.stats.norm.cdf(y.numpy(), LOC, SCALE).mean(0)
    counts, _ = np.histogram(below, 5, (0, 1))
    bars = [bar for bar in ax.patches if bar.get_label() != "95 % of calibrated bars"]
    np.testing.assert_allclose([bar.get_height() for bar in bars], counts * 5 / N)
    (band,) = [bar for bar in ax.patches if bar.get_label() == "95 % of calibrated bars"]
    low, high = round(band.get_y() * N / 5, 9), round((band.get_y() + band.get_height()) * N / 5, 9)
    reached = np.cumsum([math.comb(N, k) * 0.2**k * 0.8 ** (N - k) for k in range(N + 1)])
    assert (low, high) == (np.flatnonzero(reached >= 0.025)[0], np.flatnonzero(reached >= 0.975)[0])


def heights(ax):
    return np.array([bar.get_height() for bar in ax.patches if bar.get_label() != "95 % of calibrated bars"])


def test_a_count_is_shared_out_over_the_bars_that_its_jump_spans():
    y = torch.arange(N) % 9
    found = heights(pit_histogram(Predictive(Poisson(torch.tensor([[3.0], [5.0]]).expand(2, N))), y, num_bins=4))
    below, reached = (scipy.stats.poisson.cdf(at[:, None], [3, 5]).mean(1) for at in (y.numpy() - 1, y.numpy()))
    mass = [scipy.stats.uniform.cdf(u, below, reached - below).sum() for u in np.linspace(0, 1, 5)]
    np.testing.assert_allclose(found, np.diff(mass) * 4 / N, rtol=1e-4)
    assert found.sum() == pytest.approx(4)


@pytest.mark.parametrize("rate", [0.3, 2.0, 20.0])
def test_calibrated_counts_are_flat_and_too_narrow_ones_are_not(rate):
    rates, number, bars = torch.full((1, 4000), rate), 4000, 10
    y = torch.poisson(rates[0])
    # A bar has a standard error of sqrt(bars / number) at most, by sharing out less; 6 of them by chance: 2e-8.
    bound = 6 * math.sqrt(bars / number)
    assert np.abs(heights(pit_histogram(Predictive(Poisson(rates)), y, num_bins=bars)) - 1).max() < bound
    assert np.abs(heights(pit_histogram(Predictive(Poisson(1.5 * rates)), y, num_bins=bars)) - 1).max() > bound


def test_counts_that_had_no_chance_are_still_counted():
    sure = Predictive(Poisson(torch.tensor([[1e-9, 1e-9, 1e-9, 2e3]], dtype=torch.float64)))
    found = heights(pit_histogram(sure, torch.tensor([0, 0, 50, 0]), num_bins=2))  # far above, far below
    assert found == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda: reliability_diagram(REALS, torch.zeros(N)), NotImplementedError, "Write pit_histogram for them"),
        (lambda: pit_histogram(CLASSES, LABELS), NotImplementedError, "Write reliability or ece for them"),
        (lambda: reliability_diagram(CLASSES, LABELS[1:]), ValueError, "one row per input"),
        (lambda: pit_histogram(REALS, LOC[0, 1:]), ValueError, "one row per input"),
        (lambda: pit_histogram(REALS, LOC[0], num_bins=0), ValueError, "num_bins must be 1 or more; got 0"),
        (lambda: reliability_diagram(CLASSES, LABELS, num_bins=0), ValueError, "num_bins must be 1 or more; got 0"),
        (lambda: reliability_diagram(lambda x: CLASSES, LABELS), TypeError, "needs a Predictive"),
    ],
)
def test_what_does_not_fit_gets_one_clear_sentence(ask, kind, words):
    with pytest.raises(kind, match=words):
        ask()
