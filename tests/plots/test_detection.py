"""Histograms and curves of detection, read back from their artists, against numpy and scikit-learn."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import CLASSES, LOC, REALS, SCALE, SCORES, N, S, random
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon
from sklearn import metrics
from torch.distributions import Independent, Normal

from bayesnn.plots import COLOURS, detection_histogram, risk_coverage_curve, roc
from bayesnn.predictive import Predictive
from bayesnn.uncertainty import all_scores, decompose


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_histograms_are_shares_of_all_inputs(dtype, seed):
    inside, outside = random(50, seed=seed).abs().to(dtype), random(30, seed=seed + 9).abs().to(dtype)
    ax = detection_histogram(inside, outside, score="entropy")
    for bars, values in zip(ax.containers, (inside, outside), strict=True):
        edges = [bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()]
        heights = [bar.get_height() for bar in bars]
        assert sum(heights) == pytest.approx(1)
        # An edge read back may be off by rounding: count up to a hair above it.
        below = [float((values < edge + 1e-6).double().mean()) for edge in edges[1:]]
        assert np.cumsum(heights) == pytest.approx(below, abs=1e-6)
    assert ax.get_xlabel() == "entropy (nats)"


def test_histograms_have_the_colours_of_their_worlds_and_the_unit_told():
    ax = detection_histogram(*SCORES, score="total", unit="metres")
    assert ax.get_xlabel() == "total (metres)"
    assert [to_rgb(bars[0].get_facecolor()[:3]) for bars in ax.containers] == [
        to_rgb(COLOURS["inside"]),
        to_rgb(COLOURS["outside"]),
    ]


@pytest.mark.parametrize(
    ("score", "unit", "labels"),
    [
        ("epistemic", " (units of y)", ["like the training data", "from elsewhere"]),
        ("mutual_information", " (nats)", ["known classes", "never seen"]),
        ("expected pairwise KL", " (nats)", ["known classes", "never seen"]),
        ("max_probability", "", ["known classes", "never seen"]),
    ],
)
def test_units_and_labels_are_those_of_the_score_unless_told(score, unit, labels):
    ax = detection_histogram(*SCORES, score=score)
    assert ax.get_xlabel() == score + unit
    assert [text.get_text() for text in ax.get_legend().get_texts()] == labels
    ax = detection_histogram(*SCORES, score=score, unit="spreads", labels=["digits", "letters"])
    assert ax.get_xlabel() == f"{score} (spreads)"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["digits", "letters"]


@pytest.mark.parametrize("score", ["total", "aleatoric", "epistemic"])
def test_scores_of_numbers_are_in_units_of_y(score):
    assert score in all_scores(REALS)
    assert detection_histogram(*SCORES, score=score).get_xlabel() == f"{score} (units of y)"


@pytest.mark.parametrize("labels", ["ab", ["digits"], ("a", "b", "c")])
def test_labels_are_two(labels):
    with pytest.raises(ValueError, match=r"labels must be two, of inside and of outside; got .*Write labels="):
        detection_histogram(*SCORES, score="entropy", labels=labels)


def outlines(ax):
    return [patch for patch in ax.patches if isinstance(patch, Polygon)]


def test_both_histograms_can_be_seen_where_they_overlap():
    ax = detection_histogram(*SCORES, score="entropy")
    assert all(0 < bar.get_alpha() < 1 for bars in ax.containers for bar in bars)
    for bars, line, world in zip(ax.containers, outlines(ax), ("inside", "outside"), strict=True):
        assert to_rgb(line.get_edgecolor()[:3]) == to_rgb(COLOURS[world])
        assert not line.get_fill()
        corners = line.get_path().vertices
        for bar in bars:
            middle = bar.get_x() + bar.get_width() / 2
            above = [
                y
                for (x, y), (x_next, y_next) in pairwise(corners.tolist())
                if y == y_next and min(x, x_next) < middle < max(x, x_next)
            ]
            assert max(above) == pytest.approx(bar.get_height())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["known classes", "never seen"]
    keys = [to_rgb(patch.get_edgecolor()[:3]) for patch in ax.get_legend().get_patches()]
    assert keys == [to_rgb(COLOURS["inside"]), to_rgb(COLOURS["outside"])]


@pytest.mark.parametrize(
    ("inside", "outside", "words"),
    [
        (torch.zeros(5), torch.zeros(3), "0 everywhere"),
        (torch.full((5,), -1e-17), torch.tensor([1e-16, 0.0]), "0 everywhere"),
        (torch.full((5,), 2.0).log(), torch.full((3,), 2.0).log(), "0.693 everywhere"),
    ],
    ids=["zero", "rounding", "log 2"],
)
def test_scores_that_are_all_equal_are_told_in_words_instead_of_bars(inside, outside, words):
    ax = detection_histogram(inside, outside, score="mutual information")
    assert [text.get_text() for text in ax.texts] == [words]
    assert not ax.containers
    assert not ax.patches
    assert ax.get_xlabel() == "mutual information (nats)"
    ax.figure.canvas.draw()


def test_scores_that_are_equal_within_each_world_only_have_bars():
    ax = detection_histogram(torch.zeros(5), torch.full((3,), 1e-6), score="mutual information")
    assert not ax.texts
    heights = [[bar.get_height() for bar in bars] for bars in ax.containers]
    assert [np.flatnonzero(h).tolist() for h in heights] == [[0], [29]]
    assert [sum(h) for h in heights] == pytest.approx([1, 1])


@pytest.mark.parametrize("empty", [0, 1])
def test_a_histogram_of_nothing_is_refused(empty):
    with pytest.raises(ValueError, match="one score of each kind at least"):
        detection_histogram(*(torch.zeros(0 if number == empty else 3) for number in (0, 1)), score="entropy")


@pytest.mark.parametrize("name", ["inside", "outside"])
@pytest.mark.parametrize(("bad", "words"), [(np.nan, "got 1 NaN, the first at row 1"), (np.inf, "infinity in 1 of 3")])
def test_a_histogram_of_what_is_not_finite_is_refused(name, bad, words):
    values = {"inside": np.ones(3), "outside": np.zeros(3)}
    values[name][1] = bad
    with pytest.raises(ValueError, match=f"{name} must be .*{words}"):
        detection_histogram(**values, score="entropy")


def test_roc_is_the_curve_of_sklearn():
    positive = torch.arange(80) >= 50
    by_score = {"entropy": torch.cat(SCORES).double(), "mutual_information": random(80, seed=5)}
    ax = roc(by_score, positive)
    for line, (name, score) in zip(ax.lines, by_score.items(), strict=False):
        false, true, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
        np.testing.assert_allclose(line.get_xdata(), false)
        np.testing.assert_allclose(line.get_ydata(), true)
        area = metrics.roc_auc_score(positive, score)
        assert line.get_label() == f"{name.replace('_', ' ')}: {area:.3f}"
    assert to_rgb(ax.lines[1].get_color()) == to_rgb(COLOURS["epistemic"])


@pytest.mark.parametrize(
    ("by_score", "positive", "kind", "words"),
    [
        (torch.ones(3), [True, False, True], TypeError, "scores must have names; got Tensor"),
        ({"entropy": torch.ones(3)}, [True, False], ValueError, r"'entropy' has shape \(3,\), the kinds \(2,\)"),
        ({"entropy": torch.ones(2)}, [True, True], ValueError, "needs inputs of both kinds; all are of one"),
        ({"entropy": torch.ones(2)}, [3, 0], ValueError, "yes or no for each input, .* got values from 0 to 3"),
        ({"entropy": torch.tensor([1, torch.nan])}, [True, False], ValueError, "'entropy' must be .*; got 1 NaN"),
        ({}, [True, False], ValueError, "one score at least; got none"),
    ],
)
def test_a_roc_that_cannot_be_drawn_gets_one_clear_sentence(by_score, positive, kind, words):
    with pytest.raises(kind, match=words):
        roc(by_score, torch.tensor(positive))


def test_scores_have_the_colour_of_the_part_they_measure_and_a_line_of_their_own():
    by_score = all_scores(CLASSES)
    drawn = {name: (line.get_linestyle(), to_rgb(line.get_color())) for name, line in
             zip(by_score, roc(by_score, torch.arange(N) < 7).lines, strict=False)}  # fmt: skip
    parts = {"total": {"max_probability", "entropy", "brier_total"}}
    parts["aleatoric"] = {"expected_entropy", "brier_aleatoric", "zero_one_aleatoric"}
    parts["epistemic"] = {"mutual_information", "expected_pairwise_kl", "brier_epistemic", "zero_one_epistemic"}
    for part, names in parts.items():
        assert {name for name, (_, colour) in drawn.items() if colour == to_rgb(COLOURS[part])} == names
    assert len(set(drawn.values())) == len(by_score)


def test_a_dozen_scores_of_no_part_have_lines_of_their_own():
    lines = roc({f"number {i}": random(N, seed=i) for i in range(12)}, torch.arange(N) < 7).lines[:12]
    assert len({(line.get_linestyle(), to_rgb(line.get_color())) for line in lines}) == 12


@pytest.mark.parametrize("kind", [np.array, list, pd.Series, lambda v: pd.Series(v, index=[7, 8, 9])])
def test_scores_may_be_arrays_lists_and_series(kind):
    for positive in ([False, True, True], [0, 1, 1]):
        line = roc({"mine": kind([0.1, 0.4, 0.3])}, kind(positive)).lines[0]
        assert line.get_label() == "mine: 1.000"
    values = [0.5, 1.5, 3.0], [2.0, 3.0, 3.0]
    drawn, expected = (
        [[bar.get_height() for bar in bars] for bars in detection_histogram(*scores, score="mi").containers]
        for scores in (map(kind, values), map(torch.tensor, values))
    )
    assert drawn == expected
    assert drawn[1][-1] == pytest.approx(2 / 3)


def test_what_is_kept_is_at_risk_as_by_sorting():
    labels = torch.arange(N) % 3
    ax = risk_coverage_curve(CLASSES, labels, names=["entropy"])
    score = decompose(CLASSES).total.numpy()
    wrong = (CLASSES.probs.argmax(-1) != labels).double().numpy()
    sorted_losses = wrong[np.argsort(score)]
    kept = np.arange(1, N + 1)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), kept / N)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), sorted_losses.cumsum() / kept)
    assert ax.lines[0].get_label() == f"entropy: {(sorted_losses.cumsum() / kept).mean():.3g}"
    best = np.sort(wrong).cumsum() / kept
    np.testing.assert_allclose(ax.lines[1].get_ydata(), best)
    assert ax.lines[1].get_label() == f"best order there is: {best.mean():.3g}"
    assert ax.lines[2].get_ydata()[0] == pytest.approx(wrong.mean())
    assert ax.lines[2].get_label() == f"at random: {wrong.mean():.3g}"
    assert ax.get_ylabel() == "error rate of what is kept"


def test_the_risk_of_numbers_is_their_squared_error():
    y = random(N, seed=7)
    ax = risk_coverage_curve(REALS, y)
    squares = (LOC.mean(0) - y).square().numpy()
    assert [line.get_label().split(":")[0] for line in ax.lines[:3]] == ["total", "aleatoric", "epistemic"]
    for line in ax.lines[:3]:
        assert line.get_ydata()[-1] == pytest.approx(squares.mean())
    kept = np.arange(1, N + 1)
    np.testing.assert_allclose(ax.lines[3].get_ydata(), np.sort(squares).cumsum() / kept)
    assert ax.get_ylabel() == "mean squared error (squared units of y)"
    column = risk_coverage_curve(Predictive(Independent(Normal(LOC[..., None], SCALE[..., None]), 1)), y[:, None])
    for line, same in zip(column.lines, ax.lines, strict=True):
        np.testing.assert_allclose(line.get_ydata(), same.get_ydata())
    assert column.get_ylabel() == ax.get_ylabel()


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_the_risk_of_several_targets_is_told_in_their_own_units(unit):
    units = torch.tensor([1.0, unit]).double()
    loc, scale = random(S, N, 2, seed=3), random(S, N, 2, seed=4).exp()
    y = random(N, 2, seed=5)
    ax = risk_coverage_curve(Predictive(Independent(Normal(units * loc, units * scale), 1)), units * y)
    squares = ((loc.mean(0) - y) / y.std(0)).square().mean(1).numpy()
    noise, place = scale.square().mean(0).numpy(), loc.numpy()
    parts = {"total": noise + place.var(0), "aleatoric": noise, "epistemic": place.var(0)}
    whole = (noise + place.var(0)).mean(0) + place.mean(0).var(0)
    kept = np.arange(1, N + 1)
    for line, (name, part) in zip(ax.lines, parts.items(), strict=False):
        assert line.get_label().startswith(f"{name}:")
        expected = squares[np.argsort((part / whole).mean(1))].cumsum() / kept
        np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-9)
    assert ax.get_ylabel() == "mean squared error (each target's variance)"


LABELS = torch.zeros(N).long()


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (
            lambda: risk_coverage_curve(CLASSES, LABELS, names=["doubt"]),
            ValueError,
            r"names must be among max_probability, entropy.*; got 'doubt'",
        ),
        (lambda: risk_coverage_curve(CLASSES, LABELS[1:]), ValueError, "one row per input"),
        (lambda: risk_coverage_curve(CLASSES, LOC[0]), ValueError, "class labels must be whole numbers"),
        (lambda: risk_coverage_curve(lambda x: CLASSES, LABELS), TypeError, "needs a Predictive"),
    ],
    ids=["no score", "other targets", "numbers for classes", "no predictive"],
)
def test_a_risk_that_cannot_be_drawn_gets_one_clear_sentence(ask, kind, words):
    with pytest.raises(kind, match=words):
        ask()


def test_noise_that_is_the_same_everywhere_tells_nothing():
    torch.manual_seed(0)
    noise = torch.rand(30, 1) + 0.5
    predictive = Predictive(Normal(torch.randn(30, 590), noise.expand(30, 590)))
    same = torch.nextafter(predictive.members.stddev[:1, :], torch.tensor(9.0))[0]
    same[:77] = predictive.members.stddev[0, 0]
    words = roc({"aleatoric": same}, torch.arange(590) >= 77).get_legend().get_texts()[0].get_text()
    assert words == "aleatoric: 0.500"
    y = torch.randn(590)
    at_random = float((predictive.mean - y).square().mean())
    words = risk_coverage_curve(predictive, y, names=["aleatoric"]).get_legend().get_texts()
    assert words[0].get_text() == f"aleatoric: {at_random:.3g}"
