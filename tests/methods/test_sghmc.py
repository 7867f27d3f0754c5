"""SGHMC against a conjugate posterior, and what it says of its chains."""

import pytest
import torch
from torch import nn

from bayesnn import BayesianNeuralNetwork, diagnose, fit_ensemble, fit_map, fit_sghmc, likelihoods, networks, priors
from bayesnn.langevin import steepness, walk
from bayesnn.training import Minibatches

NOISE, ROWS = 0.5, 400


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(ROWS, generator=generator, dtype=torch.float64)
    return x, x @ torch.tensor([1.0, -2.0, 0.5, 0.0]).double() + NOISE * noise


def linear():
    network = networks.mlp(4, 1, hidden=()).double()
    gaussian = likelihoods.gaussian.with_noise(NOISE)
    return BayesianNeuralNetwork(network, prior=priors.normal(1.0), likelihood=gaussian, standardise=False)


def against_the_truth(posterior):
    """Errors of the means in standard deviations, and ratios of standard deviations, of weights and bias."""
    x, y = data()
    features = torch.cat([x, torch.ones(ROWS, 1).double()], 1)
    covariance = (features.T @ features / NOISE**2 + torch.eye(5).double()).inverse()
    drawn = torch.cat([posterior.weights["0.weight"][:, 0], posterior.weights["0.bias"]], 1)
    spread = covariance.diag().sqrt()
    return (drawn.mean(0) - covariance @ features.T @ y / NOISE**2) / spread, drawn.std(0) / spread


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the chains may not show the posterior as it is. R-hat")
@pytest.mark.parametrize(
    ("options", "ratio"),
    [({}, 1.0), ({"batch_size": 50, "step": 0.1}, 1.0), ({"temperature": 0.25}, 0.5)],
    ids=["all data", "minibatches", "cold"],
)
def test_a_conjugate_posterior_is_recovered(options, ratio):
    """Within 5 standard errors at the effective sample size, of which the discretisation may take a twentieth."""
    posterior = fit_sghmc(linear(), *data(), num_samples=400, progress=False, **options)
    errors, ratios = against_the_truth(posterior)
    count = posterior.summary["ess"]
    assert (errors.abs() < ratio * 5 / count**0.5).all()
    assert ((ratios / ratio - 1).abs() < 5 / (2 * count) ** 0.5 + 0.05).all()


def test_too_noisy_gradients_are_told_by_their_temperature():
    options = {"num_samples": 80, "num_epochs": 20, "batch_size": 20, "progress": False}
    with pytest.warns(UserWarning, match="the kinetic temperature of .* where 1 is wanted"):
        posterior = fit_sghmc(linear(), *data(), **options)
    assert posterior.summary["temperature"] > 1.5
    assert (against_the_truth(posterior)[1] > 1.2).all()


def bowl(stiffness):
    return lambda z, batch: (stiffness * z, (stiffness * z.square()).sum(1) / 2)


def test_a_walk_in_a_bowl_has_its_variance_at_any_mass():
    """500 chains: variances within 5 standard errors, of 1 / stiffness times the temperature."""
    stiffness = torch.tensor([1.0, 9.0, 100.0]).double()
    torch.manual_seed(0)
    rows = Minibatches([torch.zeros(1)], 1, range(500))
    for mass in (torch.ones(3).double(), stiffness):
        slope, z = bowl(stiffness), torch.zeros(500, 3).double()
        steep = steepness(slope, z, [], mass)
        assert steep == pytest.approx(float((stiffness / mass).max()), rel=1e-3)
        options = {"num_warmup": 10, "steps_per_cycle": 50, "momentum": 0.9, "temperature": 0.5, "progress": False}
        walked = walk(slope, z, rows, mass, 0.2 / steep**0.5, num_cycles=20, **options)
        last = walked.draws[:, -1]
        ratio = last.var(0) * stiffness / 0.5
        assert ((ratio - 1).abs() < 5 * (2 / 500) ** 0.5)[stiffness / mass > 0.05].all()
        assert (walked.temperatures.mean(0) / 0.5 - 1).abs().max() < 0.05


