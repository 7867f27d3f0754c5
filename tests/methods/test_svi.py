"""fit_svi against exact posteriors, and what it promises beside the fit."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoDelta, AutoLowRankMultivariateNormal, AutoMultivariateNormal
from pyro.infer.autoguide import AutoNormal as PyroAutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn

from bayesnn import BayesianNeuralNetwork, evaluate, fit_map, fit_svi, likelihoods, networks, priors
from bayesnn.fitting import isolated
from bayesnn.flat_elbo import FlatELBO
from bayesnn.guides import AutoNormal
from bayesnn.likelihoods import Gaussian
from bayesnn.settled import final_figures
from bayesnn.training import Adam

pytestmark = pytest.mark.filterwarnings("ignore:the ELBO")  # fits of a few epochs

# A prior that weighs a third of the data: a fault in it must show.
NUM_DATA, NOISE, PRIOR = 64, 0.5, 0.1


def orthogonal_design(dtype=torch.float64):
    """Columns of a Hadamard matrix, X'X = N I: the exact posterior factorises, and a mean-field guide can be exact."""
    hadamard = torch.ones(1, 1, dtype=dtype)
    while len(hadamard) < NUM_DATA:
        hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
    x = hadamard[:, 1:5]
    y = x @ torch.tensor([1.0, -0.5, 0.2, 0.0], dtype=dtype) + NOISE * torch.randn(NUM_DATA, dtype=dtype)
    return x, y


def linear_model(prior_scale=PRIOR):
    network = nn.Linear(4, 1, bias=False).double()
    return BayesianNeuralNetwork(
        network, prior=priors.normal(prior_scale), likelihood=likelihoods.gaussian.with_noise(NOISE), standardise=False
    )


def exact_posterior(x, y):
    """Bishop (2006), Pattern Recognition and Machine Learning, equations 3.53 and 3.54."""
    precision = torch.eye(4, dtype=x.dtype) / PRIOR**2 + x.T @ x / NOISE**2
    covariance = torch.linalg.inv(precision)
    return covariance @ x.T @ y / NOISE**2, covariance.diagonal().sqrt()


def errors(posterior, x, y):
    """Largest error of a mean in posterior standard deviations, and largest relative error of a standard deviation."""
    loc, scale = (value.detach().flatten() for value in posterior.guide.real_moments()["weight"])
    mean, sd = exact_posterior(x, y)
    return float(((loc - mean) / sd).abs().max()), float((scale / sd - 1).abs().max())


def fit_linear(x, y, *, batch_size, prior_scale=PRIOR, rotate=True):
    # Enough draws for the noise of the optimiser, some 0.005 posterior standard deviations, to stay below 0.02.
    whole = batch_size == NUM_DATA
    effort = {"num_epochs": 6000, "num_particles": 8} if whole else {"num_epochs": 2000, "num_particles": 4}
    return fit_svi(linear_model(prior_scale), x, y, batch_size=batch_size, rotate=rotate, progress=False, **effort)


@pytest.mark.filterwarnings("ignore:the ELBO")  # so few data do not pay for so many weights
def test_passes_written_out_reach_the_exact_posterior_of_eight_outputs():
    """As `fit_svi` comes: noise for each datum, read from tables again and again."""
    x, _ = orthogonal_design()
    y = x @ torch.randn(4, 8, dtype=x.dtype) + NOISE * torch.randn(NUM_DATA, 8, dtype=x.dtype)
    network = nn.Sequential(nn.Linear(4, 8, bias=False)).double()
    model = BayesianNeuralNetwork(
        network, prior=priors.normal(PRIOR), likelihood=likelihoods.gaussian.with_noise(NOISE), standardise=False
    )
    posterior = fit_svi(model, x, y, batch_size=NUM_DATA, num_epochs=4000, num_particles=4, progress=False)
    loc, scale = (value.detach().view(8, 4) for value in posterior.guide.real_moments()["0.weight"])
    mean, sd = exact_posterior(x, y)
    assert float(((loc - mean.T) / sd).abs().max()) < 0.03
    assert float((scale / sd - 1).abs().max()) < 0.03


