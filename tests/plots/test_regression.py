"""Bands and predictions, read back from their artists: what is drawn is what was computed, by numpy."""

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import CLASSES, LOC, REALS, SCALE, N, X, random
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.dates import AutoDateLocator, num2date
from matplotlib.figure import Figure
from torch.distributions import Bernoulli, Beta, Gamma, Independent, Normal, Poisson, Uniform

from bayesnn import plots
from bayesnn.plots import COLOURS, regression_bands
from bayesnn.predictive import Predictive


def bands(ax):
    """Those that the legend has; beneath the epistemic one is a blank."""
    return [part for part in ax.collections if not part.get_label().startswith("_")]


def band(ax, number):
    """Lower and upper edge of a band by x."""
    points = bands(ax)[number].get_paths()[0].vertices
    return {x: (points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()) for x in X.tolist()}


KINDS = {
    "vector": X,
    "column": X[:, None],
    "array": X.numpy(),
    "list": X.tolist(),
    "rows": X[:, None].tolist(),
    "series": pd.Series(X.tolist(), index=range(N, 0, -1)),
    "frame": pd.DataFrame({"metres": X.tolist()}),
}


@pytest.mark.parametrize("x", KINDS.values(), ids=KINDS)
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


DAYS = pd.date_range("2024-03-01", periods=N, freq="D")
DATES = {
    "index": DAYS,
    "series": pd.Series(DAYS, name="day"),
    "frame": pd.DataFrame({"day": DAYS}),
    "days": DAYS.to_numpy().astype("datetime64[D]"),
    "nanoseconds": DAYS.to_numpy().astype("datetime64[ns]"),
    "time zone": DAYS.tz_localize("UTC"),
    "list": DAYS.to_pydatetime().tolist(),
    "list of numpy's": list(DAYS.to_numpy()),
}


@pytest.mark.parametrize("x", DATES.values(), ids=DATES)
def test_inputs_may_be_dates(x):
    ax = regression_bands(x, REALS, data=(x, LOC[0]))
    assert list(num2date(ax.lines[0].get_xdata())) == list(DAYS.tz_localize("UTC"))
    assert list(num2date(ax.lines[1].get_xdata())) == list(DAYS.tz_localize("UTC"))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), LOC.numpy().mean(0), rtol=1e-5)
    assert isinstance(ax.xaxis.get_major_locator(), AutoDateLocator)
    ax.figure.canvas.draw()


def test_dates_go_with_dates():
    with pytest.raises(TypeError, match="both be dates or both numbers; got dates for x only"):
        regression_bands(DAYS, REALS, data=(X, LOC[0]))
    with pytest.raises(TypeError, match="both be dates or both numbers; got numbers for x only"):
        regression_bands(X, REALS, data=(DAYS, LOC[0]))


def test_a_date_that_is_missing_is_told():
    with pytest.raises(ValueError, match="x must be finite; got NaN or infinity in 1 row"):
        regression_bands(pd.Series([*DAYS[:-1], pd.NaT]), REALS)


def test_bands_show_the_data_and_the_colours_of_their_parts():
    ax = regression_bands(X, REALS, data=(X, LOC[0]))
    assert [to_rgb(part.get_facecolor()[0][:3]) for part in bands(ax)] == [
        to_rgb(COLOURS["aleatoric"]),
        to_rgb(COLOURS["epistemic"]),
    ]
    assert all("2 sd" in part.get_label() for part in bands(ax))
    assert np.array_equal(np.array(ax.lines[1].get_data()), np.stack([X, LOC[0]]))