@pytest.mark.filterwarnings("ignore:the chains may not show")
def test_draws_begin_at_a_given_start_in_its_units():
    x, y = data()
    torch.manual_seed(0)
    network = networks.mlp(4, 1, hidden=(5,)).double()
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)
    start = fit_map(model, x[:50], y[:50], num_epochs=2, progress=False)
    short = {"num_samples": 4, "num_warmup": 1, "cycle_steps": 5, "progress": False}
    posterior = fit_sghmc(model, x, y, start=start, num_chains=1, step=1e-6, **short)
    torch.testing.assert_close(posterior(x).mean, start(x).mean, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="start must have a draw for each of the 4 chains; got 1"):
        fit_sghmc(model, x, y, start=start, **short)
    with pytest.raises(TypeError, match="start must be a posterior of this model"):
        fit_sghmc(model, x, y, start="map", **short)
    with pytest.raises(
        ValueError, match=r"num_epochs is of the fit before the walk.*got num_epochs=3 and a start. Leave"
    ):
        fit_sghmc(model, x, y, start=start, num_epochs=3, **short)


@pytest.mark.filterwarnings("ignore:the chains may not show")
def test_chains_in_turn_are_chains_side_by_side():
    x, y = data()
    short = {"num_samples": 8, "num_warmup": 1, "num_epochs": 2, "cycle_steps": 5, "progress": False}
    model = linear()
    one, other = (fit_sghmc(model, x, y, vectorised=v, **short) for v in (True, False))
    torch.testing.assert_close(one.weights, other.weights)


class Branching(nn.Module):
    """What torch cannot vectorise: a branch on values."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x):
        outputs = self.layer(x)
        return outputs if outputs.abs().max() < 1e9 else 0 * outputs


class Attentive(nn.Module):
    """Every input a word of its own."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(1, 2), nn.Linear(8, 1)
        self.layer = nn.TransformerEncoderLayer(2, 1, 4, batch_first=True)

    def forward(self, x):
        return self.head(self.layer(self.embed(x[..., None])).flatten(1))


@pytest.mark.filterwarnings("ignore:the chains may not show")
@pytest.mark.parametrize("network", [Branching, Attentive])
def test_what_torch_cannot_vectorise_is_walked_in_turn(network):
    x, y = (part[:30] for part in data())
    torch.manual_seed(0)
    model = BayesianNeuralNetwork(network().double(), likelihood=likelihoods.gaussian)
    short = {"num_samples": 2, "num_warmup": 1, "num_epochs": 1, "cycle_steps": 2, "num_chains": 2, "progress": False}
    found, wanted = (fit_sghmc(model, x, y, vectorised=v, **short) for v in (None, False))
    torch.testing.assert_close(found.weights, wanted.weights)


def test_a_network_that_must_but_cannot_be_vectorised_is_told():
    x, y = (part[:30] for part in data())
    model = BayesianNeuralNetwork(Branching().double(), likelihood=likelihoods.gaussian)
    short = {"num_samples": 2, "num_chains": 2, "progress": False}
    start = fit_ensemble(model, x, y, num_members=2, num_epochs=1, progress=False)
    with pytest.raises(
        ValueError, match=r"vectorised=True needs a network that torch can vectorise; .* one after anoth"
    ):
        fit_sghmc(model, x, y, start=start, vectorised=True, **short)


class NoReset(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4, 1))

    def forward(self, x):
        return x @ self.gain


@pytest.mark.filterwarnings("ignore:the chains may not show")
def test_layers_that_cannot_start_anew_get_the_advice_that_works():
    x, y = (part[:30] for part in data())
    model = BayesianNeuralNetwork(NoReset().double(), likelihood=likelihoods.gaussian)
    short = {"num_samples": 2, "num_warmup": 1, "cycle_steps": 2, "num_chains": 2, "progress": False}
    with pytest.raises(ValueError, match=r"must have reset_parameters.*pass start=fit_ensemble\(model, x, y, num_mem"):
        fit_sghmc(model, x, y, **short)
    starts = [NoReset().double() for _ in range(2)]
    start = fit_ensemble(model, x, y, num_members=2, starts=starts, num_epochs=1, progress=False)
    assert fit_sghmc(model, x, y, start=start, **short).num_samples == 2


