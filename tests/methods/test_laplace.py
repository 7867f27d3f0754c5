"""fit_laplace against the conjugate posterior, dense Hessians and the tangent of a network."""

import math

import pyro.distributions as dist
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn
from torch.func import functional_call, jvp
from torch.utils.data import IterableDataset

from bayesnn import BayesianNeuralNetwork, evaluate, fit_map, likelihoods, networks, priors
from bayesnn.methods.laplace import fit_laplace
from bayesnn.methods.last_layer import fit_last_layer

QUICK = {"num_epochs": 20, "progress": False}


def data(num=30, features=3):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num, features, generator=generator, dtype=torch.float64)
    return x, x.sum(1) + 0.5 * torch.randn(num, generator=generator, dtype=torch.float64)


def linear(likelihood, num_outputs=1):
    torch.manual_seed(0)
    network = nn.Linear(3, num_outputs).double()
    return BayesianNeuralNetwork(network, priors.normal(0.7), likelihood, standardise=False)


def deep(likelihood, num_outputs=1):
    torch.manual_seed(0)
    network = networks.mlp(3, num_outputs, hidden=(5,), activation="tanh").double()
    return BayesianNeuralNetwork(network, likelihood=likelihood)


def moments(posterior, x, num_samples=4000):
    """Mean and covariance of all weights over many draws."""
    drawn = posterior.resample(num_samples, seed=3).weights
    flat = torch.cat([drawn[name].flatten(1) for name in posterior.weights if name != "noise_scale"], 1)
    return flat.mean(0), flat.T.cov()


def test_linear_model_with_known_noise_is_the_conjugate_posterior():
    x, y = data()
    given = linear(likelihoods.gaussian.with_noise(0.5))
    plain = fit_map(given, x, y, batch_size=30, num_epochs=1200, learning_rate=0.05, progress=False)
    laplace, exact = fit_laplace(given, x, y, start=plain), fit_last_layer(given, x, y, body=plain)
    found, wanted = laplace.model.posterior, exact.model.posterior
    torch.testing.assert_close(found.mean, wanted.mean, atol=1e-4, rtol=0)
    torch.testing.assert_close(found.root @ found.root.mT, wanted.root @ wanted.root.mT)
    torch.testing.assert_close(
        laplace.model.predictive(laplace.weights, x).variance, exact.model.predictive(exact.weights, x).variance
    )
    design = torch.cat([x, torch.ones(30, 1, dtype=x.dtype)], 1)
    covariance = 0.49 * design @ design.T + 0.25 * torch.eye(30, dtype=x.dtype)
    evidence = multivariate_normal(torch.zeros(30), covariance).logpdf(y) / 30
    assert exact.summary["log_evidence_per_datum"] == pytest.approx(evidence, rel=1e-9)
    # At most second order in what the maximum still misses.
    assert laplace.summary["log_evidence_per_datum"] == pytest.approx(evidence, rel=1e-6)


def test_softmax_regression_has_the_inverse_hessian_as_covariance():
    """16 x 16 sample covariances, each within 6 standard errors: right code fails with a chance of 3e-7."""
    x, y = data()
    y = (y > -0.5).long() + (y > 0.5).long() + (y > 1.5).long()
    given = linear(likelihoods.categorical, 4)
    posterior = fit_laplace(given, x, y, **QUICK)
    known, point = posterior.model.model, posterior.model.body.network.state_dict()

    def minus_log_joint(flat):
        values = {"weight": flat[:12].reshape(4, 3), "bias": flat[12:]}
        return -known.log_likelihood(values, x, y).sum() - known.log_prior(values)

    mode = torch.cat([point["weight"].flatten(), point["bias"]])
    hessian = torch.autograd.functional.hessian(minus_log_joint, mode)
    wanted = torch.linalg.inv(hessian)
    mean, found = moments(posterior, x)
    variances = wanted.diagonal()
    error = ((wanted.square() + variances[:, None] * variances) / 4000).sqrt()
    assert ((found - wanted).abs() < 6 * error).all()
    assert ((mean - mode).abs() < 6 * (variances / 4000).sqrt()).all()
    # A planted fault: without the prior's precision.
    flat = torch.linalg.pinv(hessian - torch.eye(16, dtype=x.dtype) / 0.49)
    assert not ((flat - wanted).abs() < 6 * error).all()
    joint = -float(minus_log_joint(mode))
    evidence = joint + 8 * math.log(2 * math.pi) - 0.5 * float(torch.logdet(hessian))
    assert posterior.summary["log_evidence_per_datum"] == pytest.approx(evidence / 30, rel=1e-9)