def correlated_design():
    x, _ = orthogonal_design()
    x = x @ torch.tensor([[1.0, 0.9, 0, 0], [0, 0.5, 0, 0], [0.5, 0, 1, 0.8], [0, 0, 0, 0.3]], dtype=x.dtype)
    y = x @ torch.tensor([1.0, -0.5, 0.2, 0.0], dtype=x.dtype) + NOISE * torch.randn(NUM_DATA, dtype=x.dtype)
    return x, y


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [NUM_DATA, 16], ids=["full batch", "minibatches"])
@pytest.mark.parametrize("rotate", [True, False], ids=["rotated", "columns"])
def test_linear_gaussian_posterior_is_exact(batch_size, rotate):
    check_exact(*orthogonal_design(), batch_size=batch_size, rotate=rotate)


@pytest.mark.slow
def test_linear_gaussian_posterior_is_exact_along_principal_axes_whatever_the_design():
    check_exact(*correlated_design(), batch_size=NUM_DATA)


def check_exact(x, y, **options):
    posterior = fit_linear(x, y, **options)
    mean_error, scale_error = errors(posterior, x, y)
    assert mean_error < 0.02
    assert scale_error < 0.03
    covariance = PRIOR**2 * x @ x.T + NOISE**2 * torch.eye(NUM_DATA, dtype=x.dtype)
    evidence = dist.MultivariateNormal(torch.zeros(NUM_DATA, dtype=x.dtype), covariance).log_prob(y)
    # An exact guide's ELBO is the log evidence; its estimate is of 32 draws. The variance of the log-likelihood, a
    # quadratic of curvature A around w, under N(m, S) is tr(ASAS) / 2 + (m - w)' ASA (m - w).
    mean, _ = exact_posterior(x, y)
    curvature = x.T @ x / NOISE**2
    turned = curvature @ torch.linalg.inv(torch.eye(4, dtype=x.dtype) / PRIOR**2 + curvature)
    off = mean - torch.linalg.solve(x.T @ x, x.T @ y)
    variance = torch.trace(turned @ turned) / 2 + off @ turned @ curvature @ off
    error = float(variance.sqrt()) / NUM_DATA / math.sqrt(32)
    assert abs(posterior.summary["elbo_per_datum"] - float(evidence) / NUM_DATA) < 5 * error
    with isolated(1, x.device):
        figures = [final_figures(posterior.model, posterior.guide, x, y)["elbo_per_datum"] for _ in range(100)]
    assert abs(sum(figures) / 100 - float(evidence) / NUM_DATA) < 0.002 + 5 * error / 10


@pytest.mark.slow
def test_the_conjugate_test_sees_a_divergence_scaled_by_the_batch(monkeypatch):
    honest = FlatELBO.__call__

    def scaled_by_the_batch(self, batch, weight, **settings):
        return honest(self, batch, weight * NUM_DATA / 16, **settings)

    monkeypatch.setattr(FlatELBO, "__call__", scaled_by_the_batch)
    x, y = orthogonal_design()
    mean_error, scale_error = errors(fit_linear(x, y, batch_size=16), x, y)
    assert mean_error > 0.02 or scale_error > 0.03


@pytest.mark.slow
def test_the_conjugate_test_sees_a_standard_deviation_taken_for_a_variance():
    x, y = orthogonal_design()
    posterior = fit_linear(x, y, batch_size=NUM_DATA, prior_scale=math.sqrt(PRIOR))
    mean_error, scale_error = errors(posterior, x, y)
    assert mean_error > 0.02 or scale_error > 0.03


def small_data(dtype=torch.float32):
    x = torch.linspace(-2, 2, 60, dtype=dtype)[:, None]
    return x, torch.sin(2 * x[:, 0]) + 0.1 * torch.randn(60, dtype=dtype)


def small_model():
    return BayesianNeuralNetwork(networks.mlp(1, 1, hidden=(10,)), likelihood=likelihoods.gaussian)


QUICK = {"num_epochs": 15, "num_samples": 6, "progress": False}


def test_pyro_store_and_random_states_stay_as_they_were():
    data, model = small_data(), small_model()
    pyro.get_param_store()["mine"] = torch.ones(2)
    state, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is meant
    fit_svi(model, *data, **QUICK)(data[0])
    kept = list(pyro.get_param_store().keys())
    pyro.clear_param_store()
    assert kept == ["mine"]
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpys).all()  # noqa: NPY002


