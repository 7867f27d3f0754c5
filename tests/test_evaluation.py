"""Evaluation against scikit-learn's and scipy's scores of the same probabilities."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special
import scipy.stats
import torch
from made_up import CLASSES, LABELS, LOC, LOGITS, REALS, SCALE, TARGETS, C, N, S, class_scores
from sklearn import metrics
from torch.distributions import Binomial, Categorical, Independent, Normal, Poisson, StudentT

from bayesnn import decompose, plots
from bayesnn.evaluation import evaluate
from bayesnn.metrics.reliability import reliability
from bayesnn.predictive import Predictive
from bayesnn.reference import predictive_distance
from bayesnn.tasks import misclassification, out_of_distribution


def expected_calibration_error(probs, y, bins=15):
    confidence, right = probs.max(1), probs.argmax(1) == y
    inside = [(lower < confidence) & (confidence <= lower + 1 / bins) for lower in np.arange(bins) / bins]
    return sum(abs(right[i].mean() - confidence[i].mean()) * i.mean() for i in inside if i.any())


def test_class_scores_are_those_of_sklearn():
    probs, _ = class_scores(LOGITS)
    y = LABELS.numpy()
    assert evaluate(CLASSES, LABELS) == pytest.approx(
        {
            "nll": metrics.log_loss(y, probs, labels=range(C)),
            "accuracy": metrics.accuracy_score(y, probs.argmax(1)),
            "brier": ((probs - np.eye(C)[y]) ** 2).sum(1).mean(),
            "ece": expected_calibration_error(probs, y),
        },
        rel=1e-9,
    )


def test_real_scores_are_those_of_scipy_and_sklearn():
    y = TARGETS.numpy()
    log_density = scipy.special.logsumexp(scipy.stats.norm.logpdf(y, LOC, SCALE), axis=0) - math.log(S)
    below = scipy.stats.norm.cdf(y, LOC, SCALE).mean(0)
    low, high = ([quantile(n, level) for n in range(N)] for level in (0.05, 0.95))
    levels = np.arange(1, 100) / 100
    seen = (below[:, None] <= levels).mean(0)
    assert evaluate(REALS, TARGETS) == pytest.approx(
        {
            "nll": -log_density.mean(),
            "rmse": metrics.root_mean_squared_error(y, LOC.mean(0)),
            "crps": np.mean([integrated_crps(n, float(y[n])) for n in range(N)]),
            "coverage_90": ((below >= 0.05) & (below <= 0.95)).mean(),
            "sharpness_90": np.mean(np.subtract(high, low)),
            "calibration_error": np.sqrt(((seen - levels) ** 2).mean()),
        },
        rel=1e-6,
    )


def test_binomials_of_other_totals_are_counts():
    totals, chance = torch.tensor([3.0, 5.0, 7.0]), torch.tensor([[0.2, 0.5, 0.9], [0.4, 0.1, 0.7]])
    predictive, y = Predictive(Binomial(totals, chance)), torch.tensor([1.0, 5.0, 6.0])
    each = scipy.stats.binom(totals.double(), chance.double())
    found = evaluate(predictive, y)
    assert found["nll"] == pytest.approx(-np.log(each.pmf(y).mean(0)).mean(), rel=1e-6)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, each.mean().mean(0)), rel=1e-6)
    low, high = predictive.interval(0.8)
    for end, level in ((low, 0.1), (high, 0.9)):
        assert (each.cdf(end).mean(0) >= level).all()
        assert (each.cdf(end - 1).mean(0) < level).all()
    assert predictive_distance(predictive[1], predictive[1]).means["wasserstein"] == 0
    with pytest.raises(
        NotImplementedError, match="need a finite support; this predictive is over real targets or count"
    ):
        predictive[1].mode  # noqa: B018 - of one count among many it is no class


def test_a_predictive_that_carries_a_gradient_has_its_scores():
    """Torch warns where a number is made of a tensor with one."""
    carries = Predictive(Normal(LOC.clone().requires_grad_(), SCALE))
    assert evaluate(carries, TARGETS) == evaluate(REALS, TARGETS)


@pytest.mark.parametrize(
    "ask",
    [
        evaluate,
        misclassification,
        lambda predictive, y: out_of_distribution(predictive, predictive),
        lambda predictive, y: predictive_distance(predictive, predictive),
        lambda predictive, y: reliability(predictive, y, equal_mass=True),
        plots.reliability_diagram,
        plots.pit_histogram,
        plots.predicted_against_true,
        plots.risk_coverage_curve,
        lambda predictive, y: plots.regression_bands(y, predictive),
        lambda predictive, y: plots.prior_functions(y, predictive),
        lambda predictive, y: plots.prior_targets(predictive),
    ],
)
@pytest.mark.parametrize(("predictive", "y"), [(CLASSES, LABELS), (REALS, TARGETS)], ids=["classes", "reals"])
def test_of_no_inputs_there_is_nothing_to_say(ask, predictive, y):
    with pytest.raises(ValueError, match="must have 1 input at least for this; got Predictive"):
        ask(predictive[:0], y[:0])


def test_one_input_has_every_score():
    for predictive, y in ((CLASSES, LABELS), (REALS, TARGETS)):
        assert all(math.isfinite(value) for value in evaluate(predictive[:1], y[:1]).values())


def test_the_crps_of_other_families_is_not_waited_for():
    """Of counts in the millions it would be a sum over all of them."""
    found = evaluate(Predictive(Poisson(torch.full((3, 5), 1e7))), torch.full((5,), 1e7))
    assert "crps" not in found
    assert found["coverage_90"] == 1.0
    assert "crps" not in evaluate(Predictive(StudentT(4.0, LOC, SCALE)), TARGETS)
    assert "crps" in evaluate(Predictive(StudentT(4.0, LOC, SCALE), Normal(LOC[0], 1.0)), TARGETS)


def member_mean(z, n):
    return scipy.stats.norm.cdf(z, LOC[:, n], SCALE[:, n]).mean()


def quantile(n, level):
    return scipy.optimize.brentq(lambda z: member_mean(z, n) - level, -100, 200, xtol=1e-13)


def integrated_crps(n, y):
    below = scipy.integrate.quad(lambda z: member_mean(z, n) ** 2, -50, y, epsabs=1e-9, limit=200)[0]
    above = scipy.integrate.quad(lambda z: (1 - member_mean(z, n)) ** 2, y, 150, epsabs=1e-9, limit=200)
    return below + above[0]


@pytest.mark.parametrize("form", [lambda y: y.numpy(), pd.Series, lambda y: y.tolist(), lambda y: y[:, None]])
def test_targets_come_in_any_form(form):
    assert evaluate(CLASSES, form(LABELS)) == evaluate(CLASSES, LABELS)
    assert evaluate(REALS, form(TARGETS)) == evaluate(REALS, TARGETS)


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda: evaluate(CLASSES, LABELS[1:]), ValueError, rf"one row per input, shape \({N},\); got \(59,\)"),
        (lambda: evaluate(REALS, TARGETS.expand(2, N)), ValueError, "one row per input"),
        (lambda: evaluate(CLASSES, LABELS.expand(N, N)), ValueError, "one row per input"),
        (lambda: evaluate(REALS, TARGETS * math.nan), ValueError, "y must be finite"),
        (lambda: evaluate(CLASSES, ["cat"] * N), TypeError, "y must be numbers; got text"),
        (lambda: evaluate(CLASSES, LABELS + C), ValueError, "label|class|support"),
        (lambda: evaluate(CLASSES, LABELS + 0.5), ValueError, "label|class|whole|support"),
        (lambda: misclassification(CLASSES, LABELS[1:]), ValueError, "one row per input"),
        (lambda: misclassification(REALS, TARGETS, largest=1.5), ValueError, "largest must be a share of the errors"),
        (lambda: misclassification(CLASSES, LABELS, num_bootstrap=-1), ValueError, "num_bootstrap must be 20 or more"),
        (lambda: out_of_distribution(CLASSES, REALS), ValueError, "inside and outside must be of one posterior"),
        (
            lambda: out_of_distribution(CLASSES, Predictive(Categorical(logits=LOGITS[..., :3]))),
            ValueError,
            r"of one posterior; got Predictive\(.*\) of 4 classes and Predictive\(.*\) of 3 classes\.",
        ),
        (
            lambda: out_of_distribution(REALS, Predictive(Independent(Normal(LOC[..., None], 1.0), 1))),
            ValueError,
            "inside and outside must be of one posterior",
        ),
    ],
)
def test_what_does_not_fit_gets_one_clear_sentence(ask, kind, words):
    with pytest.raises(kind, match=words):
        ask()


@pytest.mark.parametrize(
    "call",
    [
        lambda: evaluate(lambda x: CLASSES, LABELS),
        lambda: misclassification(LABELS, CLASSES),
        lambda: out_of_distribution(CLASSES, lambda x: CLASSES),
        lambda: decompose(lambda x: CLASSES),
    ],
)
def test_a_posterior_in_place_of_a_predictive_gets_a_sentence(call):
    with pytest.raises(TypeError, match=r"needs a Predictive; got .*posterior\(x\)"):
        call()
