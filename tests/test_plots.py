"""Plots, read back from their artists: what is drawn is what was computed, by numpy."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from torch.distributions import Categorical, Independent, Normal

from bayesnn import plots
from bayesnn.plots import COLOURS, detection_histogram, elbo_curve, regression_bands, uncertain_pictures
from bayesnn.predictive import Predictive
from bayesnn.training import History
from bayesnn.uncertainty import decompose

S, N = 6, 20


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, LOC, SCALE = 10 * random(N), 5 + random(S, N, seed=1), 0.5 + random(S, N, seed=2).square()
REALS = Predictive(Normal(LOC, SCALE))
CLASSES = Predictive(Categorical(logits=3 * random(S, N, 3)))
PICTURES = random(N, 4, 4, seed=3).float() * torch.arange(1.0, N + 1)[:, None, None] + 7
SCORES = random(50).abs().float(), random(30, seed=1).abs().float() + 1


def history(misfit, kl):
    return History([{"loss": m + k, "misfit": m, "kl": k} for m, k in zip(misfit, kl, strict=True)], 1.0, False)


FITS = {
    "settling": history([2 * 0.9**i + 0.2 for i in range(60)], [1.5 * i / 60 for i in range(60)]),
    "two epochs": history([1.9, 1.4], [0.3, 0.3]),
    "one epoch": history([2.0], [0.3]),
    "a density above one": history([2 * 0.9**i - 1.5 for i in range(60)], [0.5 * i / 60 for i in range(60)]),
    "standing still above zero": history([-8.0] * 9, [0.3] * 9),
}
PLOTS = {
    "regression_bands": lambda ax: regression_bands(X, REALS, data=(X, LOC[0]), ax=ax),
    "detection_histogram": lambda ax: detection_histogram(*SCORES, score="entropy", ax=ax),
    "elbo_curve": lambda ax: elbo_curve(FITS["settling"], ax=ax),
}


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_a_plot_is_drawn_where_told_with_labels_and_a_legend(plot):
    ax = Figure().subplots()
    assert plot(ax) is ax
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    assert len(ax.get_legend().get_texts()) > 1
    ax.figure.canvas.draw()


@pytest.mark.parametrize("plot", PLOTS.values(), ids=PLOTS)
def test_a_plot_of_its_own_leaves_no_figure_open(plot):
    ax = plot(None)
    assert ax.figure.axes == [ax]
    assert plt.get_fignums() == []


def test_colours_are_told_apart():
    assert len({to_rgb(colour) for colour in COLOURS.values()}) == len(COLOURS)


def band(ax, number):
    """Lower and upper edge of a band by x."""
    points = ax.collections[number].get_paths()[0].vertices
    return {x: (points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()) for x in X.tolist()}


@pytest.mark.parametrize("x", [X, X[:, None], X.numpy()], ids=["vector", "column", "array"])
def test_bands_are_two_standard_deviations_around_the_mean(x):
    ax = regression_bands(x, REALS)
    mean, epistemic = LOC.numpy().mean(0), LOC.numpy().std(0)
    total = np.sqrt((SCALE.numpy() ** 2).mean(0) + epistemic**2)
    assert total == pytest.approx(REALS.stddev.numpy())
    for number, sd in enumerate((total, epistemic)):
        edges = zip(mean - 2 * sd, mean + 2 * sd, strict=True)
        assert band(ax, number) == {at: pytest.approx(edge) for at, edge in zip(X.tolist(), edges, strict=True)}
    line = ax.lines[0]
    assert (np.diff(line.get_xdata()) > 0).all()
    assert dict(zip(*line.get_data(), strict=True)) == pytest.approx(dict(zip(X.tolist(), mean, strict=True)))
    assert len(ax.lines) == 1


def test_bands_show_the_data_and_the_colours_of_their_parts():
    ax = PLOTS["regression_bands"](None)
    assert [to_rgb(part.get_facecolor()[0][:3]) for part in ax.collections] == [
        to_rgb(COLOURS["aleatoric"]),
        to_rgb(COLOURS["epistemic"]),
    ]
    assert all("2 sd" in part.get_label() for part in ax.collections)
    assert np.array_equal(np.array(ax.lines[1].get_data()), np.stack([X, LOC[0]]))


def test_one_draw_has_no_epistemic_band():
    edges = band(regression_bands(X, Predictive(Normal(LOC[:1], SCALE[:1]))), 1)
    assert all(lower == upper for lower, upper in edges.values())


def test_bands_of_a_single_column_are_those_of_the_vector():
    column = Predictive(Independent(Normal(LOC[..., None], SCALE[..., None]), 1))
    for number in (0, 1):
        found, expected = (band(regression_bands(X, drawn), number) for drawn in (column, REALS))
        assert found == {at: pytest.approx(edges) for at, edges in expected.items()}


@pytest.mark.parametrize(
    ("x", "loc", "words"),
    [
        (X, torch.stack([LOC, LOC], -1), "one target; the predictive has 2"),
        (random(N, 2), LOC, rf"one number each, N = {N}; got \({N}, 2\)"),
        (X[:-3], LOC, rf"N = {N}; got \({N - 3},\)"),
    ],
    ids=["two targets", "two inputs", "other inputs"],
)
def test_bands_that_cannot_be_drawn_get_one_clear_sentence(x, loc, words):
    with pytest.raises(ValueError, match=words):
        regression_bands(x, Predictive(Independent(Normal(loc, 1.0), loc.ndim - 2)))


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


def scaled(picture):
    picture = picture.double().numpy()
    return (picture - picture.min()) / (picture.max() - picture.min())


@pytest.mark.parametrize("num_pictures", [1, 5, 7, 12, 30])
def test_the_most_uncertain_pictures_come_first(num_pictures):
    figure = uncertain_pictures(PICTURES, CLASSES, num_pictures=num_pictures)
    shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]
    order = np.argsort(-CLASSES.entropy().numpy())[:num_pictures]
    assert len(shown) == min(num_pictures, N)
    assert np.stack(shown) == pytest.approx(np.stack([scaled(PICTURES[i]) for i in order]), abs=1e-12)
    assert all(ax.images[0].get_clim() == (0, 1) for ax in figure.axes if ax.images)
    figure.canvas.draw()
    assert plt.get_fignums() == []


def test_pictures_carry_what_was_said_what_they_are_and_both_parts():
    truth = [f"is {i}" for i in range(N)]
    figure = uncertain_pictures(PICTURES, CLASSES, num_pictures=8, truth=truth, classes=("cat", "dog", "cow"))
    order = np.argsort(-CLASSES.entropy().numpy())[:8]
    guesses = CLASSES.probs.argmax(1).numpy()
    titles = [ax.get_title() for ax in figure.axes if ax.images]
    assert titles == [f"said {('cat', 'dog', 'cow')[guesses[i]]}: is {i}" for i in order]
    parts = decompose(CLASSES)
    bars = [ax for ax in figure.axes if ax.patches]
    for ax, i in zip(bars, order, strict=True):
        aleatoric, epistemic = ax.patches
        assert aleatoric.get_width() == pytest.approx(parts.aleatoric[i].item())
        assert epistemic.get_x() == pytest.approx(aleatoric.get_width())
        assert epistemic.get_width() == pytest.approx(parts.epistemic[i].item())
        assert to_rgb(aleatoric.get_facecolor()[:3]) == to_rgb(COLOURS["aleatoric"])
        assert to_rgb(epistemic.get_facecolor()[:3]) == to_rgb(COLOURS["epistemic"])
        assert ax.texts[0].get_text().endswith("nats")
    assert len({ax.get_xlim() for ax in bars}) == 1  # one scale for all bars


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_may_have_channels(channels):
    pictures = 3 * torch.rand(N, channels, 4, 5) + torch.arange(channels)[:, None, None]
    figure = uncertain_pictures(pictures, CLASSES, num_pictures=1)
    first = np.moveaxis(scaled(pictures[CLASSES.entropy().argmax()]), 0, -1).squeeze()
    assert np.asarray(figure.axes[0].images[0].get_array()) == pytest.approx(first, abs=1e-12)
    figure.canvas.draw()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
def test_pictures_of_one_grey_and_of_whole_numbers_are_shown(dtype):
    pictures = torch.full((N, 4, 4), 7, dtype=dtype)
    pictures[::2, 1, 2] = 250
    figure = uncertain_pictures(pictures, CLASSES, num_pictures=6)
    shown = [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images]
    peak = np.zeros((4, 4))
    peak[1, 2] = 1
    order = np.argsort(-CLASSES.entropy().numpy())[:6]
    assert set(order % 2) == {0, 1}
    expected = [peak if i % 2 == 0 else 0 * peak for i in order]
    assert np.array_equal(np.stack(shown), np.stack(expected))
    figure.canvas.draw()


def test_pictures_nobody_is_uncertain_of_are_shown_too():
    sure = Predictive(Categorical(logits=torch.tensor([1000.0, 0.0]).expand(S, N, 2)))
    figure = uncertain_pictures(PICTURES, sure, num_pictures=2)
    assert sum(len(ax.images) for ax in figure.axes) == 2


@pytest.mark.parametrize(
    ("pictures", "options"),
    [(PICTURES[:-3], {}), (PICTURES.flatten(1), {}), (PICTURES, {"num_pictures": 0}), (PICTURES, {"truth": ["is 1"]})],
    ids=["other pictures", "flat", "none", "truth of one"],
)
def test_pictures_that_cannot_be_shown_get_one_clear_sentence(pictures, options):
    with pytest.raises(ValueError, match=r"picture|truth"):
        uncertain_pictures(pictures, CLASSES, **options)


@pytest.mark.parametrize("fit", FITS.values(), ids=FITS)
def test_the_curve_is_the_sum_of_its_terms_and_every_line_can_be_seen(fit):
    ax = elbo_curve(fit)
    lines = {line.get_label(): np.array(line.get_ydata()) for line in ax.lines}
    assert lines["ELBO"] == pytest.approx(-np.array(fit["loss"]))
    assert lines["expected log-likelihood"] + lines["−KL"] == pytest.approx(lines["ELBO"])
    assert all(list(line.get_xdata()) == list(range(1, len(fit.epochs) + 1)) for line in ax.lines)
    assert "nats" in ax.get_ylabel()
    bottom, top = ax.get_ylim()
    for line in ax.lines:
        inside = (bottom < np.array(line.get_ydata())) & (np.array(line.get_ydata()) < top)
        assert inside[len(inside) // 2 :].any(), line.get_label()
        assert len(inside) > 1 or line.get_marker() not in ("None", "", None)


def test_the_terms_of_the_curve_are_told_by_the_line_not_by_a_colour_of_some_part():
    ax = elbo_curve(FITS["settling"])
    assert len(ax.lines) == len({line.get_linestyle() for line in ax.lines}) == 3
    assert len({to_rgb(line.get_color()) for line in ax.lines}) == 1
    told = [text.get_text() for text in ax.get_legend().get_texts()]
    assert told == [line.get_label() for line in ax.lines] == ["ELBO", "expected log-likelihood", "−KL"]
    assert [key.get_linestyle() for key in ax.get_legend().get_lines()] == [line.get_linestyle() for line in ax.lines]


@pytest.mark.parametrize("epochs", [[{"loss": 1.0, "misfit": 1.0}], []], ids=["map", "no epoch"])
def test_a_fit_without_a_kl_has_no_curve(epochs):
    with pytest.raises(ValueError, match=r"elbo_curve needs the history of a variational fit"):
        elbo_curve(History(epochs, 1.0, False))


def test_predictions_against_the_truth_show_mean_and_interval():
    normal = Normal(torch.tensor([[1.0, 2.0], [3.0, 2.0]]), 1.0)
    predictive = Predictive(normal)
    ax = plots.predicted_against_true(predictive, torch.tensor([1.5, 2.5]), level=0.5)
    marks = ax.collections[-1].get_offsets()
    np.testing.assert_allclose(marks, [[1.5, 2.0], [2.5, 2.0]], rtol=1e-6)
    low, high = predictive.interval(0.5)
    found = np.array(ax.collections[0].get_segments())
    np.testing.assert_allclose(found[:, :, 1], torch.stack([low, high], 1), rtol=1e-6)
    assert "50 % interval" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_predictions_of_classes_have_no_such_picture():
    with pytest.raises(NotImplementedError, match="draws one real target"):
        plots.predicted_against_true(Predictive(Categorical(torch.ones(1, 2, 3))), torch.zeros(2))