@pytest.mark.parametrize("task", ["gaussian", "bernoulli"])
def test_diagonal_precision_is_the_hessians_where_it_is_the_gauss_newton_matrix(task):
    """Of a linear network the two are one. 4 variances, each within 6 standard errors of the sample's."""
    x, y = data()
    likelihood = likelihoods.gaussian.with_noise(0.5) if task == "gaussian" else likelihoods.bernoulli
    posterior = fit_laplace(linear(likelihood), x, y if task == "gaussian" else y > 0, structure="diagonal", **QUICK)
    known, point = posterior.model.model, posterior.model.point
    targets = known.targets(y if task == "gaussian" else (y > 0).long())

    def minus_log_joint(flat):
        values = {"weight": flat[:3][None], "bias": flat[3:]}
        return -known.log_likelihood(values, x, targets).sum() - known.log_prior(values)

    mode = torch.cat([point["weight"].flatten(), point["bias"]])
    precision = torch.autograd.functional.hessian(minus_log_joint, mode).diagonal()
    mean, found = moments(posterior, x)
    assert ((found.diagonal() * precision - 1).abs() < 6 * math.sqrt(2 / 4000)).all()
    assert ((mean - mode).abs() < 6 * (precision * 4000).rsqrt()).all()
    evidence = -float(minus_log_joint(mode)) + 2 * math.log(2 * math.pi) - 0.5 * float(precision.log().sum())
    assert posterior.summary["log_evidence_per_datum"] == pytest.approx(evidence / 30, rel=1e-9)


def test_diagonal_predictions_are_the_tangents():
    x, y = data()
    posterior = fit_laplace(deep(likelihoods.gaussian), x, y, structure="diagonal", num_samples=5, **QUICK)
    known, point, new = posterior.model.model, posterior.model.point, x + 0.3
    members = posterior(new).members
    for s in range(5):
        step = {name: posterior.weights[name][s] - value for name, value in point.items()}
        run = lambda at: functional_call(known.network, at, (known.standardised(new),))  # noqa: E731
        outputs, move = jvp(run, (point,), (step,))
        wanted = known.y_loc + known.y_scale * (outputs + move)[:, 0]
        torch.testing.assert_close(members.mean[s], wanted)
    sampled = known.predict(posterior.weights, new)
    assert (sampled.mean - members.mean).abs().max() > 0.01 * y.std()
    assert posterior.model.name == "linearised Gaussian network"


def test_both_structures_agree_on_a_linear_network_of_one_weight():
    x, y = data(features=1)
    torch.manual_seed(0)
    given = BayesianNeuralNetwork(nn.Linear(1, 1, bias=False).double(), likelihood=likelihoods.gaussian)
    plain = fit_map(given, x, y, **QUICK)
    full, diagonal = (fit_laplace(given, x, y, start=plain, structure=s) for s in ("last_layer", "diagonal"))
    for name in ("weight", "noise_scale"):
        torch.testing.assert_close(full.weights[name], diagonal.weights[name])
    assert full.summary == pytest.approx(diagonal.summary)


def test_latents_stay_at_the_maximum():
    x, y = data()
    plain = fit_map(deep(likelihoods.gaussian), x, y, **QUICK)
    for structure in ("last_layer", "diagonal"):
        posterior = fit_laplace(deep(likelihoods.gaussian), x, y, structure=structure, num_samples=6, **QUICK)
        assert (posterior.weights["noise_scale"] == plain.weights["noise_scale"]).all()
        assert posterior.weights["noise_scale"].shape == (6,)
        assert posterior.resample(3).num_samples == 3
        assert len(posterior.history.epochs) == 20


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.out = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.inner(x)[0][:, -1])


def test_a_recurrent_network_has_a_last_layer_but_no_tangent():
    torch.manual_seed(0)
    x, y = torch.randn(12, 5, 3), torch.randn(12)
    given = BayesianNeuralNetwork(Recurrent(), likelihood=likelihoods.gaussian)
    options = {"start": "network", "num_samples": 3}
    assert fit_laplace(given, x, y, **options)(x).mean.shape == (12,)
    with pytest.raises(ValueError, match=r'differentiate forward.*Write structure="last_layer"'):
        fit_laplace(given, x, y, structure="diagonal", **options)


def test_a_full_last_layer_that_is_too_large():
    x, y = torch.randn(5, 3), torch.arange(5)
    given = BayesianNeuralNetwork(networks.mlp(3, 300, hidden=100), likelihood=likelihoods.categorical)
    with pytest.raises(ValueError, match="10000 parameters at most; this one has 30300"):
        fit_laplace(given, x, y, start="network")


