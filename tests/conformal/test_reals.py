"""Prediction intervals: their coverage against its exact law, their ends against formulas by numpy and scipy."""

import json

import numpy as np
import pytest
import torch
from exact_coverage import LEVEL, NEW, NUM, SPLITS, is_exact, without_the_new_one
from scipy.stats import norm
from torch.distributions import Bernoulli, Beta, Gamma, Independent, Normal, Poisson, StudentT

from bayesnn.conformal import ConformalIntervals, PredictionIntervals, conformal_intervals
from bayesnn.predictive import Predictive

SCORES = [("residual", True), ("residual", False), ("quantile", True), ("quantile", False)]


def wrong(x):
    """A model that is a straight line and too sure."""
    return Predictive(Normal(0.5 * x.mT, 0.2 + 0.3 * x.mT.abs()))


def data(num, generator):
    x = 2 * torch.randn(num, 1, dtype=torch.float64, generator=generator)
    noise = torch.randn(num, dtype=torch.float64, generator=generator)
    return x, x[:, 0].sin() + (0.5 + x[:, 0].abs()) * noise


def covered(score, normalise):
    """How many of NEW intervals hold the target, in each of SPLITS calibrations."""
    counts = []
    for split in range(SPLITS):
        generator = torch.Generator().manual_seed(split)
        found = conformal_intervals(wrong, *data(NUM, generator), level=LEVEL, score=score, normalise=normalise)
        x, y = data(NEW, generator)
        counts.append(round(float(found(x).coverage(y)) * NEW))
    return np.array(counts)


@pytest.mark.parametrize(("score", "normalise"), SCORES)
def test_coverage_is_what_it_must_be_of_a_wrong_model(score, normalise, monkeypatch):
    assert is_exact(covered(score, normalise))
    monkeypatch.setattr("bayesnn.conformal.reals.conformal_quantile", without_the_new_one)
    assert not is_exact(covered(score, normalise))


@pytest.mark.parametrize(("score", "normalise"), SCORES)
def test_ends_are_those_of_the_formula(score, normalise):
    generator = torch.Generator().manual_seed(0)
    (x, y), (new, _) = data(39, generator), data(7, generator)

    def parts(x):
        loc, scale = 0.5 * x[:, 0].numpy(), 0.2 + 0.3 * np.abs(x[:, 0].numpy())
        low, high = (loc, loc) if score == "residual" else norm(loc, scale).interval(0.8)
        return low, high, scale if normalise else np.ones_like(scale)

    low, high, spread = parts(x)
    worst = np.sort(np.maximum(low - y.numpy(), y.numpy() - high) / spread)[32 - 1]
    low, high, spread = parts(new)
    found = conformal_intervals(wrong, x, y, level=0.8, score=score, normalise=normalise)(new)
    np.testing.assert_allclose(found.lower, low - worst * spread, rtol=1e-9)
    np.testing.assert_allclose(found.upper, high + worst * spread, rtol=1e-9)


def test_several_targets_are_each_for_itself():
    generator = torch.Generator().manual_seed(0)
    x, _ = data(60, generator)
    y = torch.randn(60, 2, dtype=torch.float64, generator=generator) * torch.tensor([1.0, 50.0])

    def both(x):
        loc = torch.cat([x, 20 * x], -1)
        return Predictive(Independent(Normal(loc[None], torch.ones_like(loc)), 1))

    found = conformal_intervals(both, x, y)(x)
    for column, times in enumerate((1, 20)):
        alone = conformal_intervals(lambda x, k=times: Predictive(Normal(k * x.mT, 1.0)), x, y[:, column])(x)
        torch.testing.assert_close(found.lower[:, column], alone.lower)
        torch.testing.assert_close(found.upper[:, column], alone.upper)
        assert found.coverage(y)[column] == alone.coverage(y[:, column])
    assert found.coverage(y).shape == (2,)


def test_intervals_of_a_method_that_is_not_sure_enough_are_narrower_than_its_own():
    x = torch.linspace(-1, 1, 100, dtype=torch.float64)[:, None]

    def wide(x):
        return Predictive(Normal(x.mT, 10.0))

    found = conformal_intervals(wide, x, x[:, 0] + 0.1 * x[:, 0].sin(), score="quantile", normalise=False)(x)
    assert bool((found.widths < 1).all())
    assert float(found.coverage(x[:, 0] + 0.1 * x[:, 0].sin())) >= 0.9


def test_counts_have_intervals_too():
    x = torch.rand(200, 1, dtype=torch.float64)
    y = torch.poisson(5 * x[:, 0])
    found = conformal_intervals(lambda x: Predictive(Poisson(5 * x.mT + 0.1)), x, y)
    assert float(found(x).coverage(y)) >= 0.9


BOUNDED = {
    "counts": (lambda x: Poisson(2 * x.mT + 0.1), 0.0, np.inf),
    "positive": (lambda x: Gamma(0.5, 1 / (x.mT + 0.1)), 0.0, np.inf),
    "a column of them": (lambda x: Independent(Gamma(torch.tensor(0.5), 1 / (x[None] + 0.1)), 1), 0.0, np.inf),
    "fractions": (lambda x: Beta(x.mT + 0.5, torch.full_like(x.mT, 0.4)), 0.0, 1.0),
}


