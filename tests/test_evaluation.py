"""Evaluation against scikit-learn's and scipy's scores of the same probabilities."""

import math

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
import torch
from sklearn import metrics
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from bayesnn import BayesianNeuralNetwork, decompose, fit_map, likelihoods, networks
from bayesnn.evaluation import Detection, compare, evaluate, misclassification, out_of_distribution
from bayesnn.predictive import Predictive

S, N, C = 5, 60, 4


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LOGITS, OTHER_LOGITS = 2 * random(1, N, C) + random(S, N, C, seed=1), random(S, 25, C, seed=2)
CLASSES, ELSEWHERE = Predictive(Categorical(logits=LOGITS)), Predictive(Categorical(logits=OTHER_LOGITS))
LABELS = (random(N, C, seed=3) + LOGITS.mean(0)).argmax(1)
LOC, SCALE, TARGETS = 50 + random(S, N), 0.5 + random(S, N, seed=1).square(), 50 + random(N, seed=2)
REALS = Predictive(Normal(LOC, SCALE))
WIDER = Predictive(Normal(LOC[:, :25] + 3 * random(S, 25, seed=4), SCALE[:, :25] + 1))


def class_scores(logits):
    """Every score by numpy and scipy, from the members' probabilities."""
    members = scipy.special.softmax(logits.numpy(), -1)
    probs = members.mean(0)
    entropy = scipy.stats.entropy(probs, axis=-1)
    information = entropy - scipy.stats.entropy(members, axis=-1).mean(0)
    return probs, {"max_probability": 1 - probs.max(-1), "entropy": entropy, "mutual_information": information}


def real_scores(loc, scale):
    aleatoric, epistemic = (scale.numpy() ** 2).mean(0), loc.numpy().var(0)
    return {"total": aleatoric + epistemic, "aleatoric": aleatoric, "epistemic": epistemic}  # variances rank as sds


def areas(inside, outside):
    kind = np.r_[np.zeros(len(next(iter(inside.values())))), np.ones(len(next(iter(outside.values()))))]
    return {name: metrics.roc_auc_score(kind, np.r_[inside[name], outside[name]]) for name in inside}


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
    assert evaluate(REALS, TARGETS) == pytest.approx(
        {
            "nll": -log_density.mean(),
            "rmse": metrics.root_mean_squared_error(y, LOC.mean(0)),
            "coverage_90": ((below >= 0.05) & (below <= 0.95)).mean(),
        },
        rel=1e-9,
    )


@pytest.mark.parametrize("form", [lambda y: y.numpy(), pd.Series, lambda y: y.tolist(), lambda y: y[:, None]])
def test_targets_come_in_any_form(form):
    assert evaluate(CLASSES, form(LABELS)) == evaluate(CLASSES, LABELS)
    assert evaluate(REALS, form(TARGETS)) == evaluate(REALS, TARGETS)


def test_mistakes_are_detected_as_sklearn_says():
    probs, scores = class_scores(LOGITS)
    wrong = probs.argmax(1) != LABELS.numpy()
    found = misclassification(CLASSES, LABELS)
    assert found.auroc == pytest.approx({name: metrics.roc_auc_score(wrong, s) for name, s in scores.items()})
    assert (found.num_positive, found.num_negative) == (wrong.sum(), N - wrong.sum())


def test_one_wrong_label_of_several_makes_a_mistake():
    probs = torch.tensor([[[0.9, 0.8], [0.9, 0.6], [0.1, 0.2]]])
    y = torch.tensor([[1, 1], [1, 0], [0, 0]])
    found = misclassification(Predictive(Independent(Bernoulli(probs), 1)), y)
    assert (found.num_positive, found.num_negative) == (1, 2)
    assert found.best == 1


def test_strangers_are_detected_as_sklearn_says():
    found = out_of_distribution(CLASSES, ELSEWHERE)
    assert found.auroc == pytest.approx(areas(class_scores(LOGITS)[1], class_scores(OTHER_LOGITS)[1]))
    assert (found.num_positive, found.num_negative) == (len(ELSEWHERE), N)
    wider = WIDER.members
    reals = out_of_distribution(REALS, WIDER).auroc
    assert reals == pytest.approx(areas(real_scores(LOC, SCALE), real_scores(wider.loc, wider.scale)))


def test_the_same_inputs_are_told_apart_by_chance_and_swapping_mirrors():
    assert out_of_distribution(CLASSES, CLASSES).auroc == pytest.approx(dict.fromkeys(class_scores(LOGITS)[1], 0.5))
    here, there = out_of_distribution(CLASSES, ELSEWHERE).auroc, out_of_distribution(ELSEWHERE, CLASSES).auroc
    assert here == pytest.approx({name: 1 - area for name, area in there.items()})


