"""MC dropout against torch's own train-mode passes, the paper's loss, and rates that are told."""

import copy
import math

import pyro.distributions as dist
import pytest
import torch
from scipy.stats import norm
from torch import nn

from bayesnn import BayesianNeuralNetwork, fit_dropout, likelihoods, networks, priors

SIGMAS = 5  # a normal variate lies further out with a chance of 6e-7


def data(num=60):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(num, 3, generator=generator, dtype=torch.float64)
    return x, x.sum(1) + 0.3 * torch.randn(num, generator=generator, dtype=torch.float64)


def model(dropout=0.2, likelihood=likelihoods.gaussian, **options):
    torch.manual_seed(0)
    network = networks.mlp(3, 1, hidden=(10,), activation="tanh", dropout=dropout).double()
    return BayesianNeuralNetwork(network, likelihood=likelihood, **options)


def trained_network(posterior):
    """The user's own network with the fitted weights, dropout layers and all."""
    network = networks.mlp(3, 1, hidden=(10,), activation="tanh", dropout=0.2).double()
    network.load_state_dict(
        {name: value[0] for name, value in posterior.weights.items() if name in network.state_dict()}
    )
    return network


def test_moments_are_those_of_torchs_passes_in_train_mode():
    x, y = data()
    posterior = fit_dropout(model(standardise=False), x, y, num_samples=4000, num_epochs=60, progress=False)
    ours = posterior(x[:5]).members.mean
    network = trained_network(posterior).train()
    torch.manual_seed(1)
    with torch.no_grad():
        theirs = torch.stack([network(x[:5])[:, 0] for _ in range(4000)])
    error = ((ours.var(0) + theirs.var(0)) / 4000).sqrt()
    assert ((ours.mean(0) - theirs.mean(0)).abs() < SIGMAS * error).all()
    kurtosis = ((theirs - theirs.mean(0)) ** 4).mean(0) / theirs.var(0) ** 2
    error = theirs.var(0) * (2 * (kurtosis - 1) / 4000).sqrt()
    assert ((ours.var(0) - theirs.var(0)).abs() < SIGMAS * error).all()
    # Power: without masks there is no spread at all, and with half the rate it is another one.
    halved = fit_dropout(model(0.1, standardise=False), x, y, num_samples=4000, num_epochs=60, progress=False)
    assert not ((halved(x[:5]).members.mean.var(0) - theirs.var(0)).abs() < SIGMAS * error).all()


def test_a_draw_masks_all_inputs_alike():
    x, y = data()
    posterior = fit_dropout(model(), x, y, num_samples=5, num_epochs=2, progress=False)
    whole = posterior(x).members.mean
    one_by_one = torch.cat([posterior(x[i : i + 1]).members.mean for i in range(len(x))], 1)
    torch.testing.assert_close(whole, one_by_one)
    assert posterior.weights["0.mask"].shape == (5, 3)
    assert posterior.weights["3.mask"].shape == (5, 10)


def test_weights_take_no_memory_per_draw():
    x, y = data()
    posterior = fit_dropout(model(), x, y, num_samples=1000, num_epochs=1, progress=False)
    assert posterior.weights["1.weight"].stride()[0] == 0


def test_the_loss_is_the_papers():
    """Least squares with weight decay (1 - p) l^2 / (2 N tau) on masked weights, times tau and up to a constant."""
    x, y = data(8)
    length_scale, precision = 0.7, 4.0
    posterior = fit_dropout(
        model(standardise=False), x, y, num_epochs=1, learning_rate=1e-12, progress=False, rate=1e-9,
        length_scale=length_scale, precision=precision,
    )  # fmt: skip
    # At a rate of nearly nothing and a step of nearly nothing the loss is that of the network as it stands.
    network = model().network
    with torch.no_grad():
        squares = (network(x)[:, 0] - y).square().mean()
        weights = [p.square().sum() for p in network.parameters()]
        sizes = [p.numel() for p in network.parameters()]
        wanted = precision / 2 * squares + length_scale**2 / (2 * len(x)) * sum(weights)
        wanted = wanted + math.log(2 * math.pi / precision) / 2
        wanted = wanted + sum(sizes) * math.log(2 * math.pi / length_scale**2) / (2 * len(x))
    assert posterior.history["loss"][0] == pytest.approx(float(wanted), rel=1e-6)


def test_masked_weights_are_penalised_by_their_chance_of_being_kept():
    x, y = data(8)

    def loss(rate):
        fitted = fit_dropout(
            model(0.2, prior=priors.normal(0.01)), x, y, num_epochs=1, learning_rate=1e-12, progress=False, rate=rate
        )
        return fitted.history["loss"][0] - fitted.history["misfit"][0]

    start = model(0.2, prior=priors.normal(0.01))

    def expected(keep):
        """Log-prior of the masked weights as drawn: w / keep with the chance keep, else 0."""
        return sum(
            float((keep * prior.log_prob(value / keep) + (1 - keep) * prior.log_prob(0 * value)).sum())
            for (name, value), prior in zip(start.start().items(), start.priors().values(), strict=True)
            if "weight" in name
        )

    assert loss(0.5) - loss(0.1) == pytest.approx((expected(0.9) - expected(0.5)) / len(x), rel=1e-6)


