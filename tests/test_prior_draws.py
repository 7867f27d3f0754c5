"""The prior predictive: closed forms of a linear model, Pyro's own draws, and priors that are absurd on purpose."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import ks_2samp
from torch.testing import assert_close

from bayesnn import BayesianNeuralNetwork, datasets, decompose, likelihoods, networks, priors, to_arviz
from bayesnn.plots.prior import prior_functions, prior_targets
from bayesnn.prior_draws import prior_predictive

S = 20_000


def data(num=40):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num, 2, generator=generator).double()
    return x, 50 + 4 * x.sum(1)


def line(standardise=False):
    torch.manual_seed(0)
    network, noise = torch.nn.Linear(2, 1).double(), likelihoods.gaussian.with_noise(0.5)
    return BayesianNeuralNetwork(network, priors.normal(0.7), noise, standardise=standardise)


def test_a_linear_model_has_it_in_closed_form():
    """Mean 0 and variance 0.49 (1 + |x|^2) + 0.25; the moments of S draws within five standard errors."""
    x, _ = data()
    predictive = prior_predictive(line(), x, num_samples=S)(x)
    means = predictive.members.mean
    variance = 0.49 * (1 + x.square().sum(1))
    assert ((means.mean(0) / (variance / S).sqrt()).abs() < 5).all()
    assert ((means.var(0) / variance - 1).abs() < 5 * (2 / S) ** 0.5).all()
    parts = decompose(predictive)
    assert_close(parts.aleatoric, torch.full_like(variance, 0.25))


def test_it_is_what_pyro_draws():
    """Kolmogorov-Smirnov at three inputs; right code fails with a chance of 3e-5."""
    x, y = data(3)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(5,)).double(), likelihood=likelihoods.gaussian)
    ours = prior_predictive(model, x, y, num_samples=2000)
    with pyro.settings.context(module_local_params=True):
        theirs = pyro.infer.Predictive(ours.model, num_samples=2000)(x)["y"]
    drawn = ours(x).members.sample()
    assert all(ks_2samp(drawn[:, n], theirs[:, n]).pvalue > 1e-5 for n in range(3))


def test_units_are_the_targets_own():
    x, y = data()
    standard, raw = prior_predictive(line(True), x, y), prior_predictive(line(True), x, 100 * y)
    assert_close(raw(x).mean, 100 * standard(x).mean)
    assert standard.method == "prior"
    assert 0.1 < standard.summary["spread"] < 3


def test_all_that_takes_a_posterior_takes_it():
    x, y = data()
    prior = prior_predictive(line(True), x, y, num_samples=30)
    assert prior.resample(7, seed=2)(x).num_samples == 7
    assert_close(prior.resample(30, seed=0)(x).mean, prior(x).mean)
    assert to_arviz(prior, x, y).posterior["weight"].shape == (1, 30, 1, 2)
    state = torch.get_rng_state()
    prior_predictive(line(True), x, y)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_pyro_model_of_ones_own():
    def model(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(50 + x @ slope, 1.0), obs=y)

    x, y = data()
    prior = prior_predictive(model, x, y, num_samples=1000)
    assert ((prior(x).members.mean.var(0) / x.square().sum(1) - 1).abs() < 5 * (2 / 1000) ** 0.5).all()


SETS = {name: getattr(datasets, name) for name in ("digits", "wine", "breast_cancer", "diabetes")}


def model_for(split, hidden, prior=None):
    torch.manual_seed(0)
    classes = None if split.y_train.is_floating_point() else int(split.y_train.max()) + 1
    network = torch.nn.Sequential(
        torch.nn.Flatten(), networks.mlp(split.x_train.flatten(1).shape[1], classes or 1, hidden=hidden)
    )
    return BayesianNeuralNetwork(network, prior, likelihoods.categorical if classes else likelihoods.gaussian)


@pytest.mark.parametrize("hidden", [(), (50,), (100, 100)], ids=str)
@pytest.mark.parametrize("name", SETS)
def test_the_default_prior_is_not_absurd(name, hidden):
    split = SETS[name]()
    prior_predictive(model_for(split, hidden), split.x_train, split.y_train)  # warnings are errors


@pytest.mark.parametrize(
    ("name", "scale", "words"),
    [
        ("digits", 10.0, r"certain of nearly every input \(mean largest .*: take a narrower prior"),
        ("digits", 0.001, "find all classes alike for nearly every input .*: take a wider prior"),
        ("diabetes", 10.0, "vary .* times as much over the inputs as the targets do: take a narrower prior"),
        ("diabetes", 0.001, "vary .* times as much over the inputs as the targets do: take a wider prior"),
    ],
)
def test_an_absurd_prior_is_told_in_a_sentence(name, scale, words):
    split = SETS[name]()
    with pytest.warns(UserWarning, match=words):
        prior_predictive(model_for(split, (100, 100), priors.normal(scale)), split.x_train, split.y_train)


@pytest.mark.parametrize("likelihood", [likelihoods.poisson, likelihoods.gamma, likelihoods.log_normal], ids=repr)
def test_means_without_bounds_are_told(likelihood):
    x = data()[0].float()
    y = torch.arange(1, 41).float()
    model = BayesianNeuralNetwork(
        networks.mlp(2, likelihood.outputs_per_target(), hidden=(50, 50)), priors.normal(10.0), likelihood
    )
    with pytest.warns(UserWarning, match="reaches .* times the largest target"):
        prior_predictive(model, x, y)


@pytest.mark.parametrize("likelihood", [likelihoods.bernoulli, likelihoods.categorical], ids=repr)
def test_of_two_classes_that_seem_alike_a_wider_prior_is_asked_for(likelihood):
    """Of two the largest probability is never below 0.5."""
    x = data()[0].float()
    outputs = 2 if likelihood is likelihoods.categorical else 1
    model = BayesianNeuralNetwork(networks.mlp(2, outputs), priors.normal(0.001), likelihood)
    with pytest.warns(UserWarning, match="find all classes alike for nearly every input .*: take a wider prior"):
        prior_predictive(model, x, (x[:, 0] > 0).long())


@pytest.mark.parametrize("likelihood", [likelihoods.gaussian, likelihoods.poisson], ids=repr)
def test_constant_targets_have_no_scale_to_judge_by(likelihood):
    x = data()[0].float()
    model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihood, standardise=False)
    assert prior_predictive(model, x, torch.zeros(40)).summary == {}  # warnings are errors


def test_pictures():
    x, y = data()
    one = x[:, :1]
    model = BayesianNeuralNetwork(networks.mlp(1, 1).double(), likelihood=likelihoods.gaussian)
    predictive = prior_predictive(model, one, y)(one)
    axes = prior_functions(one, predictive, data=(one, y))
    assert len(axes.lines) == 21
    assert axes.get_ylabel() == "y"
    assert prior_targets(predictive, y).get_xlabel() == "target (units of y)"
    wine = datasets.wine()
    classes = prior_predictive(model_for(wine, (20,)), wine.x_train, wine.y_train)(wine.x_train)
    assert "largest class probability" in prior_targets(classes).get_xlabel()
    with pytest.raises(ValueError, match=r"draws one real target; of classes .* write prior_targets"):
        prior_functions(torch.zeros(len(classes)), classes)
    with pytest.raises(ValueError, match="x must be the inputs that were predicted, one number each, N = 40; got 3"):
        prior_functions(torch.zeros(3), predictive)


def test_without_targets_a_model_must_know_its_units():
    x, y = data()
    with pytest.raises(ValueError, match="takes its units from x and y; got no y"):
        prior_predictive(line(True), x)
    with pytest.raises(TypeError, match="prior of a Pyro model needs x and y"):
        prior_predictive(lambda x, y=None: None, x)
    assert prior_predictive(line(True).for_data(x, y), x)(x).mean.shape == (40,)