def test_detection_shows_every_score_and_its_best():
    found = out_of_distribution(CLASSES, ELSEWHERE)
    assert found.best == max(found.auroc.values())
    assert f"25 to find among {N + 25}" in repr(found)
    for name, area in found.auroc.items():
        assert f"{name:18}  AUROC {area:.3f}" in repr(found)


def test_without_mistakes_there_is_no_area():
    assert all(math.isnan(area) for area in misclassification(CLASSES, CLASSES.mode).auroc.values())


def test_compare_puts_every_score_in_the_row_of_its_method():
    inputs = {len(CLASSES): CLASSES, len(ELSEWHERE): ELSEWHERE}
    sure = Predictive(Categorical(logits=LOGITS[:1])), Predictive(Categorical(logits=OTHER_LOGITS[:1]))
    methods = {"many": lambda x: inputs[len(x)], "one": lambda x: sure[len(x) != N]}
    table = compare(methods, torch.zeros(N, 2), LABELS, torch.zeros(25, 2))
    assert [row["method"] for row in table.rows] == ["many", "one"]
    for row, (inside, outside) in zip(table.rows, [(CLASSES, ELSEWHERE), sure], strict=True):
        expected = evaluate(inside, LABELS)
        expected["misclassification_auroc"] = misclassification(inside, LABELS).auroc["max_probability"]
        for name, area in out_of_distribution(inside, outside).auroc.items():
            expected[f"ood_auroc_{name}"] = area
        assert {name: row[name] for name in expected} == expected
        assert set(row) == {*expected, "method", "elbo_per_datum", "fit_seconds", "predict_seconds"}
        assert math.isnan(row["elbo_per_datum"])  # a plain function tells nothing of its fit
        assert row["predict_seconds"] >= 0
        for name in expected:
            assert f"{row[name]:.3f}" in repr(table)


def test_compare_leaves_out_what_there_is_not():
    row = compare({"reals": lambda x: REALS}, torch.zeros(N, 1), TARGETS).rows[0]
    assert set(row) == {"method", "nll", "rmse", "coverage_90", "elbo_per_datum", "fit_seconds", "predict_seconds"}


def test_compare_takes_fitted_methods_and_becomes_a_frame():
    x = random(40, 2).float()
    model = BayesianNeuralNetwork(networks.mlp(2, 2, hidden=(3,)), likelihood=likelihoods.categorical)
    posterior = fit_map(model, x, (x[:, 0] > 0).long(), num_epochs=2, progress=False)
    table = compare({"map": posterior}, x, (x[:, 0] > 0).long(), x + 5)
    frame = table.to_pandas()
    assert frame.index.tolist() == ["map"]
    assert frame.loc["map"].to_dict() == pytest.approx(
        {name: value for name, value in table.rows[0].items() if name != "method"}, nan_ok=True
    )
    assert frame.loc["map", "fit_seconds"] == posterior.history.seconds


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda: evaluate(CLASSES, LABELS[1:]), ValueError, rf"one row per input, shape \({N},\); got \(59,\)"),
        (lambda: evaluate(REALS, TARGETS.expand(2, N)), ValueError, "one row per input"),
        (lambda: evaluate(CLASSES, LABELS.expand(N, N)), ValueError, "one row per input"),
        (lambda: evaluate(REALS, TARGETS * math.nan), ValueError, "y must be finite"),
        (lambda: evaluate(CLASSES, ["cat"] * N), TypeError, "y must be a tensor, array or frame of numbers"),
        (lambda: evaluate(CLASSES, LABELS + C), ValueError, "label|class|support"),
        (lambda: evaluate(CLASSES, LABELS + 0.5), ValueError, "label|class|whole|support"),
        (lambda: misclassification(CLASSES, LABELS[1:]), ValueError, "one row per input"),
        (lambda: misclassification(REALS, TARGETS), NotImplementedError, "misclassification needs classes"),
        (lambda: out_of_distribution(CLASSES, REALS), ValueError, "inside and outside must be of one posterior"),
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


@pytest.mark.parametrize("methods", [[lambda x: CLASSES], {"svi": CLASSES}])
def test_compare_wants_methods_by_name(methods):
    with pytest.raises(TypeError, match="fitted methods by name"):
        compare(methods, LABELS, LABELS)


def test_detection_below_chance_says_what_that_means():
    assert "looks more certain" in repr(Detection("task", {"entropy": 0.3}, 2, 3))
    assert "looks more certain" not in repr(Detection("task", {"entropy": 0.3, "other": 0.6}, 2, 3))