@pytest.mark.filterwarnings("ignore:stopped by hand")
def test_ctrl_c_keeps_the_draws_reached():
    def stop(epoch, terms):
        if "temperature" in terms and epoch >= 2 + 4:
            raise KeyboardInterrupt

    options = {"num_samples": 40, "num_warmup": 2, "num_epochs": 2, "cycle_steps": 5, "progress": False}
    posterior = fit_sghmc(linear(), *data(), callback=stop, **options)
    assert posterior.history.interrupted
    assert posterior.num_samples == 4 * 3


SHORT = {"num_samples": 40, "num_warmup": 2, "num_epochs": 20, "cycle_steps": 5, "progress": False}


def interrupt(*args, **options):
    raise KeyboardInterrupt


def assert_no_draws(posterior, num_epochs):
    """Where the chains were to begin is kept, and is called no more than that."""
    x, y = data()
    assert posterior.history.interrupted
    assert len(posterior.history.epochs) == num_epochs
    assert posterior.num_samples == 4
    assert all(value != value for value in posterior.summary.values())  # NaN
    with pytest.warns(UserWarning, match="^no draws: stopped by hand before the chains had a draw"):
        assert [one.name for one in diagnose(posterior, x, y).warnings] == ["no draws"]


def test_ctrl_c_in_the_fit_before_the_walk_says_that_there_are_no_draws(monkeypatch):
    def stop(epoch, terms):
        if epoch == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("bayesnn.methods.sghmc._mass", pytest.fail)  # what took Ctrl-C does not go on
    with pytest.warns(UserWarning, match="stopped by hand") as told:
        posterior = fit_sghmc(linear(), *data(), callback=stop, **SHORT)
    words = [str(one.message) for one in told]
    assert words[0].startswith("stopped by hand after 5 of 20 epochs")
    assert words[1].startswith("stopped by hand; that was before the chains began")
    assert words[1].endswith("no draws of the posterior.")
    assert_no_draws(posterior, 5)


@pytest.mark.parametrize("where", ["_mass", "slope_of", "steepness"])
def test_ctrl_c_between_the_fit_and_the_walk_keeps_the_fit(monkeypatch, where):
    monkeypatch.setattr(f"bayesnn.methods.sghmc.{where}", interrupt)
    with pytest.warns(UserWarning, match="stopped by hand; that was before the chains began.* no draws of the post"):
        posterior = fit_sghmc(model := linear(), *data(), **SHORT)
    assert_no_draws(posterior, 20)
    before = fit_ensemble(model, *data(), num_members=4, num_epochs=20, beta=0.0, progress=False)
    assert torch.equal(posterior.weights["0.weight"], before.weights["0.weight"])


@pytest.mark.filterwarnings("error:the chains may not show")
def test_ctrl_c_while_chains_are_compared_keeps_all_draws(monkeypatch):
    monkeypatch.setattr("bayesnn.mixing._worst", interrupt)
    with pytest.warns(UserWarning, match="stopped by hand while the chains were compared; all draws are kept"):
        posterior = fit_sghmc(linear(), *data(), **SHORT)
    assert posterior.num_samples == 40
    assert posterior.history.interrupted
    assert "rhat" not in posterior.summary


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_samples": 0}, "num_samples must be"),
        ({"num_chains": 0}, "num_chains must be"),
        ({"cycle_steps": 0}, "cycle_steps must be"),
        ({"step": 2.5}, "step must lie between 0 and 2"),
        ({"momentum": 1.0}, "momentum must be 0 or more and below 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
        ({"step": "small"}, "step must lie between 0 and 2.*got 'small'. Write step=0.3"),
        ({"momentum": "most"}, "momentum must be 0 or more and below 1; got 'most'. Write momentum=0.98"),
        ({"temperature": "cold"}, "temperature must be positive.*got 'cold'. Write temperature=1.0"),
    ],
    ids=str,
)
def test_settings_out_of_range(options, words):
    with pytest.raises(ValueError, match=words):
        fit_sghmc(linear(), *data(), progress=False, **options)