GUIDES = [PyroAutoNormal, AutoDelta, AutoLowRankMultivariateNormal, lambda model: AutoMultivariateNormal(model)]


@pytest.mark.parametrize("guide", GUIDES, ids=["normal", "delta", "low rank", "full rank from a function"])
def test_takes_any_pyro_guide(guide):
    x, y = small_data()
    posterior = fit_svi(small_model(), x, y, guide=guide, **QUICK)
    assert posterior.num_samples == 6
    assert set(posterior.weights) == {"0.weight", "0.bias", "2.weight", "2.bias", "noise_scale"}
    assert posterior(x).log_prob(y).isfinite().all()
    assert torch.equal(posterior.resample(6, seed=0).weights["0.weight"], posterior.weights["0.weight"])


def test_takes_a_guide_already_built():
    x, y = small_data()
    model = small_model().for_data(x, y)
    guide = AutoNormal(model, x, y, init_scale=0.2)
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    fit_svi(model, x, y, guide=guide, **QUICK)
    assert all(torch.equal(value, before[name]) for name, value in guide.state_dict().items())


def test_refuses_a_guide_that_is_no_module():
    with pytest.raises(TypeError, match="guide must be a Pyro guide class"):
        fit_svi(small_model(), *small_data(), guide=lambda model: 3, **QUICK)


def hierarchical(x, y=None):
    scale = pyro.sample("scale", dist.HalfNormal(2.0))
    slope = pyro.sample("slope", dist.Normal(torch.zeros(3), scale).to_event(1))
    level = pyro.sample("level", dist.Normal(0.0, 5.0))
    noise = pyro.sample("noise", dist.LogNormal(-1.0, 1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(x @ slope + level, noise), obs=y)


def test_a_hierarchical_pyro_model_goes_through():
    x = torch.randn(200, 3)
    y = x @ torch.tensor([1.0, -2.0, 0.5]) + 3 + 0.3 * torch.randn(200)
    posterior = fit_svi(hierarchical, x, y, num_epochs=1500, progress=False)
    assert posterior(x).batch_shape == (200,)
    assert evaluate(posterior(x), y)["rmse"] < 0.35
    slope = posterior.weights["slope"]
    # Least squares has standard errors of 0.3 / sqrt(200) = 0.02; five of them, and the guide's own spread.
    assert (slope.mean(0) - torch.tensor([1.0, -2.0, 0.5])).abs().max() < 0.12


def test_minibatches_of_a_pyro_model_are_scaled_to_the_data_set():
    x = torch.randn(200, 3)
    y = x.sum(1) + 0.3 * torch.randn(200)
    whole = fit_svi(hierarchical, x, y, num_epochs=1500, progress=False)
    parts = fit_svi(hierarchical, x, y, num_epochs=300, batch_size=40, progress=False)
    for name in ("slope", "noise"):
        ratio = parts.weights[name].std(0) / whole.weights[name].std(0)
        # Standard deviations of 100 draws each: relative error 1 / sqrt(200) a piece, five of them. A plate taken for
        # the data set would make the posterior sqrt(5) = 2.2 times wider.
        assert (ratio.log().abs() < 0.5).all()


class UserNetwork(PyroModule):
    def __init__(self):
        super().__init__()
        self.first = PyroModule[nn.Linear](1, 8)
        self.first.weight = PyroSample(dist.Normal(0.0, 1.0).expand([8, 1]).to_event(2))
        self.first.bias = PyroSample(dist.Normal(0.0, 1.0).expand([8]).to_event(1))
        self.last = nn.Linear(8, 1)

    def forward(self, x, y=None):
        noise = pyro.sample("noise", dist.LogNormal(-1.0, 1.0))
        mean = self.last(self.first(x).tanh()).squeeze(-1)
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(mean, noise), obs=y)


def test_a_pyro_module_with_samples_and_parameters_goes_through():
    x, y = small_data()
    with pyro.settings.context(module_local_params=True):
        model = UserNetwork()
    before = model.last.weight.detach().clone()
    posterior = fit_svi(model, x, y, num_epochs=600, progress=False)
    assert torch.equal(model.last.weight, before)
    assert set(posterior.weights) == {"noise", "first.weight", "first.bias"}
    assert evaluate(posterior(x), y)["rmse"] < 0.5 * float(y.std())


