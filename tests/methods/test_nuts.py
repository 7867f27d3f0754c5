"""NUTS against a conjugate posterior, and what it says of its chains."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from bayesnn import BayesianNeuralNetwork, diagnose, fit_nuts, likelihoods, networks, priors
from bayesnn.chains import Chain
from bayesnn.density import LogJoint

SIGMAS = 5  # a normal variate lies further out with a chance of 6e-7
NOISE = 0.3


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(20, 2, generator=generator, dtype=torch.float64)
    return x, x @ torch.tensor([1.0, -2.0]).double() + NOISE * torch.randn(20, generator=generator, dtype=torch.float64)


def linear(scale=0.3):
    network = networks.mlp(2, 1, hidden=()).double()
    gaussian = likelihoods.gaussian.with_noise(NOISE)
    return BayesianNeuralNetwork(network, prior=priors.normal(scale), likelihood=gaussian, standardise=False)


def conjugate(scale=0.3):
    """Mean and covariance of weights and bias."""
    x, y = data()
    features = torch.cat([x, torch.ones(20, 1).double()], 1)
    covariance = (features.T @ features / NOISE**2 + torch.eye(3).double() / scale**2).inverse()
    return covariance @ features.T @ y / NOISE**2, covariance


def agrees(posterior):
    """Whether means and variances of the draws are within Monte Carlo error of the truth."""
    mean, covariance = conjugate()
    drawn = torch.cat([posterior.weights["0.weight"][:, 0], posterior.weights["0.bias"]], 1)
    variance, count = covariance.diag(), posterior.summary["ess"]
    close = (drawn.mean(0) - mean).abs() < SIGMAS * (variance / count).sqrt()
    wide = (drawn.var(0) - variance).abs() < SIGMAS * variance * (2 / count) ** 0.5
    return bool((close & wide).all())


@pytest.mark.slow
def test_a_conjugate_posterior_is_recovered_and_a_dropped_prior_is_seen(monkeypatch):
    options = {"num_samples": 2000, "num_warmup": 200, "num_chains": 2, "progress": False}
    found = fit_nuts(linear(), *data(), **options)
    assert found.summary["rhat"] < 1.02
    assert agrees(found)
    assert not agrees(fit_nuts(linear(100.0), *data(), **options))
    monkeypatch.setattr(
        LogJoint, "potential", lambda self, z: 0.5 * (-self.log_likelihood(z, self.x, self.y).sum() - self.log_prior(z))
    )
    assert not agrees(fit_nuts(linear(), *data(), **options))


@pytest.mark.filterwarnings("ignore:the chains may not show")
def test_draws_lie_chain_by_chain_and_history_by_iteration():
    posterior = fit_nuts(linear(), *data(), num_samples=40, num_warmup=30, num_chains=2, progress=False)
    assert posterior.num_samples == 40
    assert posterior.method == "nuts"
    assert len(posterior.history.epochs) == 50
    assert {"rhat", "ess", "num_divergences", "acceptance", "deepest"} <= set(posterior.summary)


@pytest.mark.filterwarnings("ignore:the chains may not show")
def test_a_users_own_model():
    def model(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ slope, NOISE), obs=y)

    x, y = data()
    posterior = fit_nuts(model, x, y, num_samples=40, num_warmup=40, num_chains=1, progress=False)
    assert (posterior.weights["slope"].mean(0) - torch.tensor([1.0, -2.0])).abs().max() < 0.5
    assert posterior(x).mean.shape == (20,)


def test_chains_that_are_too_short_are_told():
    x, y = data()
    torch.manual_seed(0)
    network = networks.mlp(2, 1, hidden=(5,)).double()
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)
    with pytest.warns(UserWarning, match="the chains may not show the posterior"):
        fit_nuts(model, x, y, num_samples=10, num_warmup=3, num_chains=2, max_tree_depth=3, progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_samples": 0}, "num_samples must be a whole number"),
        ({"num_warmup": 0}, "num_warmup must be a whole number"),
        ({"num_chains": 0}, "num_chains must be a whole number"),
        ({"target_accept": 1.5}, "target_accept must be a probability"),
        ({"target_accept": "high"}, "target_accept must be a probability.*got 'high'. Write target_accept=0.8"),
        ({"num_chains": "4"}, "num_chains must be a whole number, 1 or more; got '4'"),
        ({"start": {"0.bias": torch.zeros(7)}}, r"start must give sites .*0.bias \(1,\).* got 0.bias \(7,\)"),
        ({"start": {"bias": torch.zeros(1)}}, r"start must give sites .*0.bias \(1,\).* got bias \(1,\)"),
        ({"start": {"0.bias": "zero"}}, "start must give sites .* as tensors .* got 0.bias of type str"),
        ({"start": 3}, r"start must be .*got 3. Of a posterior .* start=posterior.weights"),
    ],
    ids=["samples", "warmup", "chains", "accept", "accept text", "chains text", "shape", "site", "text", "number"],
)
def test_settings_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        fit_nuts(linear(), *data(), progress=False, **options)


def interrupt(*args, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (200, r"stopped by hand after 49 of 2000 epochs; that was before the chains began.* no draws of the posterior"),
        (8200, r"stopped by hand after \d+ of 40 steps; that was within the warm-up.* no draws of the posterior"),
    ],
    ids=["in the climb", "in the warm-up"],
)
def test_ctrl_c_before_there_is_a_draw_says_so(monkeypatch, after, words):
    honest, calls = LogJoint.potential, []

    def stops(self, z):
        calls.append(1)
        if len(calls) == after:
            raise KeyboardInterrupt
        return honest(self, z)

    monkeypatch.setattr(LogJoint, "potential", stops)
    with pytest.warns(UserWarning, match=words):
        posterior = fit_nuts(linear(), *data(), num_samples=40, num_warmup=30, progress=False)
    assert posterior.history.interrupted
    assert posterior.num_samples == 4
    assert posterior.summary.keys() == {"num_divergences", "acceptance", "deepest"}
    assert all(value != value for value in posterior.summary.values())  # NaN
    with pytest.warns(UserWarning, match="^no draws: stopped by hand before the chains had a draw"):
        assert [one.name for one in diagnose(posterior, *data()).warnings] == ["no draws"]


def test_ctrl_c_before_every_chain_has_a_draw_says_so_too(monkeypatch):
    honest, calls = Chain.advance, []

    def stops(self, *args, **options):
        calls.append(1)
        if len(calls) == 2 * 10 + 2:  # the first chain has its first draw, the second does not
            raise KeyboardInterrupt
        return honest(self, *args, **options)

    monkeypatch.setattr(Chain, "advance", stops)
    with pytest.warns(UserWarning, match="no draws of the posterior"):
        posterior = fit_nuts(
            linear(), *data(), num_samples=40, num_warmup=10, num_chains=2, start="prior", progress=False
        )
    assert all(value != value for value in posterior.summary.values())  # NaN


@pytest.mark.filterwarnings("error:the chains may not show")
def test_ctrl_c_while_chains_are_compared_keeps_all_draws(monkeypatch):
    monkeypatch.setattr("bayesnn.mixing._worst", interrupt)
    with pytest.warns(UserWarning, match="stopped by hand while the chains were compared; all draws are kept"):
        posterior = fit_nuts(linear(), *data(), num_samples=40, num_warmup=10, start="prior", progress=False)
    assert posterior.num_samples == 40
    assert posterior.history.interrupted
    assert "rhat" not in posterior.summary
