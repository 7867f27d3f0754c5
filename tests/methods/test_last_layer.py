"""fit_last_layer against dense normals, scipy's optimiser and fit_svi."""

import copy
import warnings

import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.stats import lognorm, multivariate_normal
from torch import nn
from torch.func import functional_call

from bayesnn import BayesianNeuralNetwork, evaluate, fit_map, fit_svi, likelihoods, networks, priors
from bayesnn.methods.last_layer import fit_last_layer

QUICK = {"num_epochs": 20, "progress": False}


def data(num=40, columns=0):
    generator = torch.Generator().manual_seed(0)
    x = 5 + 3 * torch.randn(num, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(num, max(1, columns), generator=generator, dtype=torch.float64)
    y = 100 + 20 * (x.sin() @ torch.ones(2, max(1, columns), dtype=torch.float64)) + 5 * noise
    return x, y if columns else y[:, 0]


def model(likelihood=likelihoods.gaussian, num_outputs=1, prior=None):
    torch.manual_seed(0)
    network = networks.mlp(2, num_outputs, hidden=(6,), activation="tanh").double()
    return BayesianNeuralNetwork(network, prior, likelihood)


def uneven(name, value):
    """A prior with means that are not zero and scales that differ."""
    steps = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    return dist.Normal(0.3 * steps, steps)


def dense(posterior, x, y, noise, column):
    """Prior mean, prior covariance and features of one target, in standardised units: what an oracle starts from."""
    known, body = posterior.model.model, posterior.model.body
    with torch.no_grad():
        hidden = body.network[:-1](known.standardised(x))
    phi = torch.cat([hidden, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    weight, bias = (known.priors()[name] for name in ("2.weight", "2.bias"))
    loc = torch.cat([weight.loc[column], bias.loc[column : column + 1]])
    scale = torch.cat([weight.scale[column], bias.scale[column : column + 1]])
    unit, middle = known.y_scale.reshape(-1)[column], known.y_loc.reshape(-1)[column]
    t = (y.reshape(len(y), -1)[:, column] - middle) / unit
    return phi, loc, torch.diag(scale.square()), t, noise / unit, unit


@pytest.mark.parametrize("columns", [0, 1, 2])
def test_known_noise_is_the_conjugate_posterior(columns):
    x, y = data(columns=columns)
    given = model(likelihoods.gaussian.with_noise(4.0), max(1, columns), uneven)
    posterior = fit_last_layer(given, x, y, num_samples=3, **QUICK)
    found, evidence, eye = posterior.model.posterior, 0.0, torch.eye(len(x), dtype=x.dtype)
    for k in range(max(1, columns)):
        phi, loc, prior, t, noise, unit = dense(posterior, x, y, 4.0, k)
        covariance = phi @ prior @ phi.T + noise**2 * eye
        gain = prior @ phi.T @ torch.linalg.inv(covariance)
        torch.testing.assert_close(found.mean[k], loc + gain @ (t - phi @ loc))
        torch.testing.assert_close(found.root[k] @ found.root[k].T, prior - gain @ phi @ prior)
        evidence += multivariate_normal(phi @ loc, covariance).logpdf(t) / len(x) - float(unit.log())
    assert posterior.summary["log_evidence_per_datum"] == pytest.approx(evidence, rel=1e-9)
    assert set(posterior.weights) == {"2.weight", "2.bias"}
    assert posterior.weights["2.weight"].shape == (3, max(1, columns), 6)


def test_predictive_in_closed_form_is_the_normal_of_the_conjugate_posterior():
    x, y = data()
    new = data(9)[0] + 1
    posterior = fit_last_layer(model(likelihoods.gaussian.with_noise(4.0), prior=uneven), x, y, num_samples=3, **QUICK)
    phi, loc, prior, t, noise, unit = dense(posterior, x, y, 4.0, 0)
    ahead = dense(posterior, new, y[:9], 4.0, 0)[0]
    gain = ahead @ prior @ phi.T @ torch.linalg.inv(phi @ prior @ phi.T + noise**2 * torch.eye(40, dtype=x.dtype))
    mean, covariance = ahead @ loc + gain @ (t - phi @ loc), ahead @ prior @ ahead.T - gain @ phi @ prior @ ahead.T
    predictive = posterior.model.predictive(posterior.weights, new)
    torch.testing.assert_close(predictive.mean, y.mean() + unit * mean)
    torch.testing.assert_close(predictive.variance, unit**2 * (covariance.diagonal() + noise**2))
    assert isinstance(predictive.mixture, dist.Normal)
    assert predictive.num_samples == 3


def test_evidence_finds_the_noise_of_largest_evidence_times_prior():
    x, y = data()
    posterior = fit_last_layer(model(), x, y, noise="evidence", **QUICK)
    unit = float(y.std(correction=0))
    eye = torch.eye(len(x), dtype=x.dtype)

    def loss(log_noise):
        phi, loc, prior, t, noise, _ = dense(posterior, x, y, torch.tensor(log_noise, dtype=x.dtype).exp(), 0)
        evidence = multivariate_normal(phi @ loc, phi @ prior @ phi.T + noise**2 * eye).logpdf(t)
        return -evidence - lognorm(s=1.0, scale=0.3 * unit).logpdf(float(noise) * unit)

    best = minimize_scalar(loss, bounds=(-2.0, 5.0), method="bounded", options={"xatol": 1e-9})
    found = posterior.weights["noise_scale"]
    torch.testing.assert_close(found[0].log(), torch.tensor(best.x, dtype=x.dtype), atol=1e-6, rtol=0)
    assert (found == found[0]).all()


def test_evidence_of_several_targets_finds_each_ones_noise():
    x, y = data(columns=2)
    y = torch.stack([y[:, 0], 7 * y[:, 1]], 1)
    both = fit_last_layer(model(num_outputs=2), x, y, body="network", **QUICK)
    for k in range(2):
        whole = model(num_outputs=2).network
        alone = networks.mlp(2, 1, hidden=(6,), activation="tanh").double()
        alone.load_state_dict({n: v[k : k + 1] if n.startswith("2") else v for n, v in whole.state_dict().items()})
        one = BayesianNeuralNetwork(alone, likelihood=likelihoods.gaussian)
        # The default prior of two outputs and of one has the same scales.
        found = fit_last_layer(one, x, y[:, k], body="network", progress=False).weights["noise_scale"]
        torch.testing.assert_close(both.weights["noise_scale"][:, k], found, rtol=1e-5, atol=0)


def test_noise_of_the_body_is_that_of_its_fit():
    x, y = data()
    plain = fit_map(model(), x, y, **QUICK)
    mine, given = fit_last_layer(model(), x, y, **QUICK), fit_last_layer(model(), x, y, body=plain, progress=False)
    for posterior in (mine, given):
        assert (posterior.weights["noise_scale"] == plain.weights["noise_scale"]).all()
        torch.testing.assert_close(posterior.weights["2.weight"], mine.weights["2.weight"])
    assert len(mine.history.epochs) == 20
    assert given.history.epochs == []


def test_a_pretrained_network_is_taken_as_it_stands():
    x, y = data()
    given = BayesianNeuralNetwork(model().network, likelihood=likelihoods.gaussian, standardise=False)
    posterior = fit_last_layer(given, x, y, body="network", num_samples=5, progress=False)
    torch.testing.assert_close(posterior.model.features(x), given.network[:-1](x))


def test_resampling_is_exact_and_leaves_the_mixture():
    x, y = data()
    posterior = fit_last_layer(model(), x, y, num_samples=4, seed=1, **QUICK)
    again, other = posterior.resample(4, seed=1), posterior.resample(6, seed=2)
    assert torch.equal(again.weights["2.weight"], posterior.weights["2.weight"])
    assert other.num_samples == 6
    assert not torch.equal(other.weights["2.weight"][:4], posterior.weights["2.weight"])
    means = [one.model.predictive(one.weights, x).mean for one in (posterior, other)]
    assert torch.equal(*means)


def test_without_a_bias():
    x, y = data()
    network = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1, bias=False)).double()
    given = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)
    posterior = fit_last_layer(given, x, y, num_samples=4, **QUICK)
    assert set(posterior.weights) == {"2.weight", "noise_scale"}
    assert posterior(x).mean.isfinite().all()


