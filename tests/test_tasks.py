"""The two tasks against scikit-learn's figures of the same scores."""

import json
import math

import numpy as np
import pytest
import torch
from made_up import (
    CLASSES,
    ELSEWHERE,
    LABELS,
    LOC,
    LOGITS,
    OTHER_LOGITS,
    REALS,
    SCALE,
    TARGETS,
    WIDER,
    N,
    areas,
    class_scores,
    real_scores,
)
from sklearn import metrics
from torch.distributions import Bernoulli, Categorical, Independent, Normal, StudentT
from torch.testing import assert_close

from bayesnn.detected import Detection, Found, detection, resampled
from bayesnn.predictive import Predictive
from bayesnn.rounding import beyond_rounding
from bayesnn.tasks import misclassification, mistakes, out_of_distribution
from bayesnn.uncertainty import all_scores, spreads


def test_mistakes_are_detected_as_sklearn_says():
    probs, scores = class_scores(LOGITS)
    wrong = probs.argmax(1) != LABELS.numpy()
    found = misclassification(CLASSES, LABELS)
    scores = {**{name: score.numpy() for name, score in all_scores(CLASSES).items()}, **scores}
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
    expected = areas(class_scores(LOGITS)[1], class_scores(OTHER_LOGITS)[1])
    assert {name: found.auroc[name] for name in expected} == pytest.approx(expected)
    assert found.auroc.keys() == all_scores(CLASSES).keys()
    assert (found.num_positive, found.num_negative) == (len(ELSEWHERE), N)
    wider = WIDER.members
    reals = out_of_distribution(REALS, WIDER).auroc
    assert reals == pytest.approx(areas(real_scores(LOC, SCALE), real_scores(wider.loc, wider.scale)))


def test_the_same_inputs_are_told_apart_by_chance_and_swapping_mirrors():
    assert out_of_distribution(CLASSES, CLASSES).auroc == pytest.approx(dict.fromkeys(all_scores(CLASSES), 0.5))
    here, there = out_of_distribution(CLASSES, ELSEWHERE).auroc, out_of_distribution(ELSEWHERE, CLASSES).auroc
    assert here == pytest.approx({name: 1 - area for name, area in there.items()})


def test_detection_shows_every_score_and_its_best():
    found = out_of_distribution(CLASSES, ELSEWHERE)
    assert found.best == max(found.auroc.values())
    assert f"25 to find among {N + 25}" in repr(found)
    for name, figures in found.scores.items():
        line = next(line for line in repr(found).splitlines() if line.startswith(name.replace("_", " ")))
        assert f"{figures['auroc']:.3f}" in line
        assert f"{figures['auroc_low']:.3f} to {figures['auroc_high']:.3f}" in line


def test_without_mistakes_there_is_no_area():
    nothing = misclassification(CLASSES, CLASSES.mode)
    assert all(math.isnan(area) for area in nothing.auroc.values())
    assert "nan" not in repr(nothing)


def test_detection_below_chance_says_what_that_means():
    low, high = ({"entropy": {"auroc": area, "aupr": 0.3, "aupr_rest": 0.3, "fpr95": 1.0}} for area in (0.3, 0.6))
    assert "looks more certain" in repr(Detection("task", low, 2, 3))
    assert "looks more certain" not in repr(Detection("task", high, 2, 3))
    assert "looks more certain" not in repr(Detection("task", {**low, "other": high["entropy"]}, 2, 3))


def test_precision_and_false_positives_are_those_of_sklearn():
    found = out_of_distribution(CLASSES, ELSEWHERE).scores
    kind = np.r_[np.zeros(N), np.ones(len(ELSEWHERE))]
    for name, score in class_scores(LOGITS)[1].items():
        joined = np.r_[score, class_scores(OTHER_LOGITS)[1][name]]
        false, true, _ = metrics.roc_curve(kind, joined, drop_intermediate=False)
        assert found[name]["aupr"] == pytest.approx(metrics.average_precision_score(kind, joined))
        assert found[name]["aupr_rest"] == pytest.approx(metrics.average_precision_score(1 - kind, -joined))
        assert found[name]["fpr95"] == pytest.approx(false[true >= 0.95][0])


