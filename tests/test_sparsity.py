"""Which weights matter: rankings that are known beforehand."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from bayesnn import BayesianNeuralNetwork, evaluate, fit_gp, fit_map, fit_svi, from_networks, likelihoods, networks
from bayesnn.sparsity import pruned, signal_to_noise


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 4, generator=generator)
    return x, x[:, 0] - x[:, 2] + 0.3 * torch.randn(300, generator=generator)


@pytest.fixture(scope="module")
def posterior():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BayesianNeuralNetwork(networks.mlp(4, 1, hidden=()), likelihood=likelihoods.gaussian)
        return fit_svi(model, *data(), num_epochs=700, progress=False)


def by_hand():
    """Four draws of four weights and a bias, whose means and standard deviations are known."""
    rows = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None] * torch.tensor([1.0, 1.0, 10.0, 0.1])
    loc = torch.tensor([5.0, 0.1, 20.0, -3.0])
    states = [
        {"weight": (loc + row)[None], "bias": torch.tensor([0.0 + sign])}
        for row, sign in zip(rows, (1.0, -1.0, 1.0, -1.0), strict=True)
    ]
    model = BayesianNeuralNetwork(
        torch.nn.Linear(4, 1), likelihood=likelihoods.gaussian.with_noise(1.0), standardise=False
    )
    return from_networks(model, states)


def test_it_is_mean_over_standard_deviation_of_the_draws():
    found = signal_to_noise(by_hand())
    sd = torch.tensor([-1.0, 1.0, -1.0, 1.0]).std()
    assert_close(found["weight"][0], torch.tensor([5.0, 0.1, 2.0, 30.0]) / sd)
    assert_close(found["bias"], torch.zeros(1))


def test_of_a_mean_field_guide_it_is_the_guides_own(posterior):
    loc, scale = posterior.guide.real_moments()["0.weight"]
    assert_close(signal_to_noise(posterior)["0.weight"], (loc.abs() / scale).detach())


def test_it_lives_where_the_draws_do(posterior):
    elsewhere = replace(posterior, weights={name: value.to("meta") for name, value in posterior.weights.items()})
    assert {value.device.type for value in signal_to_noise(elsewhere).values()} == {"meta"}


def test_the_lowest_are_cut_first():
    one = by_hand()
    order = [["bias"], ["bias", 1], ["bias", 1, 2], ["bias", 1, 2, 0], ["bias", 0, 1, 2, 3]]
    for number, gone in enumerate(order, 1):
        cut = pruned(one, number / 5)
        for column in range(4):
            column_is_gone = bool((cut.weights["weight"][:, 0, column] == 0).all())
            assert column_is_gone == (column in gone)
        assert bool((cut.weights["bias"] == 0).all())
        assert cut.summary == {"pruned": pytest.approx(number / 5)}


def test_nothing_or_everything_may_go(posterior):
    same, none = pruned(posterior, 0.0), pruned(posterior, 1.0)
    assert all(torch.equal(same.weights[name], value) for name, value in posterior.weights.items())
    assert (none.weights["0.weight"] == 0).all()
    assert (none.weights["noise_scale"] == posterior.weights["noise_scale"]).all()


@pytest.mark.parametrize("number", range(6))
def test_cutting_again_cuts_the_same(number):
    """A weight that is 0 in every draw has no signal: it goes first, not last."""
    once = pruned(by_hand(), number / 5)
    again = pruned(once, number / 5)
    assert again.summary == {"pruned": pytest.approx(number / 5)}
    assert all(torch.equal(again.weights[name], value) for name, value in once.weights.items())
    assert all((value >= 0).all() for value in signal_to_noise(once).values())


def test_a_weight_that_is_the_same_in_every_draw_goes_last():
    states = [{"weight": torch.tensor([[0.1, 9.0, -9.0, 9.0]]) + d, "bias": torch.zeros(1)} for d in (0.0, 1.0, 2.0)]
    for state in states:
        state["weight"][0, 0] = 0.1
    cut = pruned(from_networks(by_hand().model, states), 4 / 5)
    assert cut.weights["weight"][0, 0].tolist() == [pytest.approx(0.1), 0, 0, 0]


def test_what_says_nothing_costs_nothing(posterior):
    """Columns 1 and 3, and the bias of standardised targets, are noise."""
    x, y = data()
    cut = pruned(posterior, 3 / 5)
    assert {int(i) for i in (cut.weights["0.weight"][0, 0] == 0).nonzero()} == {1, 3}
    assert (cut.weights["0.bias"] == 0).all()
    assert evaluate(cut(x), y)["rmse"] == pytest.approx(evaluate(posterior(x), y)["rmse"], rel=0.02)
    assert evaluate(pruned(posterior, 4 / 5)(x), y)["rmse"] > 2 * evaluate(posterior(x), y)["rmse"]
    assert (cut.resample(5).weights["0.weight"][:, 0, 1] == 0).all()
    with pytest.raises(NotImplementedError, match="no density"):
        cut.log_density()


def test_bad_input_gets_a_sentence(posterior):
    x, y = data()
    with pytest.raises(ValueError, match="a share of the weights from 0 to 1; got 50"):
        pruned(posterior, 50)
    for strange in ("half", True, float("nan")):
        with pytest.raises(ValueError, match=f"a share of the weights from 0 to 1; got {strange!r}. For half write"):
            pruned(posterior, strange)
    alone = fit_map(posterior.model, x, y, num_epochs=1, progress=False)
    with pytest.raises(ValueError, match="two draws at least; map has one"):
        pruned(alone)
    with pytest.raises(TypeError, match="draws of a whole network's weights; got gp"):
        signal_to_noise(fit_gp(likelihoods.gaussian, x, y, num_epochs=1, progress=False))
