"""diagnose: on fits that are known to be good, and on fits spoilt on purpose."""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from cases import METHODS, TASKS
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bayesnn import (
    BayesianNeuralNetwork,
    datasets,
    fit_ensemble,
    fit_gp,
    fit_last_layer,
    fit_map,
    fit_nuts,
    fit_svi,
    likelihoods,
    networks,
    priors,
    temperature_scaled,
    to_arviz,
)
from bayesnn.conjugate import Posterior
from bayesnn.diagnostics import diagnose

QUIET = {"progress": False}


def line_data(num=120):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num, 3, generator=generator, dtype=torch.float64)
    y = x @ torch.tensor([1.0, -2.0, 0.5], dtype=x.dtype)
    return x, y + 0.5 * torch.randn(num, generator=generator, dtype=x.dtype)


def line_model():
    torch.manual_seed(0)
    network, likelihood = nn.Linear(3, 1).double(), likelihoods.gaussian.with_noise(0.5)
    return BayesianNeuralNetwork(network, priors.normal(1.0), likelihood, standardise=False)


def exact():
    return fit_last_layer(line_model(), *line_data(), num_epochs=20, num_samples=2000, **QUIET)


def with_scales(posterior, factor):
    """The exact posterior with its standard deviations multiplied: a guide that is known to be wrong."""
    head = posterior.model
    wrong = Posterior(head.posterior.mean, factor * head.posterior.root)

    def draws(number, seed):
        return head.split(wrong.draws(number, seed))

    return replace(
        posterior,
        model=replace(head, posterior=None),
        weights=draws(2000, 1),
        draws=draws,
        density=lambda weights: wrong.log_prob(head.joined(weights)),
    )


def exact_loo(x, y):
    """Leave-one-out log densities of Bayesian linear regression, one regression for each datum left out."""
    phi = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    total = []
    for n in range(len(x)):
        rest = torch.arange(len(x)) != n
        precision = torch.eye(4, dtype=x.dtype) + phi[rest].T @ phi[rest] / 0.25
        mean = torch.linalg.solve(precision, phi[rest].T @ y[rest] / 0.25)
        variance = 0.25 + phi[n] @ torch.linalg.solve(precision, phi[n])
        total.append(torch.distributions.Normal(phi[n] @ mean, variance.sqrt()).log_prob(y[n]))
    return torch.stack(total)


def test_an_exact_posterior_is_well_and_its_leave_one_out_is_exact():
    """2000 draws of 4 weights: a term's error is about sqrt(variance of 1 / p / S), below 0.003 nats, 120 of them."""
    x, y = line_data()
    found = diagnose(exact(), x, y, num_samples=2000, **QUIET)
    assert found.is_well
    assert found.figures["pareto_k"] < 0.1
    assert found.figures["bad_loo_k"] == 0
    wanted = exact_loo(x, y)
    assert found.figures["elpd_loo"] == pytest.approx(float(wanted.mean()), abs=0.001)
    assert found.figures["elpd_loo_error"] == pytest.approx(float(wanted.std()) / 120**0.5, rel=0.02)
    assert found.figures["p_loo"] == pytest.approx(4, abs=1.5)
    assert "nothing to warn of" in repr(found)


def test_arviz_computes_the_same_from_the_export():
    import arviz as az

    x, y = line_data()
    found = az.loo(to_arviz(exact(), x, y), pointwise=True)
    error = float(found.se)
    assert abs(found.elpd_loo - float(exact_loo(x, y).sum())) < min(2 * error, 0.2)
    assert found.pareto_k.max() < 0.5


@pytest.mark.parametrize("factor", [0.5, 0.3])
def test_a_guide_that_is_too_narrow_has_a_large_pareto_k_and_is_told_so(factor):
    x, y = line_data()
    found = diagnose(with_scales(exact(), factor), x, y, num_samples=2000, **QUIET)
    assert found.figures["pareto_k"] > 0.7
    assert "far from the posterior of the weights" in repr(found)
    assert "too narrow a guide looks so" in repr(found)