@pytest.mark.parametrize("x", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("kind", [list, np.array, pd.Series, lambda v: pd.DataFrame({"euros": v})])
def test_data_of_all_kinds_are_shown_as_they_are(x, kind):
    y = LOC[0].tolist()
    points = regression_bands(X, REALS, data=(x, kind(y))).lines[1]
    assert np.array_equal(points.get_data(), [X.tolist(), y])
    against = plots.predicted_against_true(REALS, kind(y)).collections[-1]
    np.testing.assert_array_equal(against.get_offsets()[:, 0], y)


@pytest.mark.parametrize(
    ("data", "kind", "words"),
    [
        (
            (X, LOC[0, 1:]),
            ValueError,
            rf"one number for each row of x and of y; got shapes \({N}, 1\) and \({N - 1},\)",
        ),
        ((random(N, 2), LOC[0]), ValueError, rf"got shapes \({N}, 2\) and \({N},\).*x of one feature"),
        ((X, random(N, 2)), ValueError, rf"got shapes \({N}, 1\) and \({N}, 2\)"),
        ((X, LOC[0], X), TypeError, "pair .x, y.; got tuple of length 3"),
        ((["near", "far"], [1.0, 2.0]), TypeError, "x must be a tensor, array or frame of numbers"),
        (([[1.0], [2.0, 3.0]], [1.0, 2.0]), TypeError, "x must be a tensor, array or frame of numbers"),
        (([1.0, 2.0], [1.0, np.nan]), ValueError, "y must be finite; got NaN or infinity in 1 .* at row 1"),
    ],
    ids=["other rows", "two features", "two targets", "three", "words", "ragged", "missing"],
)
@pytest.mark.parametrize("draw", [regression_bands, plots.prior_functions])
def test_data_that_are_no_points_get_one_clear_sentence(draw, data, kind, words):
    with pytest.raises(kind, match=words):
        draw(X, REALS, data=data)


def test_the_epistemic_band_has_the_colour_that_the_legend_shows():
    figure = Figure(figsize=(3, 3), dpi=50)
    ax = figure.add_axes((0, 0, 1, 1))
    wide = torch.stack([torch.zeros(5), torch.full((5,), 10.0)])
    regression_bands(torch.arange(5.0), Predictive(Normal(wide, 10.0)), ax=ax)
    ax.set(xlim=(0, 4), ylim=(-40, 50))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixel = np.asarray(canvas.buffer_rgba())[round(150 * (50 - 12) / 90), 75, :3] / 255  # off the mean, which is 5
    blended = 0.5 * np.array(to_rgb(COLOURS["epistemic"])) + 0.5  # half on white
    np.testing.assert_allclose(pixel, blended, atol=0.01)


BOUNDED = {
    "counts": (Poisson(SCALE), 0.0, None),
    "positive": (Gamma(0.5, SCALE), 0.0, None),
    "a column of them": (Independent(Gamma(torch.tensor(0.5), SCALE[..., None]), 1), 0.0, None),
    "fractions": (Beta(0.4 * SCALE, 0.2 * SCALE), 0.0, 1.0),
}


@pytest.mark.parametrize(("members", "low", "high"), BOUNDED.values(), ids=BOUNDED)
def test_bands_end_where_targets_do(members, low, high):
    predictive = Predictive(members)
    mean, sd = predictive.mean.flatten().numpy(), predictive.stddev.flatten().numpy()
    assert (mean - 2 * sd < low).any()
    edges = zip(np.clip(mean - 2 * sd, low, high), np.clip(mean + 2 * sd, low, high), strict=True)
    assert high is None or (mean + 2 * sd > high).any()
    found = band(regression_bands(X, predictive), 0)
    assert found == {at: pytest.approx(edge, rel=1e-5) for at, edge in zip(X.tolist(), edges, strict=True)}


def test_bounds_that_differ_between_inputs_are_left_alone():
    predictive = Predictive(Uniform(LOC, LOC + SCALE))
    low, high = zip(*band(regression_bands(X, predictive), 0).values(), strict=True)
    assert np.array(high) - np.array(low) == pytest.approx(4 * predictive.stddev.numpy(), rel=1e-4)


def test_axes_bear_the_names_of_series_and_frames():
    x, y = pd.DataFrame({"metres": X.tolist()}), pd.Series(LOC[0].tolist(), name="euros")
    for draw in (regression_bands, plots.prior_functions):
        ax = draw(x, REALS, data=(x, y))
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("metres", "euros")
        ax = draw(X, REALS, data=(X, y.rename(3)))
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("x", "y")
    for named in (y, y.to_frame()):
        ax = plots.predicted_against_true(REALS, named)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("true euros", "predicted euros")
    assert plots.predicted_against_true(REALS, LOC[0]).get_xlabel() == "true target (units of y)"


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
        (X[:-3], LOC, rf"N = {N}; got {N - 3}\."),
        (np.ma.masked_less(X.numpy(), X.median().item()), LOC, "x must have no masked entries"),
    ],
    ids=["two targets", "two inputs", "other inputs", "masked inputs"],
)
def test_bands_that_cannot_be_drawn_get_one_clear_sentence(x, loc, words):
    with pytest.raises(ValueError, match=words):
        regression_bands(x, Predictive(Independent(Normal(loc, 1.0), loc.ndim - 2)))


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


def test_the_diagonal_runs_where_the_targets_are():
    ax = plots.predicted_against_true(REALS, LOC[0])
    low, high = float(LOC[0].min()), float(LOC[0].max())
    np.testing.assert_allclose(ax.lines[0].get_data(), [[low, high], [low, high]])


@pytest.mark.parametrize(
    ("ask", "kind", "words"),
    [
        (lambda: plots.predicted_against_true(CLASSES, LOC[0]), NotImplementedError, "draws one real target"),
        (lambda: plots.predicted_against_true(REALS, LOC[0, 1:]), ValueError, "one row per input"),
        (lambda: regression_bands(X, LOC), TypeError, "needs a Predictive; got Tensor"),
        (lambda: regression_bands(X, CLASSES), NotImplementedError, "draws a real target; these are classes"),
        (lambda: regression_bands(X, Predictive(Bernoulli(logits=LOC))), NotImplementedError, "these are classes"),
    ],
    ids=["classes", "other targets", "no predictive", "bands of classes", "bands of yes or no"],
)
def test_what_has_no_such_picture_gets_one_clear_sentence(ask, kind, words):
    with pytest.raises(kind, match=words):
        ask()
