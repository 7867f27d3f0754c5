"""Simulation-based calibration on a model whose posterior is known: right, too narrow, too wide, and off."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from bayesnn import BayesianNeuralNetwork, fit_last_layer, fit_svi, likelihoods, networks, priors
from bayesnn.plots.ranks import rank_histogram
from bayesnn.rank_statistics import RankStatistics
from bayesnn.simulated import simulation_based_calibration

X = torch.linspace(-1, 1, 10)[:, None].double()

SCALED = BayesianNeuralNetwork(networks.mlp(1, 1), likelihood=likelihoods.gaussian)


def line(x, y=None):
    slope = pyro.sample("slope", dist.Normal(torch.zeros(()).double(), 1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(slope * x[:, 0], 1.0), obs=y)


def posterior(model, x, y, *, num_samples, seed, progress, factor=1.0, shift=0.0):
    """The exact one, by the textbook, its scale multiplied and its mean moved by so many scales."""
    precision = 1 + x[:, 0].square().sum()
    mean, scale = (x[:, 0] * y).sum() / precision, precision**-0.5
    noise = torch.randn(num_samples, generator=torch.Generator().manual_seed(seed + 10**6), dtype=torch.float64)
    return SimpleNamespace(weights={"slope": mean + scale * (shift + factor * noise)})


def found(num_simulations=300, **options):
    fit = partial(posterior, **options)
    return simulation_based_calibration(line, X, fit=fit, num_simulations=num_simulations, progress=False)


def test_an_exact_posterior_is_calibrated():
    """A p-value below 1e-5 has a chance of 1e-5."""
    result = found()
    assert result.ranks.shape == (300, 1)
    assert 0 <= int(result.ranks.min()) <= int(result.ranks.max()) <= 99
    assert result.p_value > 1e-5
    assert result.bias_p_values["slope"] > 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [({"factor": 0.5}, "too narrow"), ({"factor": 2.0}, "too wide"), ({"shift": 0.7}, "too high")],
)
def test_a_wrong_posterior_is_told_from_it(options, words):
    """Of half the scale 28 % of the ranks are in the outer of ten bins on either side, not 10 %: chi-square is 220."""
    result = found(**options)
    assert result.p_value < 1e-6
    assert words in result.verdict
    assert words in repr(result)
    assert (result.bias_p_values["slope"] < 1e-5) == ("shift" in options)


def test_what_is_off_the_other_way_is_too_low():
    assert "too low" in found(shift=-0.7).verdict


def test_chi_square_is_scipys_of_the_counts():
    result = found(200, factor=0.8)
    assert result.num_bins == 20
    counts = np.bincount(result.ranks[:, 0].numpy() // 5, minlength=20)
    assert result.counts()[:, 0].tolist() == counts.tolist()
    assert result.p_values["slope"] == pytest.approx(stats.chisquare(counts).pvalue)


def test_ranks_without_equal_bins_have_expected_counts_of_their_own():
    """Of seven ranks, 0 to 6, two bins hold four and three; uniform ranks are then no sign of anything."""
    ranks = torch.arange(700)[:, None] % 7
    result = RankStatistics(ranks, ("a",), 6)
    assert result.num_bins == 7
    odd = RankStatistics(ranks[:30], ("a",), 6)
    assert odd.num_bins == 2
    assert odd.p_values["a"] > 0.3


def test_the_order_of_draws_does_not_matter_and_ties_are_by_chance():
    one = found(40)

    def shuffled(*args, **options):
        return SimpleNamespace(weights={"slope": posterior(*args, **options).weights["slope"].flip(0)})

    other = simulation_based_calibration(line, X, fit=shuffled, num_simulations=40, progress=False)
    assert torch.equal(one.ranks, other.ranks)

    def same(model, x, y, num_samples, **options):
        return SimpleNamespace(weights={"slope": torch.zeros(num_samples)})

    tied = simulation_based_calibration(
        line, X, fit=same, quantities={"nought": lambda draws: 0 * draws["slope"]}, num_simulations=200, progress=False
    )
    assert tied.p_value > 1e-5


def test_a_networks_outputs_and_noise_are_its_quantities():
    model = BayesianNeuralNetwork(
        networks.mlp(1, 1, hidden=(3,)).double(), priors.normal(1.0), likelihoods.gaussian, standardise=False
    )
    fit = partial(fit_svi, num_epochs=5)
    state = torch.get_rng_state()
    result = simulation_based_calibration(model, X, fit=fit, num_simulations=20, num_samples=9, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert result.names == ("output[0]", "output[1]", "output[2]", "noise_scale")
    assert result.num_warnings > 0
    assert f"{result.num_warnings} fits gave a warning" in repr(result)


def test_the_exact_last_layer_is_calibrated():
    model = BayesianNeuralNetwork(
        torch.nn.Linear(1, 1).double(), priors.normal(1.0), likelihoods.gaussian.with_noise(0.5), standardise=False
    )
    fit = partial(fit_last_layer, body="network")
    assert simulation_based_calibration(model, X, fit=fit, num_simulations=100, progress=False).p_value > 1e-5


def test_stopped_by_hand_it_keeps_what_was_done():
    calls = []

    def stops(*args, **options):
        calls.append(0)
        if len(calls) > 25:
            raise KeyboardInterrupt
        return posterior(*args, **options)

    with pytest.warns(UserWarning, match="stopped by hand after 25 of 300 simulations"):
        assert len(simulation_based_calibration(line, X, fit=stops, num_simulations=300, progress=False).ranks) == 25


def test_the_record_goes_to_pandas_json_and_a_picture():
    result = found(100)
    assert result.to_pandas().shape == (100, 1)
    assert json.loads(result.to_json())["p_values"] == result.p_values
    assert "<table>" in result._repr_html_()
    axes = rank_histogram(result, "slope")
    assert axes.get_xlabel() == "rank of the true slope among 99 draws"
    assert sum(bar.get_height() for bar in axes.containers[0]) == 100
    with pytest.raises(ValueError, match="quantity must be one of slope; got 'bias'"):
        rank_histogram(result, "bias")


def test_a_fit_that_takes_ctrl_c_for_itself_ends_it_all_the_same():
    """Our fits keep the state they reached; a simulation fitted half is not counted, and no further one is begun."""
    model = BayesianNeuralNetwork(
        networks.mlp(1, 1, hidden=(3,)).double(), priors.normal(1.0), likelihoods.gaussian, standardise=False
    )
    calls = []

    def fit(*args, **options):
        calls.append(0)

        def callback(epoch, terms):
            if len(calls) == 22:
                raise KeyboardInterrupt

        return fit_svi(*args, num_epochs=3, callback=callback, **options)

    with pytest.warns(UserWarning, match="stopped by hand after 21 of 30 simulations"):
        found = simulation_based_calibration(model, X, fit=fit, num_simulations=30, num_samples=9, progress=False)
    assert (len(found.ranks), len(calls)) == (21, 22)


def test_a_prior_that_a_fit_moves_is_warned_of():
    network, noise = networks.mlp(1, 1, hidden=(10,)).double(), likelihoods.gaussian.with_noise(0.5)
    model = BayesianNeuralNetwork(network, likelihood=noise, standardise=False)

    def fit(model, x, y, *, num_samples, **options):
        return SimpleNamespace(weights=model.prior_draws(num_samples))

    with pytest.warns(UserWarning, match=r"of another prior than data were drawn from\. Write .*fit=None"):
        simulation_based_calibration(model, X, fit=fit, num_simulations=20, num_samples=9, progress=False)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"num_simulations": 3}, ValueError, "must be 20 or more to tell anything; got 3"),
        ({"model": 3}, TypeError, r"a Pyro model\(x, y=None\); got 3"),
        ({"fit": lambda *args, **options: 3}, TypeError, r"fit must give draws by site, as \.weights; got int"),
        ({"model": SCALED}, ValueError, "the same units"),
        ({"fit": lambda m, x, y, **o: posterior(m, x, y, **{**o, "num_samples": 4})}, ValueError, "99 draws .*; got 4"),
        ({"seed": "a"}, TypeError, "seed must be a whole number; got 'a'"),
        ({"model": lambda x: pyro.sample("z", dist.Normal(0.0, 1.0))}, ValueError, "'y'; this one samples z"),
    ],
    ids=["few", "no model", "no draws", "units", "few draws", "seed", "no data"],
)  # fmt: skip
def test_bad_input_gets_a_sentence(change, error, words):
    options = {"model": line, "fit": posterior, "num_simulations": 20, **change}
    with pytest.raises(error, match=words):
        simulation_based_calibration(options.pop("model"), X, **options, progress=False)