def test_intervals_are_the_quantiles_of_sklearns_areas_over_the_resamples():
    _, scores = class_scores(LOGITS)
    wrong = CLASSES.mode != LABELS
    found = misclassification(CLASSES, LABELS, num_bootstrap=50)
    weights = resampled(wrong, 50).numpy()
    for name, score in scores.items():
        areas = [metrics.roc_auc_score(wrong, score, sample_weight=weight) for weight in weights]
        expected = np.quantile(areas, [0.025, 0.975])
        assert [found.scores[name][end] for end in ("auroc_low", "auroc_high")] == pytest.approx(expected)


def test_resamples_draw_as_many_of_each_kind_and_are_the_same_each_time():
    positive = torch.arange(30) < 8
    state = torch.get_rng_state()
    weights = resampled(positive, 1000)
    assert torch.get_rng_state().equal(state)
    assert weights.equal(resampled(positive, 1000))
    assert (weights[:, :8].sum(1) == 8).all()
    assert (weights[:, 8:].sum(1) == 22).all()
    # The mean count of each input is 1 within 5 standard errors; its variance is that of a binomial.
    assert ((weights.mean(0) - 1).abs() < 5 / 1000**0.5).all()


def test_intervals_hold_the_true_area_as_often_as_they_say():
    """Normal scores a standard deviation apart, of true area Phi(1 / sqrt 2): 200 trials at 95 %, 5 standard errors."""
    generator, held = torch.Generator().manual_seed(0), 0
    positive = torch.arange(400) < 150
    for _ in range(200):
        score = torch.randn(400, generator=generator) + positive
        found = detection("task", [Found({"score": score}, positive)], 200).scores["score"]
        held += found["auroc_low"] <= 0.7602499 <= found["auroc_high"]
    assert abs(held / 200 - 0.95) < 5 * (0.95 * 0.05 / 200) ** 0.5


def test_large_errors_of_real_targets_are_mistakes():
    found = misclassification(REALS, TARGETS, largest=0.2)
    error = (LOC.mean(0) - TARGETS).abs()
    assert mistakes(REALS, TARGETS, 0.2).nonzero()[:, 0].tolist() == sorted(error.argsort()[-12:].tolist())
    assert (found.num_positive, found.num_negative) == (12, 48)
    assert found.task == "the largest 20 % of errors"
    several = Predictive(Independent(Normal(torch.stack([LOC, 1000 * LOC], 2), 1.0), 1))
    twice = torch.stack([TARGETS, 1000 * TARGETS], 1)
    assert mistakes(several, twice, 0.2).equal(mistakes(REALS, TARGETS, 0.2))  # units do not matter


def test_records_become_frames_json_and_html():
    found = misclassification(CLASSES, CLASSES.mode)
    assert found.to_pandas().loc["entropy"].isna().all()
    assert json.loads(found.to_json())["scores"]["entropy"]["auroc"] is None
    found = out_of_distribution(CLASSES, ELSEWHERE)
    assert found.to_pandas()["auroc"].to_dict() == found.auroc
    assert json.loads(found.to_json())["scores"] == found.scores
    assert f"{found.auroc['entropy']:.3f}" in found._repr_html_()


def test_without_resamples_there_are_no_intervals():
    found = out_of_distribution(CLASSES, ELSEWHERE, num_bootstrap=0)
    assert set(found.scores["entropy"]) == {"auroc", "aupr", "aupr_rest", "fpr95"}
    assert "interval" not in repr(found)