def test_two_masks_before_a_weight_keep_it_by_the_product_of_their_chances():
    x, y = data(8)

    def loss(*rates):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(x.shape[1], 5), *map(nn.Dropout, rates), nn.Linear(5, 1)).double()
        given = BayesianNeuralNetwork(network, priors.normal(0.01), likelihoods.gaussian)
        fitted = fit_dropout(given, x, y, num_epochs=1, learning_rate=1e-12, progress=False)
        return fitted.history["loss"][0] - fitted.history["misfit"][0]

    assert loss(0.2, 0.5) == pytest.approx(loss(0.6), rel=1e-6)
    assert loss(0.2, 0.5) != pytest.approx(loss(0.5), rel=1e-3)


def test_the_penalty_is_the_mean_over_draws_of_the_log_prior_of_their_weights():
    """The draws of a fit, its weights times its masks: within 5 standard errors of the loss's own term."""
    x, y = data(8)
    prior = priors.normal(0.3)
    posterior = fit_dropout(
        model(prior=prior), x, y, num_epochs=1, learning_rate=1e-12, progress=False, rate=0.5, num_samples=4000
    )
    drawn = posterior.weights
    each = torch.stack(
        [
            posterior.model.priors()[f"{layer}.weight"]
            .log_prob(drawn[f"{layer}.weight"] * drawn[f"{layer - 1}.mask"][:, None])
            .sum((1, 2))
            for layer in (1, 4)
        ]
    ).sum(0)
    rest = sum(
        float(p.log_prob(drawn[name][0]).sum())
        for name, p in (posterior.model.priors() | posterior.model.latents()).items()
        if name not in ("1.weight", "4.weight")
    )
    penalty = -(posterior.history["loss"][0] - posterior.history["misfit"][0]) * len(x) - rest
    assert abs(float(each.mean()) - penalty) < 5 * float(each.std()) / len(each) ** 0.5


def test_a_normalisation_behind_a_mask_is_penalised_as_it_is():
    """Minus the log-prior of every weight as it stands, by scipy; the linear layer's mask alone has its factor."""
    x, y = data(8)
    torch.manual_seed(0)
    layers = [nn.Dropout(0.4), nn.LayerNorm(3), nn.Linear(3, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 1)]
    network = nn.Sequential(*layers).double()
    with torch.no_grad():
        network[1].weight.uniform_(0.5, 2.0)
    given = BayesianNeuralNetwork(network, priors.normal(0.3), likelihoods.gaussian.with_noise(1.0))
    posterior = fit_dropout(given, x, y, num_epochs=1, learning_rate=1e-12, progress=False)

    def log_prior(value):
        return norm(0, 0.3).logpdf(value.detach().numpy()).sum()

    wanted = sum(log_prior(value) for name, value in network.named_parameters() if name != "5.weight")
    wanted += 0.8 * log_prior(network[5].weight / 0.8) + 0.2 * log_prior(0 * network[5].weight)
    penalty = posterior.history["loss"][0] - posterior.history["misfit"][0]
    assert penalty == pytest.approx(-wanted / len(x), rel=1e-9)


def test_a_tied_weight_is_penalised_as_it_is():
    x, y = data(8)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Dropout(0.4), nn.Linear(3, 3), nn.Linear(3, 1)).double()
    network[3].weight = network[0].weight
    given = BayesianNeuralNetwork(network, priors.normal(0.3), likelihoods.gaussian.with_noise(1.0))
    posterior = fit_dropout(given, x, y, num_epochs=1, learning_rate=1e-12, progress=False)
    wanted = sum(norm(0, 0.3).logpdf(value.detach().numpy()).sum() for value in network.parameters())
    penalty = posterior.history["loss"][0] - posterior.history["misfit"][0]
    assert penalty == pytest.approx(-wanted / len(x), rel=1e-9)


def test_a_layer_that_drops_nothing_has_no_rate():
    x, y = data(8)
    network = nn.Sequential(nn.Dropout(0.0), nn.Linear(3, 4), nn.Tanh(), nn.Dropout(0.2), nn.Linear(4, 1)).double()
    given = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)
    assert list(fit_dropout(given, x, y, num_epochs=1, progress=False).summary) == ["rate[3]", "final_loss"]
    both = fit_dropout(given, x, y, num_epochs=1, progress=False, rate=0.1)
    assert list(both.summary) == ["rate[0]", "rate[3]", "final_loss"]