def test_a_guide_that_is_too_wide_is_still_a_good_proposal():
    x, y = line_data()
    assert diagnose(with_scales(exact(), 1.5), x, y, num_samples=2000, **QUIET).figures["pareto_k"] < 0.5


@pytest.fixture(scope="module")
def digits():
    split = datasets.digits(hold_out=9, seed=0)
    return split.x_train, split.y_train, split.x_test, split.y_test


def digits_model(hidden, prior=None):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), networks.mlp(64, 9, hidden=hidden))
    return BayesianNeuralNetwork(network, prior, likelihoods.categorical)


@pytest.mark.slow
def test_a_collapsed_network_is_called_collapsed(digits):
    x, y, *_ = digits
    with pytest.warns(UserWarning, match="collapsed to the prior"):
        posterior = fit_svi(
            digits_model((100, 100), priors.fan_in_normal(fit="tensor")), x, y,
            warmup=0.0, rotate=False, init_scale=0.01, learning_rate=0.003, **QUIET,
        )  # fmt: skip
    with pytest.warns(UserWarning, match=r"^collapsed: the posterior is within .* nats of its prior.*To mend it"):
        found = diagnose(posterior, x, y, **QUIET)
    assert [one.name for one in found.warnings] == ["collapsed"]
    assert all(site["at_prior"] == 1 for site in found.sites.values())