def test_noise_that_is_the_same_everywhere_tells_nothing():
    """Averaged over draws it comes out a digit more or less, by the place of the input."""
    noise, is_outside = torch.full((107,), 0.0832), torch.arange(107) >= 100
    noise[95:100] = torch.nextafter(noise[0], torch.tensor(1.0))
    noise[100:] = torch.nextafter(noise[95], torch.tensor(1.0))
    found = detection("task", [Found({"noise": noise, "other": noise + 1e-5 * is_outside}, is_outside)])
    assert found.auroc == {"noise": 0.5, "other": 1.0}
    assert beyond_rounding(torch.tensor([1.0, 1.0, math.inf])).tolist() == [1.0, 1.0, math.inf]
    assert beyond_rounding(torch.tensor([1e-9, 2e-9])).unique().numel() == 2
    assert beyond_rounding(torch.tensor([1e-9, 2e-9]), torch.tensor([1.0, 1.0])).unique().numel() == 1
    assert beyond_rounding(torch.tensor([1e-9, 2e-9]), torch.tensor([math.inf, 1e-9])).unique().numel() == 2


@pytest.mark.parametrize("factor", [1.0, 1e7, 1e12])
def test_one_input_far_out_decides_nothing_about_the_others(factor):
    torch.manual_seed(0)
    inside, outside = torch.randn(10, 200, 3) * 0.3 + torch.tensor([4.0, 0, 0]), 1.5 * torch.randn(10, 200, 3)
    outside[:, 0] *= factor
    here, there = (Predictive(Categorical(logits=logits)) for logits in (inside, outside))
    found = out_of_distribution(here, there, num_bootstrap=0).auroc
    assert min(area for name, area in found.items() if name not in ("variation_ratio", "zero_one_epistemic")) > 0.95
    here, there = (
        Predictive(Normal(logits[..., 0], logits[..., 1].exp().clamp(1e-3, 1e15))) for logits in (inside, outside)
    )
    assert out_of_distribution(here, there, num_bootstrap=0).auroc["epistemic"] > 0.95


@pytest.mark.parametrize("unit", [1.0, 1e7])
def test_units_do_not_decide_about_the_entropy_of_a_process(unit):
    torch.manual_seed(0)
    noise = torch.rand(40) * unit + unit
    here, there = (
        Predictive(Normal(torch.zeros(1, 40), scale[None]), Normal(torch.zeros(40), scale))
        for scale in (noise, 3 * noise)
    )
    assert out_of_distribution(here, there, num_bootstrap=0).auroc["entropy"] == 1


@pytest.mark.parametrize("number", [1, 3, 10, 100])
def test_draws_that_are_all_the_same_know_nothing_of_strangers(number):
    """What is left of two entropies, or of two variances, is rounding."""
    torch.manual_seed(number)
    logits = torch.randn(200, 5)
    here, there = (
        Predictive(Categorical(logits=one.expand(number, 200, 5).clone())) for one in (logits, 2 * logits.flip(0))
    )
    found = out_of_distribution(here, there).auroc
    zero = ("mutual_information", "expected_pairwise_kl", "brier_epistemic", "variation_ratio", "zero_one_epistemic")
    assert {name: found[name] for name in zero} == dict.fromkeys(zero, 0.5)
    assert found["entropy"] != 0.5
    here, there = (Predictive(Normal(y.expand(number, 200).clone(), 1.0)) for y in (logits[:, 0], 5 + logits[:, 1]))
    assert out_of_distribution(here, there).auroc["epistemic"] == 0.5


def test_a_score_without_a_value_has_no_area():
    cauchy = Predictive(StudentT(torch.ones(1, 4), 0.0, 1.0))
    found = out_of_distribution(cauchy, cauchy)
    assert all(math.isnan(value) for figures in found.scores.values() for value in figures.values())
    assert found.scores.keys() == {"total", "aleatoric", "epistemic"}
    repr(found)