def test_temperature_is_reported_only_when_it_is_not_one():
    x, y = small_data()
    assert "temperature" not in repr(fit_svi(small_model(), x, y, **QUICK))
    assert "temperature=0.5" in repr(fit_svi(small_model(), x, y, temperature=0.5, **QUICK))


def test_fitted_prior_scales_are_in_the_model_and_the_elbo_is_its():
    x, y = small_data()
    posterior = fit_svi(small_model(), x, y, **{**QUICK, "num_epochs": 300})
    loc, scale = posterior.guide.real_moments()["0.bias"]
    second_moment = (loc.square() + scale.square()).mean().sqrt()
    torch.testing.assert_close(posterior.model.priors()["0.bias"].stddev[0], second_moment.detach())


@pytest.mark.parametrize("start", ["map", "network"])
def test_start(start):
    x, y = small_data()
    posterior = fit_svi(small_model(), x, y, start=start, **QUICK)
    assert posterior(x).mean.isfinite().all()


def test_start_at_given_values():
    x, y = small_data()
    values = {"0.bias": torch.full((10,), 3.0)}
    posterior = fit_svi(small_model(), x, y, start=values, **{**QUICK, "num_epochs": 1, "learning_rate": 1e-6})
    torch.testing.assert_close(posterior.guide.median()["0.bias"], values["0.bias"], atol=1e-3, rtol=0)


def test_says_when_it_collapsed():
    def indifferent(x, y=None):
        slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(0 * slope * x[:, 0], 1.0), obs=y)

    with pytest.warns(UserWarning, match="collapsed to the prior"):
        fit_svi(indifferent, *small_data(), num_epochs=500, progress=False)


@pytest.mark.filterwarnings("default:the ELBO")
def test_says_when_the_inputs_might_as_well_be_ignored():
    model = BayesianNeuralNetwork(networks.mlp(5, 2), likelihood=likelihoods.categorical)
    with pytest.warns(UserWarning, match=r"the ELBO, .* is below -0.69.*start=\"map\""):
        fit_svi(model, torch.randn(100, 5), torch.arange(100) % 2, num_epochs=100, progress=False)


@pytest.mark.filterwarnings("default:the ELBO")
def test_says_when_the_elbo_was_still_rising():
    """Without noise the density rises without end."""
    x = torch.randn(50, 2)
    with pytest.warns(UserWarning, match=r"still rising.*raise num_epochs"):
        posterior = fit_svi(
            BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian),
            x,
            x.sum(1),
            num_epochs=1000,
            progress=False,
        )
    assert posterior.summary["elbo_rise"] > 0.2


@pytest.mark.filterwarnings("ignore:the ELBO", "ignore:the fit", "ignore:the posterior")
def test_a_fit_that_breaks_where_the_divergence_is_told_goes_back_to_its_last_epoch(monkeypatch):
    """Seven steps an epoch: in the fifth epoch the parameters are spoiled, and the thirtieth step tells it as NaN."""
    steps, honest = [], Adam.step

    def spoiled(self):
        honest(self)
        steps.append(1)
        if len(steps) == 29:
            self.param_groups[0]["params"][0].data.fill_(torch.nan)

    monkeypatch.setattr(Adam, "step", spoiled)
    x = torch.randn(140, 2)
    model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
    with pytest.warns(UserWarning, match="stopped being finite after 4 of 20 epochs"):
        posterior = fit_svi(model, x, x.sum(1), batch_size=20, num_epochs=20, num_samples=3, progress=False)
    assert len(posterior.history.epochs) == 4
    assert not torch.equal(posterior.guide.real_moments()["0.weight"][0], model.start()["0.weight"])


def test_noise_once_for_a_minibatch(monkeypatch):
    """The objective is told of no site whose noise is each datum's, and the inputs keep their axes."""
    seen, own = [], FlatELBO.__init__

    def watched(self, *given, per_datum, **options):
        seen.append(list(per_datum))
        own(self, *given, per_datum=per_datum, **options)

    monkeypatch.setattr(FlatELBO, "__init__", watched)
    x, y = small_data()
    each, once = (fit_svi(small_model(), x, y, **QUICK, per_datum_noise=noise) for noise in (True, False))
    assert "0.weight" in seen[0]
    assert seen[1] == []
    assert once.guide.axes.keys() == each.guide.axes.keys()
    assert not torch.equal(once.weights["0.weight"], each.weights["0.weight"])
    with pytest.raises(TypeError, match="per_datum_noise must be True, False or None; got 'no'"):
        fit_svi(small_model(), x, y, **QUICK, per_datum_noise="no")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number"),
        ({"warmup": 2.0}, "warmup must be a fraction"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"init_scale": 0.0}, "initial scale must be positive"),
        ({"start": "prior"}, 'start must be "network", "map"'),
    ],
)
def test_bad_settings(options, words):
    with pytest.raises(ValueError, match=words):
        fit_svi(small_model(), *small_data(), **{**QUICK, **options})


