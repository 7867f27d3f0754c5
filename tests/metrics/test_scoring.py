"""Scores against scikit-learn and scipy."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from bayesnn.metrics.scoring import accuracy, brier, nll, rmse
from bayesnn.predictive import Predictive

S, N, C, D = 4, 30, 3, 2


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def classes(num_draws=S):
    return Predictive(Categorical(logits=2 * random(num_draws, N, C)))


def reals(*shape, loc=0.0, scale=1.0):
    members = Normal(loc + scale * random(*shape), scale * random(*shape, seed=1).exp())
    return Predictive(Independent(members, len(shape) - 2))


LABELS = torch.arange(N) % C


@pytest.mark.parametrize("num_draws", [1, S])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float64])
def test_class_scores_are_those_of_sklearn(num_draws, dtype):
    predictive, y = classes(num_draws), LABELS.to(dtype)
    probs = predictive.probs.numpy()
    assert nll(predictive, y).item() == pytest.approx(sklearn.metrics.log_loss(LABELS, probs), rel=1e-10)
    assert accuracy(predictive, y).item() == sklearn.metrics.accuracy_score(LABELS, probs.argmax(-1))
    # Brier's score of several classes is a mean squared error over rows, summed over columns.
    expected = C * sklearn.metrics.mean_squared_error(np.eye(C)[LABELS], probs)
    assert brier(predictive, y).item() == pytest.approx(expected, rel=1e-10)


def test_scores_of_one_logit_are_those_of_sklearn():
    predictive, y = Predictive(Bernoulli(logits=2 * random(S, N))), LABELS.clamp_max(1)
    yes = predictive.probs[:, 1].numpy()
    assert nll(predictive, y).item() == pytest.approx(sklearn.metrics.log_loss(y, yes), rel=1e-10)
    assert accuracy(predictive, y).item() == sklearn.metrics.accuracy_score(y, yes > 0.5)
    assert brier(predictive, y).item() == pytest.approx(2 * sklearn.metrics.brier_score_loss(y, yes), rel=1e-10)


def test_scores_of_labels_are_means_over_inputs_and_labels():
    predictive = Predictive(Independent(Bernoulli(logits=2 * random(S, N, D)), 1))
    y = (random(N, D, seed=1) > 0).double()
    each = [Predictive(Bernoulli(logits=predictive.members.base_dist.logits[..., d])) for d in range(D)]
    for score in (accuracy, brier):
        expected = np.mean([score(alone, y[:, d]).item() for d, alone in enumerate(each)])
        assert score(predictive, y).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("right", "expected"), [(True, (0.0, 1.0, 0.0)), (False, (2e4, 0.0, 2.0))])
def test_sure_predictions_score_at_the_ends(right, expected):
    y = torch.tensor([0, 2])
    sure = 1e4 * (2 * torch.nn.functional.one_hot(y if right else 2 - y, C).double() - 1)
    predictive = Predictive(Categorical(logits=sure[None]))
    assert (nll(predictive, y).item(), accuracy(predictive, y).item(), brier(predictive, y).item()) == expected


@pytest.mark.parametrize("shape", [(S, N), (S, N, D), (1, 1)])
def test_real_scores_are_those_of_scipy_and_sklearn(shape):
    predictive, y = reals(*shape, loc=4000.0, scale=250.0), 4000 + 250 * random(*shape[1:], seed=2)
    members = predictive.members.base_dist
    each = scipy.stats.norm.logpdf(y, members.loc, members.scale).reshape(*shape[:2], -1).sum(-1)
    expected = -(scipy.special.logsumexp(each, axis=0) - math.log(shape[0])).mean()
    assert nll(predictive, y).item() == pytest.approx(expected, rel=1e-12)
    error = sklearn.metrics.mean_squared_error(y, members.loc.numpy().mean(0)) ** 0.5
    assert rmse(predictive, y).item() == pytest.approx(error, rel=1e-12)


@settings(deadline=None, max_examples=20)
@given(unit=st.floats(1e-3, 1e3))
def test_a_change_of_unit_shifts_the_nll_and_scales_the_rmse(unit):
    y = random(N, seed=2)
    one, other = reals(S, N), reals(S, N, scale=unit)
    assert nll(other, unit * y).item() == pytest.approx(nll(one, y).item() + math.log(unit), rel=1e-9, abs=1e-9)
    assert rmse(other, unit * y).item() == pytest.approx(unit * rmse(one, y).item(), rel=1e-9)


def test_the_truth_scores_best_in_expectation():
    # Gibbs' inequality, exact over the support: any other probabilities cost their divergence more.
    truth, other = classes(), classes(1)
    cost = sum(
        (truth.probs[:, c] * (truth.log_prob(torch.tensor(c)) - other.log_prob(torch.tensor(c)))).sum()
        for c in range(C)
    )
    expected = scipy.special.rel_entr(truth.probs.numpy(), other.probs.numpy()).sum()
    assert cost.item() == pytest.approx(expected, rel=1e-10)