@pytest.mark.filterwarnings("ignore:the ELBO, .* is below")
def test_classes_are_fitted_by_svi_on_the_features_with_the_models_prior():
    """The same fit, done by hand: a linear model on the features that reads them as they are."""
    x, y = data()
    y = (y > y.median()).long() + (y > y.median() + 10).long()
    given = model(likelihoods.categorical, 3)
    plain = fit_map(given, x, y, **QUICK)
    posterior = fit_last_layer(given, x, y, body=plain, num_samples=5, num_epochs=60, progress=False)
    known = plain.model
    features = posterior.model.features(x)
    layer = nn.Linear(6, 3).double()
    layer.load_state_dict({"weight": plain.weights["2.weight"][0], "bias": plain.weights["2.bias"][0]})
    alone = BayesianNeuralNetwork(
        layer, lambda name, value: known.priors()[f"2.{name}"], likelihoods.categorical, standardise=False
    )
    wanted = fit_svi(alone, features, y, num_samples=5, num_epochs=60, batch_size=128, progress=False)
    torch.testing.assert_close(posterior.weights["2.weight"], wanted.weights["weight"])
    torch.testing.assert_close(posterior(x).probs, wanted(features).probs)
    assert posterior.summary == wanted.summary
    scales = posterior.model.model.priors()["2.weight"].scale
    torch.testing.assert_close(scales, wanted.model.priors()["weight"].scale)
    assert not torch.equal(scales, known.priors()["2.weight"].scale)
    assert torch.equal(dict(posterior.model.body.head.named_parameters())["bias"], plain.weights["2.bias"][0])
    more = posterior.resample(7, seed=3)
    torch.testing.assert_close(more.weights["2.bias"], wanted.resample(7, seed=3).weights["bias"])