@pytest.mark.parametrize("structure", ["last_layer", "diagonal"])
def test_bounded_priors_are_refused(structure):
    """A normal about the weights would have draws where the prior has no density."""
    bounded = priors.only("2.weight", lambda name, value: dist.HalfNormal(torch.ones_like(value)), priors.normal(1.0))
    given = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=4).double(), bounded, likelihoods.gaussian)
    with pytest.raises(ValueError, match=r"that of '2.weight' is bounded: HalfNormal.*Use fit_svi or fit_nuts"):
        fit_laplace(
            given,
            *data(),
            structure=structure,
            num_epochs=2,
            progress=False,
            callback=lambda *_: pytest.fail("it fitted"),
        )


@pytest.mark.parametrize("structure", ["last_layer", "diagonal"])
def test_priors_under_which_values_depend_are_refused(structure):
    together = dist.MultivariateNormal(torch.zeros(4).double(), torch.eye(4).double())
    prior = priors.only("2.weight", lambda name, value: together.expand([1]), priors.normal(1.0))
    given = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=4).double(), prior, likelihoods.gaussian)
    with pytest.raises(ValueError, match=r"must be independent under its prior.*'2.weight' is MultivariateNormal"):
        fit_laplace(
            given,
            *data(),
            structure=structure,
            num_epochs=2,
            progress=False,
            callback=lambda *_: pytest.fail("it fitted"),
        )


def test_a_bounded_prior_of_weights_that_stay_is_no_matter_and_data_are_read_once():
    class Once(IterableDataset):
        rows = iter([(torch.randn(3).double(), torch.randn(()).double()) for _ in range(40)])

        def __iter__(self):
            return self.rows

    bounded = priors.only("0.weight", lambda name, value: dist.HalfNormal(torch.ones_like(value)), priors.normal(1.0))
    given = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=4).double(), bounded, likelihoods.gaussian)
    posterior = fit_laplace(given, Once(), num_epochs=2, progress=False)
    assert posterior(torch.randn(5, 3).double()).mean.shape == (5,)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number"),
        ({"structure": "full"}, 'structure must be "last_layer" or "diagonal"; got \'full\''),
    ],
    ids=str,
)
def test_settings_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        fit_laplace(deep(likelihoods.gaussian), *data(), progress=False, **options)


@pytest.mark.slow
def test_linearised_predictions_are_far_better_than_the_networks_own():
    from bayesnn import Predictive, datasets

    split = datasets.digits()
    torch.manual_seed(0)
    network = networks.mlp((8, 8), 9, hidden=100, activation="silu")
    given = BayesianNeuralNetwork(network, priors.fan_in_normal(5.0), likelihoods.categorical)
    plain = fit_map(given, split.x_train, split.y_train, num_epochs=60, progress=False)
    fits = {
        structure: fit_laplace(given, split.x_train, split.y_train, start=plain, structure=structure)
        for structure in ("last_layer", "diagonal")
    }
    nll = {name: evaluate(fitted(split.x_test), split.y_test)["nll"] for name, fitted in fits.items()}
    sampled = Predictive(plain.model.predict(fits["diagonal"].weights, split.x_test))
    assert 2 * nll["last_layer"] < nll["diagonal"] < evaluate(sampled, split.y_test)["nll"] - 0.3


def test_the_density_of_the_last_layer_is_that_of_its_normal():
    x, y = data()
    y = (y > -0.5).long() + (y > 0.5).long()
    posterior = fit_laplace(linear(likelihoods.categorical, 3), x, y, num_samples=6, **QUICK)
    flat = posterior.model.joined(posterior.weights).flatten(1)
    drawn = posterior.resample(200_000, seed=3).weights
    joined = posterior.model.joined(drawn).flatten(1)
    oracle = multivariate_normal(joined.mean(0), joined.T.cov())
    # 12 means and 78 covariances are known to a part in 450: the log density to a few hundredths.
    torch.testing.assert_close(posterior.log_density(), torch.tensor(oracle.logpdf(flat)), rtol=0, atol=0.1)


def test_the_density_of_all_weights_and_their_prior():
    x, y = data()
    posterior = fit_laplace(deep(likelihoods.gaussian), x, y, num_samples=4, structure="diagonal", **QUICK)
    drawn = posterior.resample(50_000, seed=1).weights
    wanted, prior = 0, 0
    for name, value in posterior.weights.items():
        if name != "noise_scale":
            sd, mean = torch.std_mean(drawn[name], 0)
            wanted = wanted + torch.distributions.Normal(mean, sd).log_prob(value).flatten(1).sum(1)
            prior = prior + posterior.model.model.priors()[name].log_prob(value).flatten(1).sum(1)
    torch.testing.assert_close(posterior.log_density(), wanted, rtol=0, atol=0.3)  # 26 weights, 5 standard errors
    torch.testing.assert_close(posterior.log_prior(), prior)
