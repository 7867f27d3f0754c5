"""What a prior says, read back from the artists: quantiles by scipy, bars by numpy."""

import numpy as np
import pandas as pd
import pytest
import torch
from drawn import CLASSES, LOC, REALS, SCALE, N, S, X, random
from scipy.optimize import brentq
from scipy.stats import norm
from torch.distributions import Independent, LogNormal, Normal, Poisson

from bayesnn.plots import prior_functions, prior_targets
from bayesnn.predictive import Predictive

COLUMN = Predictive(Independent(Normal(LOC[..., None], SCALE[..., None]), 1))


def bars(patches):
    """Heights of bars, and the edges between them."""
    heights = np.array([bar.get_height() for bar in patches])
    return heights, np.array([bar.get_x() for bar in patches] + [patches[-1].get_x() + patches[-1].get_width()])


@pytest.mark.parametrize("predictive", [REALS, COLUMN], ids=["vector", "column"])
def test_functions_are_the_draws_and_the_band_holds_nine_targets_in_ten(predictive):
    ax = prior_functions(X[:, None], predictive, num_functions=4)
    order = X.argsort()
    assert len(ax.lines) == 4
    for line, mean in zip(ax.lines, LOC, strict=False):
        np.testing.assert_allclose(line.get_xydata(), torch.stack([X[order], mean[order]], 1))
    edges = ax.collections[0].get_paths()[0].vertices
    for n in range(N):
        drawn = np.unique(edges[edges[:, 0] == X[n].item(), 1])
        chance = [norm.cdf(end, LOC[:, n], SCALE[:, n]).mean() for end in (drawn.min(), drawn.max())]
        np.testing.assert_allclose(chance, [0.05, 0.95], atol=1e-6)
        assert brentq(lambda y, n=n: norm.cdf(y, LOC[:, n], SCALE[:, n]).mean() - 0.05, -50, 50) == pytest.approx(
            drawn.min(), abs=1e-4
        )


def test_data_lie_on_top():
    data = random(7, 1), random(7, seed=1)
    points = prior_functions(X, REALS, data=data).lines[-1]
    np.testing.assert_array_equal(points.get_xydata(), torch.stack([data[0][:, 0], data[1]], 1))
    assert points.get_label() == "data"


@pytest.mark.parametrize("kind", [np.array, list, pd.Series, lambda v: pd.DataFrame({"a": v})])
def test_inputs_and_data_may_be_arrays_lists_and_frames(kind):
    x, y = kind(X.tolist()), kind(LOC[0].tolist())
    ax = prior_functions(x, REALS, data=(x, y))
    np.testing.assert_array_equal(ax.lines[-1].get_xydata(), torch.stack([X, LOC[0]], 1))
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), X.sort().values)
    shown = [prior_targets(REALS, own).patches[60].get_xy() for own in (y, LOC[0])]
    np.testing.assert_array_equal(*shown)


def test_bars_of_real_targets_are_densities():
    """In each bar S N drawn targets lie as the mixture says, within 5.5 binomial standard errors;
    right code fails with a chance of 3e-6."""
    many = Predictive(Normal(torch.zeros(200, 500), torch.ones(200, 500)))
    own = 9 + random(30)
    ax = prior_targets(many, own)
    heights, edges = bars(ax.patches[:60])
    assert edges[-1] == pytest.approx(own.max().item())  # data that lie outside are shown
    chance, width = np.diff(norm.cdf(edges)), np.diff(edges)
    chance = chance / (norm.cdf(edges[-1]) - norm.cdf(edges[0]))
    error = np.sqrt(chance * (1 - chance) / (0.99 * many.num_samples * len(many)))
    sure = chance > 1e-3
    assert (np.abs(heights * width - chance)[sure] < 5.5 * error[sure]).all()
    outline = ax.patches[60].get_xy()
    assert outline[:, 1].max() == pytest.approx(np.histogram(own, edges, density=True)[0].max())


@pytest.mark.parametrize(("rate", "width"), [(4.0, 1), (900.0, 3)], ids=["few", "many"])
def test_bars_of_counts_hold_as_many_whole_numbers_each(rate, width):
    own = torch.poisson(torch.full((40,), rate), generator=torch.Generator().manual_seed(0))
    ax = prior_targets(Predictive(Poisson(torch.full((50, 40), rate))), own)
    outline = ax.patches[-1].get_xy()
    heights, edges = bars(ax.patches[:-1])
    assert set(np.diff(edges)) == {width}
    assert set(edges % 1) == {0.5}
    assert edges[0] < own.min()
    assert edges[-1] > own.max()
    assert heights.sum() * width == pytest.approx(1)
    _, times = np.unique((own.numpy() - edges[0]) // width, return_counts=True)
    assert outline[:, 1].max() == pytest.approx(times.max() / (40 * width))


def test_bars_of_classes_tell_how_sure_each_drawn_classifier_is():
    heights, edges = bars(prior_targets(CLASSES).patches)
    largest = np.exp(CLASSES.members.logits.numpy()).max(-1).ravel()
    np.testing.assert_allclose(heights, np.histogram(largest, edges, density=True)[0])
    assert heights.sum() / 40 == pytest.approx(1)
    assert len(largest) == S * N


def test_drawing_targets_seeds_nobody_elses_generators(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    state = torch.get_rng_state()
    first, second = (bars(prior_targets(REALS).patches)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)
    assert seeds == []


def test_what_has_no_such_picture_gets_one_clear_sentence():
    with pytest.raises(ValueError, match=r"draws one real target; of classes .* write prior_targets"):
        prior_functions(X, CLASSES)
    with pytest.raises(ValueError, match=r"draws one real target; of classes or several"):
        prior_functions(X, Predictive(Independent(Normal(random(S, N, 2), 1.0), 1)))
    with pytest.raises(ValueError, match=rf"one number each, N = {N}; got 3\."):
        prior_functions(X[:3], REALS)
    with pytest.raises(ValueError, match=r"must be finite to be shown; none is\. Take a narrower prior"):
        prior_targets(Predictive(LogNormal(torch.full((S, N), 900.0), 1.0)))
    with pytest.raises(TypeError, match="needs a Predictive; got Tensor"):
        prior_targets(LOC)