@pytest.mark.slow
def test_svi_of_a_gaussian_comes_near_the_closed_form():
    """A prior that is no normal but all but one, so that SVI is used: a Student-t of 1000 degrees of freedom."""
    x, y = data(200)
    noise = likelihoods.gaussian.with_noise(5.0)
    plain = fit_map(model(noise, prior=priors.normal(1.0)), x, y, progress=False)
    exact = fit_last_layer(model(noise, prior=priors.normal(1.0)), x, y, body=plain, progress=False)
    given = model(noise, prior=priors.student_t(1.0, degrees_of_freedom=1000.0))
    fitted = fit_last_layer(given, x, y, body=plain, num_samples=2000, num_epochs=1000, progress=False)
    assert "elbo_per_datum" in fitted.summary
    # The ELBO is below the evidence, and for a linear model along its features' axes not far below.
    gap = exact.summary["log_evidence_per_datum"] - fitted.summary["elbo_per_datum"]
    assert -0.003 < gap < 0.05
    closed, drawn = exact.model.predictive(exact.weights, x), fitted(x)
    assert (closed.mean - drawn.mean).abs().max() < 0.5 * (closed.variance - 25).sqrt().max()


def test_history_tells_of_both_stages_and_ctrl_c_ends_the_one_that_runs():
    x, y = data()
    y = (y > y.median()).long()
    seen = []

    def stop(epoch, terms):
        seen.append(epoch)
        if epoch == 12:
            raise KeyboardInterrupt

    given = model(likelihoods.bernoulli)
    with pytest.warns(UserWarning, match="stopped by hand after 3 of 10|weight of the divergence"):
        posterior = fit_last_layer(given, x, y, num_epochs=10, progress=False, callback=stop)
    assert seen == list(range(13))
    assert posterior.history.interrupted
    assert len(posterior.history.epochs) == 13
    assert "kl" in posterior.history.epochs[-1]


@pytest.mark.slow
def test_digits_gain_by_a_bayesian_last_layer():
    from bayesnn import datasets

    split = datasets.digits()
    torch.manual_seed(0)
    network = networks.mlp((8, 8), 9, hidden=400, activation="silu")
    given = BayesianNeuralNetwork(network, priors.fan_in_normal(5.0), likelihoods.categorical)
    plain = fit_map(given, split.x_train, split.y_train, progress=False)
    posterior = fit_last_layer(given, split.x_train, split.y_train, body=plain, progress=False)
    before, after = (evaluate(fitted(split.x_test), split.y_test) for fitted in (plain, posterior))
    assert after["nll"] < before["nll"] + 0.01
    assert after["ece"] < before["ece"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number"),
        ({"noise": 0.1}, 'noise must be "body" or "evidence"; got 0.1'),
    ],
    ids=str,
)
def test_settings_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        fit_last_layer(model(), *data(), progress=False, **options)


