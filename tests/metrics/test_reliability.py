"""Reliability against scikit-learn's calibration curve."""

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from bayesnn.metrics.reliability import gaps, reliability
from bayesnn.predictive import Predictive

S, N, C = 4, 203, 3


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


PREDICTIVE, Y = Predictive(Categorical(logits=2 * random(S, N, C))), torch.arange(N) % C


@pytest.mark.parametrize("num_bins", [1, 4, 15, 500])
@pytest.mark.parametrize(("equal_mass", "strategy"), [(False, "uniform"), (True, "quantile")])
def test_bins_are_those_of_sklearn(num_bins, equal_mass, strategy):
    found = reliability(PREDICTIVE, Y, num_bins, equal_mass=equal_mass)
    sure, best = PREDICTIVE.probs.max(-1)
    accuracy, confidence = calibration_curve(best == Y, sure, n_bins=num_bins, strategy=strategy)
    full = found.count > 0
    np.testing.assert_allclose(found.confidence[full], confidence, rtol=1e-12)
    np.testing.assert_allclose(found.accuracy[full], accuracy, rtol=1e-12)
    assert found.confidence[~full].isnan().all()
    assert found.accuracy[~full].isnan().all()
    assert found.count.sum() == N
    assert len(found.count) == num_bins
    weights = found.count[full].numpy() / N
    assert found.ece.item() == pytest.approx((weights * np.abs(accuracy - confidence)).sum(), rel=1e-12)


def test_bins_of_equal_mass_hold_equally_many():
    assert set(reliability(PREDICTIVE, Y, 10, equal_mass=True).count.tolist()) == {20, 21}


@pytest.mark.parametrize("equal_mass", [False, True])
def test_the_order_of_tied_inputs_does_not_matter(equal_mass):
    sure = torch.tensor([0.6, 0.75, 0.75, 0.75, 0.75, 0.9]).double()
    y = torch.tensor([0, 0, 0, 1, 1, 0])
    found = [
        reliability(Predictive(Bernoulli(probs=1 - sure[None])), labels, 3, equal_mass=equal_mass)
        for labels in (y, y.flip(0))
    ]
    torch.testing.assert_close(found[0].accuracy, found[1].accuracy, equal_nan=True)
    assert found[0].count.tolist() == found[1].count.tolist()


def test_labels_are_binned_together():
    logits, y = 2 * random(S, N, 2), (random(N, 2, seed=1) > 0).double()
    several = reliability(Predictive(Independent(Bernoulli(logits=logits), 1)), y)
    one = reliability(Predictive(Bernoulli(logits=logits.flatten(1))), y.flatten())
    torch.testing.assert_close(several.accuracy, one.accuracy, equal_nan=True)
    torch.testing.assert_close(several.confidence, one.confidence, equal_nan=True)


@pytest.mark.parametrize("num_bins", [1, 15])
def test_gaps_of_events_are_those_of_sklearn(num_bins):
    chance, happened = random(N, 2).sigmoid(), random(N, 2, seed=1) > 0
    for k, gap in enumerate(gaps(chance, happened, num_bins).tolist()):
        frequency, mean = calibration_curve(happened[:, k], chance[:, k], n_bins=num_bins)
        inside = np.histogram(chance[:, k], np.linspace(0, 1, num_bins + 1))[0]
        weights = inside[inside > 0] / N
        assert gap == pytest.approx((weights * np.abs(frequency - mean)).sum(), rel=1e-10)


def test_the_record_is_readable():
    assert repr(reliability(PREDICTIVE, Y)).startswith(f"Reliability(bins=15, inputs={N}, ece=0.")


def test_it_wants_classes_and_a_bin():
    with pytest.raises(NotImplementedError, match="class probabilities need a finite support"):
        reliability(Predictive(Normal(random(S, N), 1.0)), Y)
    with pytest.raises(ValueError, match=r"num_bins must be 1 or more; got 0.*Write num_bins=15"):
        reliability(PREDICTIVE, Y, 0)
    with pytest.raises(ValueError, match=r"num_bins must be 1 or more; got 0.*Write num_bins=15"):
        gaps(PREDICTIVE.probs, PREDICTIVE.probs > 0.5, 0)