def test_units_of_several_targets_do_not_matter():
    torch.manual_seed(0)
    loc, scale = torch.randn(20, 400, 2) * torch.rand(400, 2), torch.rand(20, 400, 2) + 0.1
    y, found = loc.mean(0) + scale.mean(0) * torch.randn(400, 2), []
    for unit in (torch.tensor([1.0, 1.0]), torch.tensor([1.0, 1024.0])):
        here, there = (Predictive(Independent(Normal(unit * m, unit * scale), 1)) for m in (loc, 2 * loc))
        found.append((misclassification(here, unit * y).auroc, out_of_distribution(here, there).auroc))
    assert found[0][0] == pytest.approx(found[1][0])
    assert found[0][1] == pytest.approx(found[1][1])


def test_spreads_are_those_of_samples():
    torch.manual_seed(0)
    loc, scale = torch.randn(5, 30, 2), torch.rand(5, 30, 2) + 0.5
    predictive = Predictive(Independent(Normal(loc, scale), 1))
    drawn = predictive.sample((20_000,)).flatten(0, 1).double()
    # A standard deviation of n normal numbers has a standard error of 1 / sqrt(2 n), of a mixture somewhat more.
    assert_close(spreads(predictive).double(), drawn.std(0), rtol=5 / (2 * len(drawn)) ** 0.5, atol=0)
    whole, without = spreads(predictive), spreads(predictive[1:])
    loc[0, 0, 0] = math.inf  # of the first target, which leaves the other one as it was
    assert_close(spreads(predictive), torch.stack([without[0], whole[1]]))
    assert spreads(CLASSES) is None


@pytest.mark.parametrize("number", [1, 19, -1, 2.5])
def test_too_few_resamples_are_refused(number):
    with pytest.raises(ValueError, match="num_bootstrap must be 20 or more"):
        misclassification(CLASSES, LABELS, num_bootstrap=number)


# Several fits


FITS = [CLASSES, Predictive(Categorical(logits=LOGITS.flip(0) * 0.5)), Predictive(Categorical(logits=LOGITS[:2]))]
FITS_LOGITS = [LOGITS, LOGITS.flip(0) * 0.5, LOGITS[:2]]
STRANGERS = [Predictive(Categorical(logits=logits)) for logits in (OTHER_LOGITS, OTHER_LOGITS * 0.5, OTHER_LOGITS[:2])]


@pytest.mark.parametrize("task", [lambda p: misclassification(p, LABELS), lambda p: out_of_distribution(p, p)])
def test_a_list_of_one_fit_is_that_fit(task):
    alone = task(CLASSES)
    assert task([CLASSES]).scores == alone.scores
    assert repr(task((CLASSES,))) == repr(alone)


def test_figures_of_several_fits_are_means_and_sample_deviations():
    found, each = misclassification(FITS, LABELS), [misclassification(fit, LABELS) for fit in FITS]
    assert found.num_fits == 3
    assert found.num_positive == round(np.mean([one.num_positive for one in each]))
    assert found.num_positive + found.num_negative == N
    for name, figures in found.scores.items():
        for figure in ("auroc", "aupr", "aupr_rest", "fpr95"):
            values = [one.scores[name][figure] for one in each]
            assert figures[figure] == pytest.approx(np.mean(values))
            assert figures[f"{figure}_sd"] == pytest.approx(np.std(values, ddof=1))
        line = next(line for line in repr(found).splitlines() if line.startswith(name.replace("_", " ")))
        assert f"{figures['auroc']:.3f} ± {figures['auroc_sd']:.3f}" in line
    assert "mean ± standard deviation of 3 fits" in repr(found)
    assert found.to_pandas().loc["entropy", "fpr95_sd"] == found.scores["entropy"]["fpr95_sd"]