def test_resample_gives_other_draws_of_the_same_fit():
    x, y = small_data()
    posterior = fit_svi(small_model(), x, y, **QUICK)
    more = posterior.resample(20000, seed=1)
    loc, scale = posterior.guide.real_moments()["0.weight"]
    error = (more.weights["0.weight"].mean(0) - loc) / (scale / math.sqrt(20000))
    assert error.abs().max() < 5.5
    with pytest.raises(ValueError, match="num_samples must be a whole number"):
        posterior.resample(0)


def test_known_noise_is_in_the_units_of_y():
    x, y = small_data()
    model = BayesianNeuralNetwork(networks.mlp(1, 1), likelihood=Gaussian(noise=250.0))
    predictive = fit_svi(model, x, 1000 * y, **QUICK)(x)
    torch.testing.assert_close(predictive.members.stddev, torch.full((6, 60), 250.0))


def level_model(x, y=None):
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("y", dist.Normal(level, 1.0).expand([len(x)]), obs=y)


def test_the_elbo_of_a_pyro_model_stays_below_the_evidence_in_parts(monkeypatch):
    """The final figures are summed over parts of the data; the plate must not be scaled twice, nor not at all."""
    import bayesnn.settled as module

    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 64)
    x, y = torch.zeros(500, 1), 0.7 + torch.randn(500)
    posterior = fit_svi(level_model, x, y, num_epochs=2000, progress=False)
    covariance = torch.ones(500, 500, dtype=torch.float64) + torch.eye(500, dtype=torch.float64)
    evidence = dist.MultivariateNormal(torch.zeros(500, dtype=torch.float64), covariance).log_prob(y.double()) / 500
    # An exact guide: the estimate of 32 draws has a standard error of a few 1e-4.
    assert posterior.summary["elbo_per_datum"] == pytest.approx(float(evidence), abs=0.005)


def test_another_objective_is_used_and_refused_where_it_would_be_wrong():
    from pyro.infer import Trace_ELBO

    x, y = torch.zeros(200, 1), 0.7 + torch.randn(200)
    posterior = fit_svi(level_model, x, y, elbo=Trace_ELBO(), num_epochs=2000, progress=False)
    assert float(posterior.guide.real_moments()["level"][1].detach()) == pytest.approx(1 / math.sqrt(201), rel=0.1)
    for options in ({"batch_size": 10}, {"temperature": 0.5}):
        with pytest.raises(ValueError, match="elbo= brings its own settings"):
            fit_svi(level_model, x, y, elbo=Trace_ELBO(), progress=False, **options)


def test_an_unfinished_rise_of_the_divergence_is_told():
    def stop(epoch, terms):
        if epoch == 5:
            raise KeyboardInterrupt

    with (
        pytest.warns(UserWarning, match=r"weight of the divergence was still 0\.12"),
        pytest.warns(UserWarning, match="stopped by hand"),
    ):
        posterior = fit_svi(small_model(), *small_data(), num_epochs=100, callback=stop, progress=False)
    assert posterior.summary["kl_weight"] == pytest.approx(0.12)


def test_a_start_must_name_sites():
    with pytest.raises(ValueError, match=r"start must name sites of the model .*got 0\.weihgt"):
        fit_svi(small_model(), *small_data(), start={"0.weihgt": torch.zeros(10, 1)}, **QUICK)


