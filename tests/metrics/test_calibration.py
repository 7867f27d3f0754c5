"""Calibration against bins counted one by one, scipy and scikit-learn, and on targets that the predictive drew."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.calibration import calibration_curve
from torch.distributions import Bernoulli, Categorical, Independent, Normal, Poisson, VonMises

from bayesnn.metrics.calibration import calibration_error, classwise_ece, coverage, ece, pit, sharpness
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


@pytest.mark.parametrize("num_bins", [1, 15])
def test_ece_of_equal_mass_is_that_of_sklearns_bins(num_bins):
    predictive, y = Predictive(Categorical(logits=2 * random(S, N, C))), torch.arange(N) % C
    sure, best = predictive.probs.max(-1)
    accuracy, confidence = calibration_curve(best == y, sure, n_bins=num_bins, strategy="quantile")
    edges = np.quantile(sure, np.linspace(0, 1, num_bins + 1))[1:-1]
    count = np.bincount(np.searchsorted(edges, sure.numpy()), minlength=num_bins)
    expected = (count / N * np.abs(accuracy - confidence)).sum()
    assert ece(predictive, y, num_bins, equal_mass=True).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("num_bins", [1, 2, 15])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_classwise_ece_is_that_of_each_class_counted_one_by_one(num_bins, dtype):
    predictive, y = Predictive(Categorical(logits=2 * random(S, N, C))), torch.arange(N) % C
    expected = 0.0
    for c in range(C):
        for b in range(num_bins):
            inside = [
                (p, label == c)
                for p, label in zip(predictive.probs[:, c].tolist(), y.tolist(), strict=True)
                if b / num_bins < p <= (b + 1) / num_bins
            ]
            expected += abs(sum(p - hit for p, hit in inside)) / N / C
    assert classwise_ece(predictive, y.to(dtype), num_bins).item() == pytest.approx(expected, rel=1e-10)


def test_classwise_ece_takes_each_label_for_itself():
    logits, y = 2 * random(S, N, 2), (random(N, 2, seed=1) > 0).double()
    each = [classwise_ece(Predictive(Bernoulli(logits=logits[..., d])), y[:, d]).item() for d in (0, 1)]
    both = classwise_ece(Predictive(Independent(Bernoulli(logits=logits), 1)), y).item()
    assert both == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_sharpness_is_the_width_between_the_quantiles_of_scipy(level):
    loc, scale = random(N, 2), random(N, 2, seed=1).exp()
    low, high = scipy.stats.norm(loc, scale).interval(level)
    predictive = Predictive(Independent(Normal(loc[None], scale[None]), 1))
    assert sharpness(predictive, level).item() == pytest.approx((high - low).mean(), rel=1e-10)


@pytest.mark.parametrize("shape", [(S, N), (S, N, 2)])
def test_pit_is_the_distribution_function_of_scipy(shape):
    loc, scale, y = random(*shape), random(*shape, seed=1).exp(), 2 * random(*shape[1:], seed=2)
    found = pit(Predictive(Independent(Normal(loc, scale), len(shape) - 2)), y)
    # To rounding of 1, from which torch counts down: far in the tail that is more than of the value itself.
    np.testing.assert_allclose(found, scipy.stats.norm(loc, scale).cdf(y).mean(0), rtol=1e-12, atol=1e-15)


RATE, COUNTS = 3 * random(S, N).exp(), torch.arange(N).double() % 7


def test_pit_of_counts_is_the_mean_of_the_randomised_one():
    theirs = scipy.stats.poisson(RATE)
    below, at = theirs.cdf(COUNTS - 1).mean(0), theirs.pmf(COUNTS).mean(0)
    v = (np.arange(100)[:, None] + 0.5) / 100  # uniform numbers, as even as can be
    np.testing.assert_allclose(pit(Predictive(Poisson(RATE)), COUNTS), (below + v * at).mean(0), rtol=1e-10)


@pytest.mark.parametrize("num_levels", [1, 9, 99])
def test_calibration_error_is_that_of_shares_counted_level_by_level(num_levels):
    loc, y = random(S, N), random(N, seed=1)
    chance = scipy.stats.norm(loc, 0.5).cdf(y).mean(0)
    levels = np.arange(1, num_levels + 1) / (num_levels + 1)
    expected = np.sqrt(np.mean([(np.mean(chance <= p) - p) ** 2 for p in levels]))
    found = calibration_error(Predictive(Normal(loc, 0.5)), y, num_levels).item()
    assert found == pytest.approx(expected, rel=1e-10)


def test_calibration_error_of_counts_is_that_of_the_randomised_pit():
    theirs = scipy.stats.poisson(RATE)
    below, at = theirs.cdf(COUNTS - 1).mean(0), theirs.pmf(COUNTS).mean(0)
    chance = below + (np.arange(10_000)[:, None] + 0.5) / 10_000 * at
    expected = np.sqrt(np.mean([(np.mean(chance <= p) - p) ** 2 for p in np.arange(1, 100) / 100]))
    assert calibration_error(Predictive(Poisson(RATE)), COUNTS).item() == pytest.approx(expected, abs=1e-4)


def test_a_count_that_cannot_be_has_no_jump():
    never = Predictive(Poisson(torch.full((1, 2), 1e-3).double()))
    expected = np.sqrt(np.mean((np.arange(1, 100) / 100) ** 2))
    assert calibration_error(never, torch.tensor([500.0, 500.0])).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("family", ["normal", "poisson"])
def test_calibration_error_of_its_own_draws_is_small_and_of_wider_ones_is_not(family):
    # By the inequality of Dvoretzky, Kiefer and Wolfowitz no share is further off, but with a chance of 1e-6.
    number = 5000
    bound = math.sqrt(math.log(2 / 1e-6) / (2 * number))
    if family == "normal":
        members, wider = Normal(torch.zeros(1, number).double(), 1.0), Normal(torch.zeros(1, number).double(), 1.5)
    else:
        members, wider = Poisson(torch.full((1, number), 4.0).double()), Poisson(torch.full((1, number), 5.0).double())
    y = Predictive(members).sample()
    assert calibration_error(Predictive(members), y).item() < bound
    assert calibration_error(Predictive(wider), y).item() > bound


def test_calibration_of_numbers_wants_numbers_and_a_distribution_function():
    classes = Predictive(Categorical(logits=random(S, N, C)))
    for score in (pit, calibration_error):
        with pytest.raises(NotImplementedError, match=r"transform is of numbers.*Write reliability or ece"):
            score(classes, torch.arange(N) % C)
        with pytest.raises(NotImplementedError, match="need a distribution function; VonMises has none"):
            score(Predictive(VonMises(random(S, N), torch.ones(S, N).double())), random(N))
    with pytest.raises(NotImplementedError, match="intervals need real targets"):
        sharpness(classes)
    with pytest.raises(ValueError, match=r"num_levels must be 1 or more; got 0.*Write num_levels=99"):
        calibration_error(Predictive(Normal(random(S, N), 1.0)), random(N), 0)


BROKEN = random(S, N).where(torch.arange(S * N).view(S, N) != 7, math.nan)


@pytest.mark.parametrize("equal_mass", [False, True])
def test_classes_of_no_probability_are_not_calibrated(equal_mass):
    for broken in (BROKEN, torch.full_like(BROKEN, math.nan)):
        predictive = Predictive(Categorical(logits=torch.stack([broken, -broken], -1), validate_args=False))
        assert ece(predictive, torch.zeros(N).long(), equal_mass=equal_mass).isnan()
        assert classwise_ece(predictive, torch.zeros(N).long()).isnan()


@pytest.mark.parametrize("score", [coverage, calibration_error, lambda predictive, y: sharpness(predictive)])
@pytest.mark.parametrize(
    "family", [Normal, lambda loc, scale, **options: Independent(Normal(loc[..., None], scale, **options), 1)]
)
def test_numbers_without_a_distribution_function_are_not_calibrated(score, family):
    y = random(N, seed=1)
    for broken in (BROKEN, torch.full_like(BROKEN, math.nan), BROKEN[:1]):
        predictive = Predictive(family(broken, 1.0, validate_args=False))
        assert score(predictive, y).isnan()


def test_calibration_error_of_counts_that_are_nan_is_nan():
    predictive = Predictive(Poisson(BROKEN.abs(), validate_args=False))
    assert calibration_error(predictive, COUNTS).isnan()


SEVERAL = Predictive(Independent(Bernoulli(logits=random(S, N, 2)), 1))


@pytest.mark.parametrize("score", [ece, classwise_ece])
@pytest.mark.parametrize("predictive", [Predictive(Categorical(logits=random(S, N, C))), SEVERAL], ids=["one", "two"])
def test_several_sets_of_labels_are_refused(score, predictive):
    y = torch.zeros(predictive.batch_shape + predictive.event_shape).long()
    with pytest.raises(ValueError, match=rf"one row per input, shape \({N},.*\); got \(3, {N}.*Pass one: y\[0\]"):
        score(predictive, y.expand(3, *y.shape))
    assert score(predictive, torch.tensor(0)) == score(predictive, y)