def test_the_interval_of_several_fits_is_that_of_their_mean_over_the_same_resamples():
    """Mistakes are other inputs for each fit, so all inputs are drawn together; strangers are the same for all."""
    entropies = [class_scores(logits)[1]["entropy"] for logits in FITS_LOGITS]
    wrongs = [(fit.mode != LABELS).numpy() for fit in FITS]
    ends = ("auroc_low", "auroc_high")
    weights = resampled(torch.ones(N) > 0, 50).numpy()
    areas_of = [
        [
            metrics.roc_auc_score(wrong, score, sample_weight=weight)
            for wrong, score in zip(wrongs, entropies, strict=True)
        ]
        for weight in weights
    ]
    found = misclassification(FITS, LABELS, num_bootstrap=50).scores["entropy"]
    expected = np.quantile(np.mean(areas_of, 1), [0.025, 0.975])
    assert [found[end] for end in ends] == pytest.approx(expected)

    is_outside = np.arange(N + len(ELSEWHERE)) >= N
    weights = resampled(torch.from_numpy(is_outside), 50).numpy()
    joined = [
        np.r_[class_scores(here)[1]["entropy"], class_scores(there.members.logits)[1]["entropy"]]
        for here, there in zip(FITS_LOGITS, STRANGERS, strict=True)
    ]
    areas_of = [[metrics.roc_auc_score(is_outside, score, sample_weight=w) for score in joined] for w in weights]
    found = out_of_distribution(FITS, STRANGERS, num_bootstrap=50).scores["entropy"]
    expected = np.quantile(np.mean(areas_of, 1), [0.025, 0.975])
    assert [found[end] for end in ends] == pytest.approx(expected)


def test_a_fit_with_nothing_to_find_is_left_out_of_the_means():
    right = Predictive(Categorical(logits=50.0 * torch.nn.functional.one_hot(LABELS, LOGITS.shape[-1])[None]))
    found, alone = misclassification([CLASSES, right], LABELS), misclassification(CLASSES, LABELS)
    assert found.auroc == pytest.approx(alone.auroc)
    assert math.isnan(found.scores["entropy"]["auroc_sd"])
    assert found.scores["entropy"]["auroc_low"] < alone.auroc["entropy"] < found.scores["entropy"]["auroc_high"]
    assert f"{alone.auroc['entropy']:.3f} ±" not in repr(found)
    nothing = misclassification([right, right], LABELS)
    assert all(math.isnan(area) for area in nothing.auroc.values())


def test_intervals_of_several_fits_hold_the_true_mean_area_as_often_as_they_say():
    """Two fits that see the same inputs, so that their areas move together: 200 trials at 95 %, 5 standard errors."""
    generator, held = torch.Generator().manual_seed(0), 0
    for _ in range(200):
        positive = torch.rand(400, generator=generator) < 0.4
        common = torch.randn(400, generator=generator)
        fits = [
            Found({"score": common + 0.1 * torch.randn(400, generator=generator) + positive}, positive) for _ in "ab"
        ]
        found = detection("task", fits, 200).scores["score"]
        held += found["auroc_low"] <= 0.75934 <= found["auroc_high"]  # Phi(1 / sqrt(2 * 1.01))
    assert abs(held / 200 - 0.95) < 5 * (0.95 * 0.05 / 200) ** 0.5


def test_fits_of_other_inputs_are_refused():
    with pytest.raises(
        ValueError, match=r"several fits must have predicted the same inputs; got .* and .*posterior\(x\)"
    ):
        misclassification([CLASSES, CLASSES[:5]], LABELS)
    with pytest.raises(ValueError, match="several fits must have predicted the same inputs"):
        misclassification([CLASSES, REALS], LABELS)
    with pytest.raises(ValueError, match="by the same fits; got 3 and 2 of them"):
        out_of_distribution(FITS, STRANGERS[:2])
    with pytest.raises(ValueError, match="the predictive of one fit at least; got none"):
        misclassification([], LABELS)
    with pytest.raises(TypeError, match="this needs a Predictive; got int"):
        misclassification([CLASSES, 3], LABELS)
    with pytest.raises(TypeError, match="this needs a Predictive; got Tensor"):
        misclassification(LOGITS, LABELS)


def test_fits_may_come_in_any_order_of_things():
    listed = misclassification(FITS, LABELS, num_bootstrap=0).scores
    assert misclassification(dict(enumerate(FITS)).values(), LABELS, num_bootstrap=0).scores == listed
    assert misclassification((fit for fit in FITS), LABELS, num_bootstrap=0).scores == listed