@pytest.mark.parametrize(("score", "normalise"), SCORES)
@pytest.mark.parametrize(("members", "low", "high"), BOUNDED.values(), ids=BOUNDED)
def test_intervals_end_where_targets_do_and_cover_as_before(members, low, high, score, normalise, monkeypatch):
    torch.manual_seed(0)
    x = torch.rand(400, 1, dtype=torch.float64)
    y = members(x).sample()[0]
    made = conformal_intervals(lambda x: Predictive(members(x)), x, y, level=0.95, score=score, normalise=normalise)
    found = made(x)
    monkeypatch.setattr("bayesnn.conformal.reals.common_bounds", lambda support: (-np.inf, np.inf))
    free = made(x)
    assert torch.equal(found.coverage(y), free.coverage(y))
    assert torch.equal(found.lower, free.lower.clamp_min(low))
    assert torch.equal(found.upper, free.upper.clamp_max(high))
    assert score == "quantile" or bool((free.lower < low).any())


def test_an_empty_interval_below_the_bounds_stays_empty():
    x = torch.ones(50, 1, dtype=torch.float64)
    sure = ConformalIntervals(lambda x: Predictive(Poisson(0.01 * x.mT)), torch.tensor(-1.0), 0.9, "quantile", True, 50)
    assert bool((sure(x).upper < 0).all())
    assert float(sure(x).coverage(0 * x)) == 0


def test_the_record():
    intervals = PredictionIntervals(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), 0.9)
    assert (len(intervals), intervals[0], intervals.widths.tolist()) == (2, (0.0, 1.0), [1.0, 0.0])
    assert float(intervals.coverage([[1.0], [0.5]])) == 0.5
    assert repr(intervals) == "PredictionIntervals(N=2, event=(), level=0.9, mean width 0.5)"
    column = PredictionIntervals(torch.zeros(3, 1), torch.ones(3, 1), 0.9)
    assert column.coverage([0.5, 1.0, 2.0]).tolist() == [pytest.approx(2 / 3)]
    assert column[0] == ([0.0], [1.0])
    with pytest.raises(ValueError, match=r"one target for each interval, shape \(2,\); got \(1, 2\). Transposed"):
        intervals.coverage([[1.0, 2.0]])


def test_several_rows_are_intervals_again():
    intervals = PredictionIntervals(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 3.0, 5.0]), 0.9)
    for index in (slice(1, None), [1, 2], torch.tensor([1, 2]), np.array([False, True, True])):
        some = intervals[index]
        assert (some.lower.tolist(), some.upper.tolist(), some.level) == ([1.0, 2.0], [3.0, 5.0], 0.9)
    assert intervals[np.int64(-1)] == (2.0, 5.0)
    with pytest.raises(IndexError, match="there are 3 inputs; got index 3"):
        intervals[3]


def test_the_record_in_other_forms():
    intervals = PredictionIntervals(torch.tensor([0.0, -torch.inf]), torch.tensor([1.0, 3.0]), 0.9)
    assert json.loads(intervals.to_json()) == {"lower": [0.0, None], "upper": [1.0, 3.0], "level": 0.9}
    assert intervals.to_pandas()["upper"].tolist() == [1.0, 3.0]
    columns = PredictionIntervals(torch.zeros(3, 2), torch.ones(3, 2), 0.9).to_pandas().columns
    assert columns.tolist() == ["lower[0]", "lower[1]", "upper[0]", "upper[1]"]


def test_what_it_says_and_refuses():
    x, y = data(50, torch.Generator().manual_seed(0))
    assert " standard deviations, n=50, <function wrong" in repr(conformal_intervals(wrong, x, y))
    assert "standard" not in repr(conformal_intervals(wrong, x, y, normalise=False))
    with pytest.raises(ValueError, match="score must be one of 'residual', 'quantile'; got 'cqr'"):
        conformal_intervals(wrong, x, y, score="cqr")
    with pytest.raises(ValueError, match=r"a level of 0.99 needs 99 calibration rows at least; got 50"):
        conformal_intervals(wrong, x, y, level=0.99)
    with pytest.raises(NotImplementedError, match=r"intervals need real targets; .* write conformal_sets"):
        conformal_intervals(lambda x: Predictive(Bernoulli(logits=x.mT)), x, y > 0)
    degrees = torch.tensor(1.5, dtype=torch.float64)
    with pytest.raises(ValueError, match="finite predictive ones above 0; got values from inf to inf"):
        conformal_intervals(lambda x: Predictive(StudentT(degrees, x.mT, 1.0)), x, y)
    found = conformal_intervals(lambda x: Predictive(StudentT(degrees, x.mT, 1.0)), x, y, normalise=False)
    assert float(found(x).coverage(y)) >= 0.9