def test_concrete_rates_move_and_are_told():
    x, y = data(200)
    posterior = fit_dropout(model(0.3), x, y, num_epochs=300, concrete=True, progress=False)
    rates = [posterior.summary["rate[0]"], posterior.summary["rate[3]"]]
    assert posterior.method == "concrete_dropout"
    assert all(0 < rate < 0.05 for rate in rates)  # nothing here is worth dropping an input for
    assert ((posterior.weights["0.mask"] == 0).double().mean()) < 0.1


def test_convolutions_with_dropped_channels():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout2d(0.3), nn.Flatten(), nn.Linear(16, 3))
    x, y = torch.randn(30, 1, 4, 4), torch.arange(30) % 3
    bayesian = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
    posterior = fit_dropout(bayesian, x, y, num_samples=6, num_epochs=2, progress=False)
    assert posterior.weights["2.mask"].shape == (6, 4, 1, 1)
    assert posterior(x).probs.shape == (30, 3)


def test_a_copy_keeps_the_users_network():
    x, y = data()
    given = model()
    before = copy.deepcopy(given.network)
    fit_dropout(given, x, y, num_epochs=1, rate=0.5, progress=False)
    assert [type(a) for a in given.network] == [type(b) for b in before]
    assert given.network[0].p == 0.2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate": 0.0}, "rate must be positive"),
        ({"rate": 1.0}, "must lie between 0 and 1; got rate=1.0"),
        ({"length_scale": -1.0}, "length_scale must be positive"),
        ({"precision": 0.0}, "precision must be positive"),
        ({"rate": "high"}, "rate must be positive, one finite number; got 'high'"),
        ({"rate": [0.1]}, r"rate must be positive, one finite number; got \[0\.1\]"),
        ({"length_scale": True}, "length_scale must be positive, one finite number; got True"),
        ({"precision": float("inf")}, "precision must be positive, one finite number; got inf"),
        ({"beta": "half"}, "beta must lie between 0 .*; got 'half'"),
        ({"num_samples": 0}, "num_samples must be a whole number"),
        ({"beta": 2.0}, "beta must lie between 0"),
    ],
    ids=str,
)
def test_settings_out_of_range(options, words):
    x, y = data()
    with pytest.raises(ValueError, match=words):
        fit_dropout(model(), x, y, progress=False, **options)


def test_precision_is_of_a_gaussian():
    x, y = data()
    torch.manual_seed(0)
    network = networks.mlp(3, 2, dropout=0.1).double()
    own = BayesianNeuralNetwork(network, likelihood=likelihoods.heteroscedastic_gaussian)
    with pytest.raises(ValueError, match="precision is of a Gaussian likelihood; this model's is Hetero"):
        fit_dropout(own, x, y, precision=1.0, progress=False)


@pytest.mark.parametrize(
    "prior",
    [
        lambda name, value: dist.LogNormal(torch.zeros_like(value), 1.0),
        lambda name, value: dist.Uniform(torch.full_like(value, -1.0), 1.0),
    ],
    ids=["log-normal", "uniform"],
)
def test_a_prior_without_density_at_zero_or_with_an_end_above(prior):
    x, y = data()
    own = model(prior=priors.only("4.weight", prior, priors.normal(1.0)))
    with pytest.raises(ValueError, match=r"density at 0 and no upper end; that of '\d.weight' is (LogNormal|Uniform)"):
        fit_dropout(own, x, y, num_epochs=2, progress=False)


def test_without_a_dropout_layer():
    x, y = data()
    with pytest.raises(ValueError, match=r"needs an nn\.Dropout layer"):
        fit_dropout(model(0.0), x, y, progress=False)


@pytest.mark.parametrize("prior", [None, priors.normal(0.5, loc=0.3)], ids=["about zero", "off center"])
@pytest.mark.parametrize("kind", ["reals", "predicted noise", "classes"])
def test_the_fit_in_few_operations_is_that_of_the_reference(kind, prior, monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(40, 3, dtype=torch.float64)
    y = (x.sum(1) > 0).long() if kind == "classes" else x.sum(1)
    likelihood = {"reals": likelihoods.gaussian, "classes": likelihoods.categorical}.get(
        kind, likelihoods.heteroscedastic_gaussian
    )
    network = networks.mlp(3, 1 if kind == "reals" else 2, hidden=6, dropout=0.3).double()
    model = BayesianNeuralNetwork(network, prior, likelihood)
    options = {"num_samples": 2, "num_epochs": 5, "batch_size": 16, "progress": False}
    ours = fit_dropout(model, x, y, **options)
    monkeypatch.setattr("bayesnn.flat_points.FlatPoints.serves", lambda model, number: False)
    reference = fit_dropout(model, x, y, **options)
    for name, value in reference.weights.items():
        torch.testing.assert_close(ours.weights[name], value, rtol=1e-6, atol=1e-8)
    assert ours.history["loss"] == pytest.approx(reference.history["loss"])
    assert ours.history["misfit"] == pytest.approx(reference.history["misfit"])