@pytest.mark.filterwarnings("ignore:the ELBO, .* is below")
def test_a_collapsed_ensemble_of_posteriors_is_called_collapsed():
    def indifferent(n):
        return torch.randn(100, 3, generator=torch.Generator().manual_seed(n))

    model = BayesianNeuralNetwork(nn.Linear(3, 1), priors.normal(0.01), likelihoods.gaussian.with_noise(1.0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = indifferent(0), indifferent(1)[:, 0]
        posterior = fit_ensemble(model, *data, member=fit_svi, num_members=2, num_epochs=800, **QUIET)
    assert posterior.summary["kl_per_datum"] * 100 < 1
    with pytest.warns(UserWarning, match="^collapsed: "):
        diagnose(posterior, *data, **QUIET)


def test_going_on_that_is_stopped_by_hand_says_nothing(monkeypatch):
    task = TASKS[3]
    x, y = task.data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posterior = fit_svi(task.model(), x, y, num_epochs=5, **QUIET)
        stopped = fit_svi(task.model(), x, y, num_epochs=5, **QUIET)
        stopped = replace(stopped, history=replace(stopped.history, interrupted=True))
        monkeypatch.setattr("bayesnn.continued.fit_svi", lambda *args, **options: stopped)
        assert "elbo_gain" not in diagnose(posterior, x, y, **QUIET).figures


def test_a_fit_stopped_after_five_epochs_is_called_unconverged(digits):
    x, y, *_ = digits
    posterior = fit_svi(digits_model((50,)), x, y, num_epochs=5, **QUIET)
    before = {name: value.clone() for name, value in posterior.guide.named_parameters()}
    state = torch.get_rng_state()
    with pytest.warns(
        UserWarning, match=r"^unconverged: going on for 504 steps raised the ELBO by 0\.\d+ nats.*num_epochs, now 5\."
    ):
        found = diagnose(posterior, x, y, num_samples=100, **QUIET)
    assert [one.name for one in found.warnings] == ["unconverged"]
    assert found.figures["elbo_gain"] > 0.3
    assert all(torch.equal(value, before[name]) for name, value in posterior.guide.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [(50,), (100, 100)])
def test_a_good_fit_gets_no_warning(digits, hidden):
    x, y, x_test, y_test = digits
    posterior = fit_svi(digits_model(hidden), x, y, **QUIET)
    found = diagnose(posterior, x, y, held_out=(x_test, y_test), **QUIET)  # warnings are errors
    assert found.is_well
    assert found.figures["elbo_gain"] < 0.05
    assert found.figures["held_out_accuracy"] > 0.95


def test_a_matrix_that_passes_nothing_on_is_named():
    class Barred(nn.Module):
        def __init__(self):
            super().__init__()
            self.through, self.barred = nn.Linear(3, 1), nn.Linear(3, 1)

        def forward(self, x):
            return self.through(x) + 0 * self.barred(x)

    x, y = line_data()
    model = BayesianNeuralNetwork(Barred(), priors.normal(1.0), likelihoods.gaussian)
    posterior = fit_svi(model, x.float(), y.float(), num_epochs=600, **QUIET)
    with pytest.warns(UserWarning, match=r"^partly collapsed: barred\.weight are at their prior"):
        found = diagnose(posterior, x, y, **QUIET)
    assert found.sites["through.weight"]["kl"] > 5


@pytest.mark.filterwarnings("ignore:the ELBO, .* is below")
def test_below_a_constant_prediction():
    x, y = torch.randn(100, 5), torch.arange(100) % 2
    model = BayesianNeuralNetwork(networks.mlp(5, 2), priors.normal(1.0), likelihoods.categorical)
    posterior = fit_svi(model, x, y, num_epochs=3000, **QUIET)
    with pytest.warns(UserWarning, match=r"^below a constant: the ELBO, .* is below -0\.693"):
        diagnose(posterior, x, y, **QUIET)


@pytest.mark.filterwarnings("ignore:the chains may not show")
def test_chains_that_have_not_met():
    x, y = line_data(20)
    posterior = fit_nuts(line_model(), x, y, num_samples=40, num_warmup=1, num_chains=2, max_tree_depth=1, **QUIET)
    with pytest.warns(UserWarning, match=r"^chains apart: R-hat is .*To mend it, raise num_warmup"):
        found = diagnose(posterior, x, y, **QUIET)
    assert found.figures["rhat"] > 1.05


def test_a_pyro_model_goes_on_too():
    def line(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ slope, 0.5), obs=y)

    x, y = (part.float() for part in line_data())
    short = fit_svi(line, x, y, num_epochs=10, **QUIET)
    with pytest.warns(UserWarning, match="unconverged"):
        assert diagnose(short, x, y, **QUIET).figures["elbo_gain"] > 0.1
    long = fit_svi(line, x, y, num_epochs=1500, **QUIET)
    found = diagnose(long, x, y, **QUIET)
    assert abs(found.figures["elbo_gain"]) < 0.05
    assert found.figures["pareto_k"] < 0.7


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_can_be_asked(method):
    task = TASKS[3]
    x, y = task.data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {name: 30 if name == "num_samples" else value for name, value in method.options.items()}
        posterior = method.fit(task.model(), x, y, progress=False, **options)
        found = diagnose(posterior, x, y, held_out=(x[:20], y[:20]), num_samples=50, **QUIET)
    assert found.method == posterior.method
    assert ("elpd_loo" in found.figures) == (posterior.num_samples > 7)
    with_density = ("svi", "laplace", "last_layer", "swag")  # and a prior that all draws share
    assert ("pareto_k" in found.figures) == (posterior.method in with_density)
    assert found.figures["held_out_nll"] > 0
    assert "diagnosis" in to_arviz(posterior, x, y, diagnosis=found)


def test_refits_tell_how_much_hangs_on_the_prior():
    x, y = line_data(15)
    tight = BayesianNeuralNetwork(nn.Linear(3, 1).double(), priors.normal(0.05), likelihoods.gaussian.with_noise(0.5))
    fit = partial(fit_svi, num_epochs=400, **QUIET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = diagnose(fit(tight, x, y), x, y, refit=fit, **QUIET)
    assert found.figures["nll_change_prior_2"] < -0.1 < 0 < found.figures["nll_change_prior_0.5"]
    assert found.figures["nll_change_temperature_0.5"] < 0
    assert "sensitive to the prior" in repr(found)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"posterior": lambda p, x: p(x)}, TypeError, r"needs what a fit_\* gave, .*; got Predictive"),
        ({"x": torch.zeros(30, 3)}, ValueError, r"must be the 40 data of the fit; got 30\. Pass other .* held_out="),
        ({"num_samples": 0}, ValueError, "num_samples must be"),
        ({"num_steps": -3}, ValueError, "num_steps must be"),
        ({"seed": "a"}, TypeError, "seed must be a whole number"),
        ({"held_out": torch.zeros(3, 3)}, TypeError, r"held_out must be a pair .*; got Tensor\. Write held_out="),
        ({"refit": 3}, TypeError, r"refit must be a function .*; got 3 for map\. Write refit=partial"),
    ],
    ids=["predictive", "other data", "draws", "steps", "seed", "no pair", "no function"],
)  # fmt: skip
def test_bad_input_gets_a_sentence(change, error, words):
    task = TASKS[3]
    x, y = task.data()
    posterior = fit_map(task.model(), x, y, num_epochs=1, **QUIET)
    options = dict(change)
    made = options.pop("posterior", lambda p, x: p)(posterior, x)
    inputs = options.pop("x", x)
    with pytest.raises(error, match=words):
        diagnose(made, inputs, y[: len(inputs)], **options, **QUIET)