def normalised(num_outputs):
    """A network with batch normalisation that has seen data, in train mode still."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, num_outputs)).double()
    for _ in range(20):
        network(5 + 3 * torch.randn(50, 2, dtype=torch.float64))
    return network


@pytest.mark.parametrize("kind", ["in closed form", "by svi"])
def test_a_body_with_batch_normalisation_stays_in_eval_mode(kind):
    x, y = data()
    network = normalised(1 if kind == "in closed form" else 3)
    plain, before = copy.deepcopy(network).eval(), copy.deepcopy(network.state_dict())
    if kind == "in closed form":
        likelihood = likelihoods.gaussian.with_noise(4.0)
    else:
        likelihood, y = likelihoods.categorical, (y > y.median()).long() + (y > y.mean() + 20)
    given = BayesianNeuralNetwork(network, likelihood=likelihood, standardise=False)
    with warnings.catch_warnings(action="ignore"):  # so short a fit is not settled
        posterior = fit_last_layer(given, x, y, body="network", num_samples=4, **QUICK)
    own = {name: value[None] for name, value in plain.named_parameters() if name.startswith("3")}
    drawn = {name: posterior.weights[name] for name in own}
    for weights in (own, drawn):
        found = posterior.model.predict(weights, x)
        for s in range(len(weights["3.bias"])):
            wanted = functional_call(plain, {name: value[s] for name, value in weights.items()}, (x,))
            if kind == "in closed form":
                torch.testing.assert_close(found.mean[s], wanted[:, 0])
            else:
                torch.testing.assert_close(found.probs[s], wanted.softmax(1))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not torch.allclose(network(x), plain(x))  # in train mode it is another map


def test_a_body_with_batch_normalisation_is_not_fitted():
    given = BayesianNeuralNetwork(normalised(1), likelihood=likelihoods.gaussian)
    with pytest.raises(ValueError, match=r"batch normalisation makes .*fit_last_layer\(\.\.\., body=.network.\)"):
        fit_last_layer(given, *data(), **QUICK)


def test_a_network_that_does_not_end_with_a_linear_layer():
    network = nn.Sequential(nn.Linear(2, 1), nn.Tanh()).double()
    with pytest.raises(ValueError, match="outputs must be those of its last linear layer, '0'"):
        fit_last_layer(BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian), *data(), **QUICK)


def test_the_mixture_in_closed_form_reaches_predictions():
    x = torch.randn(30, 2)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(4,)), likelihood=likelihoods.gaussian)
    posterior = fit_last_layer(model, x, x[:, 0], num_epochs=2, num_samples=500, progress=False)
    predictive = posterior(x)
    assert isinstance(predictive.mixture, torch.distributions.Normal)
    spread = predictive.members.mean.std(0)
    assert ((predictive.mean - predictive.members.mean.mean(0)).abs() < 5 * spread / 500**0.5).all()


@pytest.mark.parametrize("columns", [0, 2])
def test_joint_density_over_the_draws_own_is_the_evidence(columns):
    """Of an exact posterior log p(y, w) - log q(w) is the log-evidence at every draw."""
    x, y = data(columns=columns)
    posterior = fit_last_layer(model(likelihoods.gaussian.with_noise(4.0), max(1, columns), uneven), x, y, **QUICK)
    log_likelihood = posterior(x).members.log_prob(y).sum(1)
    ratio = log_likelihood + posterior.log_prior() - posterior.log_density()
    evidence = torch.full_like(ratio, posterior.summary["log_evidence_per_datum"] * len(x))
    torch.testing.assert_close(ratio, evidence, rtol=1e-8, atol=0)


def test_the_density_of_a_last_layer_by_svi_is_its_guides():
    x, y = data()
    posterior = fit_last_layer(model(likelihoods.student_t, 2), x, y, num_samples=5, **QUICK)
    sites = posterior.guide.sites()
    wanted = sites["weight"].log_prob(posterior.weights["2.weight"]) + sites["bias"].log_prob(
        posterior.weights["2.bias"]
    )
    wanted = wanted + sum(sites[n].log_prob(posterior.weights[n]) for n in posterior.model.model.latents())
    torch.testing.assert_close(posterior.log_density(), wanted.detach())
    assert posterior.model.log_priors(posterior.weights).keys() == posterior.weights.keys()
