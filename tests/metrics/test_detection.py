"""Areas and curves against scipy's rank statistic and scikit-learn."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from bayesnn.metrics.detection import aupr, aurc, auroc, aurocs, fpr95, risk_coverage, roc_curve


def scores_and_kinds(seed, num_values):
    generator = torch.Generator().manual_seed(seed)
    score = torch.randint(num_values, (40,), generator=generator)
    return score.double(), torch.arange(40) < 15


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), num_values=st.sampled_from([1, 3, 10**6]))
def test_area_is_the_chance_that_a_positive_scores_higher(seed, num_values):
    score, positive = scores_and_kinds(seed, num_values)
    higher = scipy.stats.mannwhitneyu(score[positive], score[~positive]).statistic
    expected = higher / (15 * 25)
    assert auroc(score, positive).item() == pytest.approx(expected, rel=1e-12)
    assert auroc(3 * score - 7, positive).item() == pytest.approx(expected, rel=1e-12)
    assert auroc(-score, positive).item() == pytest.approx(1 - expected, rel=1e-12)
    assert auroc(score, ~positive).item() == pytest.approx(1 - expected, rel=1e-12)


@pytest.mark.parametrize(
    ("score", "positive", "expected"),
    [
        ([0.1, 0.2, 0.8, 0.9], [False, False, True, True], 1.0),
        ([0.1, 0.2, 0.8, 0.9], [True, True, False, False], 0.0),
        ([0.5, 0.5, 0.5, 0.5], [True, False, True, False], 0.5),
        ([0.1, 0.5, 0.5, 0.9], [0, 0, 1, 1], 0.875),
    ],
)
def test_area_worked_out_by_hand(score, positive, expected):
    assert auroc(torch.tensor(score), torch.tensor(positive)).item() == expected


KINDS = {"array": np.array, "list": list, "series": lambda v: pd.Series(v, index=range(len(v), 0, -1)),
         "nullable": lambda v: pd.Series(v).convert_dtypes(), "tensors": lambda v: [torch.tensor(one) for one in v],
         "column": lambda v: pd.DataFrame({"a": v}), "tensor": torch.tensor}  # fmt: skip
OF_KINDS = [auroc, fpr95, aupr, roc_curve]
OF_LOSSES = [risk_coverage, aurc]


def parts(found):
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("figure", OF_KINDS + OF_LOSSES)
@pytest.mark.parametrize("positive", [[False, True, False, True, True], [0, 1, 0, 1, 1]], ids=["yes or no", "0 or 1"])
def test_figures_of_arrays_lists_and_series_are_those_of_tensors(figure, kind, positive):
    score = [0.25, 0.5, 0.5, 0.0, 2.0]
    expected = parts(figure(torch.tensor(score), torch.tensor([False, True, False, True, True])))
    found = parts(figure(kind(score), kind(positive)))
    assert all(ours.dtype == torch.float64 and ours.equal(theirs) for ours, theirs in zip(found, expected, strict=True))


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_weights_may_be_arrays_and_lists(kind):
    found = aurocs(kind([1.0, 2.0, 3.0]), kind([0, 1, 0]), [[1, 1, 1], [3, 1, 1]])
    assert found.tolist() == [0.5, 0.75]


@pytest.mark.parametrize("figure", OF_KINDS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_scores_of_whole_numbers_are_put_in_order(figure, dtype):
    score, positive = torch.tensor([0, 1, 1, 0, 1]).to(dtype), torch.tensor([False, True, False, False, True])
    found, expected = parts(figure(score, positive)), parts(figure(score.double(), positive))
    assert all(ours.equal(theirs) for ours, theirs in zip(found, expected, strict=True))


def test_infinite_scores_are_the_highest():
    assert auroc([0.1, np.inf, -np.inf], [False, True, False]).item() == 1


@pytest.mark.parametrize("kind", [torch.tensor, np.array, list])
@pytest.mark.parametrize("figure", OF_KINDS + OF_LOSSES)
def test_scores_that_have_no_order_are_refused(figure, kind):
    with pytest.raises(
        ValueError, match="score must be numbers that can be put in order; got 1 NaN, the first at row 1"
    ):
        figure(kind([0.1, float("nan"), 0.3]), [False, True, True])


@pytest.mark.parametrize("figure", OF_KINDS + OF_LOSSES)
@pytest.mark.parametrize("number", [2, 4])
def test_another_number_of_inputs_is_refused(figure, number):
    name = "positive" if figure in OF_KINDS else "loss"
    with pytest.raises(ValueError, match=rf"{name} must have one entry for each score, N = 3; got {number}\."):
        figure(torch.arange(3.0), torch.arange(number) < 1)


@pytest.mark.parametrize("figure", OF_KINDS)
@pytest.mark.parametrize(
    ("positive", "words"), [([0, 1, 2], "from 0 to 2"), ([0.5, 1, 0], "0 to 1"), ([-1, 1, 1], "-1")]
)
def test_kinds_that_are_no_yes_or_no_are_refused(figure, positive, words):
    with pytest.raises(ValueError, match=f"yes or no for each input, boolean or 0 and 1; got values .*{words}"):
        figure(torch.arange(3.0), positive)


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda: auroc(["sure", "unsure"], [0, 1]), TypeError, "score must be a tensor, .* of numbers; got list"),
        (lambda: auroc(np.ones((2, 3)), [0, 1]), ValueError, r"score must be one number .*; got \(2, 3\)"),
        (lambda: auroc([0, 1], [[0, 1]]), ValueError, r"positive must be one number .*; got \(1, 2\)"),
        (lambda: auroc(float("nan"), True), ValueError, "got 1 NaN"),
        (lambda: auroc([0, 1], [0, None]), ValueError, "positive must .*; got 1 NaN, the first at row 1"),
        (lambda: auroc(np.ma.array([1.0, 2.0], mask=[0, 1]), [0, 1]), ValueError, "score must have no masked entries"),
        (lambda: auroc([0, 1], np.ma.array([0, 1], mask=[0, 1])), ValueError, "positive must have no masked entries"),
        (lambda: aurc([0, 1], [0, np.nan]), ValueError, "loss must .*; got 1 NaN, the first at row 1"),
        (lambda: aurocs([0, 1], [0, 1], [1, 1]), ValueError, r"weights must be \(B, N\), .* N = 2; got \(2,\)"),
        (lambda: aurocs([0, 1], [0, 1], [[1, 1, 1]]), ValueError, r"weights must be \(B, N\), .*; got \(1, 3\)"),
    ],
)
def test_what_is_no_score_gets_one_clear_sentence(ask, kind, words):
    with pytest.raises(kind, match=words):
        ask()


def test_scores_with_a_gradient_are_taken():
    assert auroc(torch.tensor([0.0, 1.0], requires_grad=True), torch.tensor([False, True])).item() == 1


@pytest.mark.parametrize("kind", [True, False])
def test_one_kind_alone_has_no_area(kind):
    assert np.isnan(auroc(torch.arange(3.0), torch.full((3,), kind)).item())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), num_values=st.sampled_from([1, 3, 10**6]))
def test_curves_and_their_areas_are_those_of_sklearn(seed, num_values):
    score, positive = scores_and_kinds(seed, num_values)
    false, true, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
    ours = roc_curve(score, positive)
    np.testing.assert_allclose(ours[0], false, rtol=1e-12)
    np.testing.assert_allclose(ours[1], true, rtol=1e-12)
    assert fpr95(score, positive).item() == pytest.approx(false[true >= 0.95][0], rel=1e-12)
    assert aupr(score, positive).item() == pytest.approx(metrics.average_precision_score(positive, score), rel=1e-12)
    assert aupr(-score, ~positive).item() == pytest.approx(
        metrics.average_precision_score(~positive, -score), rel=1e-12
    )


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6), num_values=st.sampled_from([1, 3, 10**6]))
def test_weighted_areas_are_those_of_sklearn(seed, num_values):
    score, positive = scores_and_kinds(seed, num_values)
    weights = torch.randint(4, (7, 40), generator=torch.Generator().manual_seed(seed))
    expected = [metrics.roc_auc_score(positive, score, sample_weight=weight) for weight in weights]
    np.testing.assert_allclose(aurocs(score, positive, weights), expected, rtol=1e-12)


def test_ninety_five_percent_of_twenty_are_nineteen():
    score, positive = torch.arange(40.0).flip(0), torch.arange(40) < 20
    score[20] = 20.5  # a negative above the twentieth positive, below the nineteenth
    assert fpr95(score, positive).item() == 0
    score[20] = 21.5  # above the nineteenth
    assert fpr95(score, positive).item() == 1 / 20


@pytest.mark.parametrize("kind", [True, False])
@pytest.mark.parametrize("figure", [aupr, fpr95])
def test_one_kind_alone_has_no_figure(figure, kind):
    assert np.isnan(figure(torch.arange(3.0), torch.full((3,), kind)).item())


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), num_values=st.sampled_from([1, 3, 10**6]), squared=st.booleans())
def test_risk_and_coverage_are_those_of_inputs_counted_threshold_by_threshold(seed, num_values, squared):
    score, wrong = scores_and_kinds(seed, num_values)
    loss = torch.randn(40, generator=torch.Generator().manual_seed(seed)).square() if squared else wrong
    s, cost = score.numpy(), loss.double().numpy()
    coverage, risk = risk_coverage(score, loss)
    np.testing.assert_allclose(coverage, [np.mean(s <= t) for t in np.unique(s)], rtol=1e-12)
    np.testing.assert_allclose(risk, [cost[s <= t].mean() for t in np.unique(s)], rtol=1e-12)
    assert aurc(score, loss).item() == pytest.approx(np.mean([cost[s <= t].mean() for t in s]), rel=1e-12)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
    assert aurc(score[order], loss[order]).item() == pytest.approx(aurc(score, loss).item(), rel=1e-12)


def test_risk_of_zero_and_one_is_the_precision_of_sklearn():
    # Precision among the inputs that a threshold takes, the surest first, is one less their risk.
    score, wrong = scores_and_kinds(0, 10**6)
    precision, _, _ = metrics.precision_recall_curve(~wrong, -score)
    _, risk = risk_coverage(score, wrong)
    np.testing.assert_allclose(1 - risk.flip(0), precision[:-1], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("score", "loss", "expected"),
    [
        ([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1], 1 / 16),
        ([0.4, 0.3, 0.2, 0.1], [0, 0, 0, 1], (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4),
        ([0.5, 0.5, 0.5, 0.5], [0, 4, 0, 0], 1.0),
    ],
    ids=["the mistake last", "the mistake first", "a score that knows nothing"],
)
def test_risk_worked_out_by_hand(score, loss, expected):
    found = aurc(torch.tensor(score, requires_grad=True), torch.tensor(loss))
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert found.dtype == torch.float64


def test_no_inputs_have_no_risk():
    assert aurc(torch.zeros(0), torch.zeros(0)).isnan()