@pytest.mark.parametrize(
    ("held_out", "words"),
    [
        ((line_data()[0][:20], line_data()[1][:10]), "one row per input, N = 20"),
        ((torch.zeros(20, 2), torch.zeros(20)), "inputs"),
        ((pd.DataFrame(np.zeros((20, 3)), columns=["c", "b", "a"]), np.zeros(20)), "columns of the fit in their order"),
    ],
    ids=["rows", "features", "columns"],
)
def test_held_out_data_are_looked_at_before_anything_is_fitted(held_out, words, monkeypatch):
    x, y = line_data()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        posterior = fit_svi(line_model(), pd.DataFrame(x.numpy(), columns=["a", "b", "c"]), y, num_epochs=2, **QUIET)
    for fit in ("bayesnn.diagnostics.continued", "bayesnn.held_out_checks.fit_map"):
        monkeypatch.setattr(fit, lambda *args, **options: pytest.fail("a fit ran"))
    with pytest.raises(ValueError, match=words):
        diagnose(posterior, x, y, held_out=held_out, **QUIET)


def test_held_out_data_may_be_a_loader():
    x, y = line_data()
    posterior, held_out = exact(), TensorDataset(x[:30] + 1, y[:30])
    loader = DataLoader(held_out, batch_size=7, shuffle=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = [diagnose(posterior, x, y, held_out=d, **QUIET).figures for d in (held_out.tensors, held_out, loader)]
    assert found[1]["held_out_nll"] == found[0]["held_out_nll"] == pytest.approx(found[2]["held_out_nll"])


def test_a_wrapped_posterior_is_refused():
    x, y = TASKS[0].data()
    posterior = fit_map(TASKS[0].model(), x, y, num_epochs=1, **QUIET)
    with pytest.raises(TypeError, match="pass the one that it was made of"):
        diagnose(temperature_scaled(posterior, x[1:], y[1:]), x, y)


def test_a_process_of_many_data_is_asked_for_some_of_them(monkeypatch):
    monkeypatch.setattr("bayesnn.diagnostics._MOST_DATA", 20)
    x, y = line_data(60)
    found = diagnose(fit_gp(likelihoods.gaussian, x, y, num_epochs=5, num_samples=30, **QUIET), x, y, **QUIET)
    assert found.figures["p_loo"] > 0


def test_of_many_data_some_must_do(monkeypatch):
    monkeypatch.setattr("bayesnn.diagnostics._MOST_IN_FULL", 100)
    monkeypatch.setattr("bayesnn.diagnostics._MOST_DATA", 60)
    x, y = line_data()
    some = diagnose(exact(), x, y, num_samples=2000, **QUIET).figures
    assert "pareto_k" not in some
    rows = torch.linspace(0, 119, 60).round().long()
    assert some["elpd_loo"] == pytest.approx(float(exact_loo(x, y)[rows].mean()), abs=0.002)
    assert some["p_loo"] == pytest.approx(4, abs=2)
