"""Toys against the truth they are drawn from. Tolerances are 5 standard errors: chance of failing under 1e-5."""

import math

import pytest
import torch
from scipy.stats import kstest
from sklearn.datasets import make_moons

from bayesnn.datasets import heteroscedastic_sine, sine_mean, sine_sd, two_moons

N = 4000


def test_the_truth_is_the_formula():
    x = torch.tensor([[-4.0], [0.0], [4.0]])
    assert sine_mean(x).tolist() == pytest.approx([math.sin(-4), 0, math.sin(4)])
    assert sine_sd(x).tolist() == pytest.approx([0.15 / math.e, 0.15, 0.15 * math.e])


@pytest.mark.parametrize("side", [-1, 1])
def test_noise_has_the_mean_and_spread_it_says_on_either_side(side):
    split = heteroscedastic_sine(N, seed=1)
    for x, y in ((split.x_train, split.y_train), (split.x_test, split.y_test)):
        here = side * x[:, 0] > 0
        z = (y[here] - x[here, 0].sin()) / (0.15 * (x[here, 0] / 4).exp())
        assert abs(z.mean()) < 5 / len(z) ** 0.5
        assert abs(z.square().mean() - 1) < 5 * (2 / len(z)) ** 0.5


def test_inputs_are_uniform_but_for_the_gap():
    split = heteroscedastic_sine(N, seed=2)
    for x in (split.x_train, split.x_test):
        assert x.shape == (N, 1)
        assert 1 <= x.abs().min() <= x.abs().max() <= 4
        assert kstest(x.abs().flatten().numpy(), "uniform", (1, 3)).pvalue > 1e-6
        assert abs((x > 0).float().mean() - 0.5) < 5 * 0.5 / N**0.5
    assert not split.x_train.equal(split.x_test)


def test_the_other_world_of_the_sine_is_the_gap_and_beyond():
    x = heteroscedastic_sine().x_ood
    assert x.shape == (100, 1)
    gap = x.abs() < 1
    assert (gap.sum(), (x > 4).sum(), (x < -4).sum()) == (50, 25, 25)
    assert x.abs().max() == 6
    assert x.flatten().equal(x.flatten().sort().values)
    assert torch.allclose(x, -x.flip(0), atol=1e-6)


def test_moons_lie_on_scikit_learns_curves():
    split, (curve, label) = two_moons(200, noise=0), make_moons(20_000, noise=None)
    for x, y in ((split.x_train, split.y_train), (split.x_test, split.y_test)):
        for moon in (0, 1):
            nearest = torch.cdist(x[y == moon].double(), torch.tensor(curve[label == moon])).amin(1)
            assert nearest.max() < 2e-4  # half a step along the curve
        assert y.bincount().tolist() == [100, 100]
        assert y.dtype == torch.int64


def test_moons_have_the_noise_asked_for():
    """The squared distance to a moon's centre has mean 1 + 2 s^2 and variance 4 s^2 + 4 s^4."""
    noise, split = 0.3, two_moons(N, noise=0.3, seed=1)
    centre = torch.tensor([[0.0, 0.0], [1.0, 0.5]])[split.y_train]
    squares = (split.x_train - centre).square().sum(-1)
    assert abs(squares.mean() - 1 - 2 * noise**2) < 5 * ((4 * noise**2 + 4 * noise**4) / N) ** 0.5


def test_the_other_world_of_the_moons_is_far_from_them():
    x = two_moons().x_ood
    assert x.shape == (100, 2)
    assert torch.allclose((x - torch.tensor([0.5, 0.25])).norm(dim=-1), torch.tensor(4.0))
    assert torch.cdist(x, two_moons(N).x_train).min() > 1.5


@pytest.mark.parametrize("toy", [heteroscedastic_sine, two_moons])
def test_the_seed_decides_and_nothing_else(toy):
    state = torch.get_rng_state()
    first, again, other = toy(20, seed=3), toy(20, seed=3), toy(20, seed=4)
    assert torch.get_rng_state().equal(state)
    for part in ("x_train", "y_train", "x_test", "y_test", "x_ood"):
        assert getattr(first, part).equal(getattr(again, part))
    assert not first.x_train.equal(other.x_train)
    assert first.x_ood.equal(other.x_ood)


@pytest.mark.parametrize("toy", [heteroscedastic_sine, two_moons])
def test_bad_settings_get_one_clear_sentence(toy):
    with pytest.raises(ValueError, match="num_rows must be 2 or more; got 1"):
        toy(1)
    with pytest.raises(ValueError, match="noise must be a standard deviation, 0 or more; got -1"):
        two_moons(noise=-1)