def test_a_start_has_the_shapes_of_the_sites():
    x, y = small_data()
    point = fit_map(small_model(), x, y, num_epochs=5, progress=False)
    again = fit_svi(small_model(), x, y, start=point.weights, **QUICK)
    one = fit_svi(small_model(), x, y, start={name: value[0] for name, value in point.weights.items()}, **QUICK)
    assert torch.equal(again(x).mean, one(x).mean)
    draws = fit_svi(small_model(), x, y, **{**QUICK, "num_samples": 3}).weights
    with pytest.raises(ValueError, match=r"start must give .* as a tensor of shape .*; got \(3, .*Of several draws"):
        fit_svi(small_model(), x, y, start=draws, **QUICK)


def test_time_stamps_keep_their_digits():
    x = 1.7e9 + torch.arange(400, dtype=torch.float64)[:, None]
    posterior = fit_svi(small_model(), x, (x[:, 0] / 30).sin(), **QUICK)
    assert len(posterior.model.standardised(x).unique()) == 400
    with pytest.raises(ValueError, match="lose their digits"):
        fit_svi(small_model(), x, x[:, 0], **QUICK)


@pytest.mark.parametrize("unit", [1e-22, 1e19])
def test_units_whose_squares_single_precision_cannot_hold_are_refused(unit):
    x, y = small_data()
    with pytest.raises(ValueError, match=r"spread over 1e-16 and be smaller than 2e\+16, so that torch.float32"):
        fit_svi(small_model(), x, y * unit, **QUICK)
    model = small_model()
    model.network.double()
    assert fit_svi(model, x.double(), y.double() * unit, **QUICK)(x).variance.gt(0).all()
    assert fit_svi(small_model(), x, y * unit**0.5, **QUICK)(x).variance.gt(0).all()


def test_a_double_pyro_model_takes_double_data():
    def double(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2, dtype=torch.float64), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ slope, 1.0), obs=y)

    x = torch.randn(30, 2, dtype=torch.float64)
    assert fit_svi(double, x, x.sum(1), **QUICK)(x).mean.dtype == torch.float64


def test_no_accelerator_is_seeded(monkeypatch):
    seeds = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    x, y = small_data()
    fit_svi(small_model(), x, y, **QUICK)(x)
    assert seeds == []


def test_a_network_that_was_not_wrapped_is_told():
    with pytest.raises(TypeError, match=r"called as model\(x, y=None\).*Wrap it"):
        fit_svi(networks.mlp(1, 1), *small_data(), **QUICK)


@pytest.mark.parametrize(
    ("network", "usual"),
    [
        (networks.mlp((8, 8), 2, hidden=3), 0.015),
        (networks.mlp((8, 8), 2, hidden=900), 0.01),
        (networks.conv_net((8, 8), 2, channels=(2,)), 0.01),
    ],
)
def test_the_usual_step_size_depends_on_width_and_convolutions(network, usual):
    x, y = torch.randn(32, 8, 8), torch.arange(32) % 2
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
    fits = [
        fit_svi(model, x, y, num_epochs=2, warmup=0.0, progress=False, learning_rate=rate)
        for rate in (None, usual, 2 * usual)
    ]
    assert fits[0].history["loss"] == fits[1].history["loss"] != fits[2].history["loss"]


@pytest.mark.parametrize(("columns", "usual"), [(3, 0.03), (900, 0.01)])
def test_guides_with_correlations_to_find_start_at_a_larger_step(columns, usual):
    x, y = torch.randn(32, columns), torch.randn(32)
    model = BayesianNeuralNetwork(networks.mlp(columns, 1, hidden=1), likelihood=likelihoods.gaussian)
    fits = [
        fit_svi(model, x, y, num_epochs=2, warmup=0.0, progress=False, learning_rate=rate, guide=AutoMultivariateNormal)
        for rate in (None, usual, 2 * usual)
    ]
    assert fits[0].history["loss"] == fits[1].history["loss"] != fits[2].history["loss"]


@pytest.mark.parametrize(("hidden", "is_small"), [(500, True), (700, False)])
def test_noise_is_drawn_for_each_datum_of_small_networks(hidden, is_small):
    x, y = torch.randn(32, 8, 8), torch.arange(32) % 2
    model = BayesianNeuralNetwork(networks.mlp((8, 8), 2, hidden=hidden), likelihood=likelihoods.categorical)
    fits = [
        fit_svi(model, x, y, num_epochs=2, warmup=0.0, progress=False, per_datum_noise=noise).history["loss"]
        for noise in (None, True, False)
    ]
    assert fits[0] == fits[1 if is_small else 2] != fits[2 if is_small else 1]
