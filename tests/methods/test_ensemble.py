"""Deep ensembles: the paper's moments, members as they would be alone, and mixtures of variational fits."""

from functools import partial

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from bayesnn import (
    BayesianNeuralNetwork,
    fit_ensemble,
    fit_gp,
    fit_laplace,
    fit_last_layer,
    fit_map,
    fit_nuts,
    fit_svi,
    likelihoods,
    networks,
    priors,
)
from bayesnn.points import Objective
from bayesnn.posterior import WeightPosterior
from bayesnn.starts import restarts
from bayesnn.training import Minibatches


def data(num=50):
    generator = torch.Generator().manual_seed(0)
    x = 10 + 3 * torch.randn(num, 3, generator=generator, dtype=torch.float64)
    return x, 100 + x.sum(1) + torch.randn(num, generator=generator, dtype=torch.float64)


def model(outputs=2, likelihood=likelihoods.heteroscedastic_gaussian, hidden=(8,)):
    torch.manual_seed(0)
    return BayesianNeuralNetwork(networks.mlp(3, outputs, hidden=hidden).double(), likelihood=likelihood)


def test_moments_are_the_papers():
    x, y = data()
    predictive = fit_ensemble(model(), x, y, num_epochs=20, progress=False)(x)
    mu, sigma = predictive.members.mean, predictive.members.stddev
    mean = mu.sum(0) / 5
    torch.testing.assert_close(predictive.mean, mean)
    torch.testing.assert_close(predictive.variance, (sigma**2 + mu**2).sum(0) / 5 - mean**2)


@pytest.mark.parametrize("adversarial", [0.0, 0.02], ids=["plain", "adversarial"])
@pytest.mark.parametrize(
    "likelihood", [likelihoods.heteroscedastic_gaussian, likelihoods.categorical], ids=lambda v: v.name
)
def test_side_by_side_is_one_by_one(likelihood, adversarial):
    x, y = data()
    y = y if likelihood is not likelihoods.categorical else (y > y.mean()).long()
    options = {"num_members": 3, "num_epochs": 40, "batch_size": 16, "adversarial": adversarial, "progress": False}
    together = fit_ensemble(model(likelihood=likelihood), x, y, vectorised=True, **options)
    in_turn = fit_ensemble(model(likelihood=likelihood), x, y, vectorised=False, **options)
    for name, value in together.weights.items():
        torch.testing.assert_close(value, in_turn.weights[name], rtol=1e-4, atol=1e-4)
    means = torch.tensor(in_turn.history["loss"]).view(3, -1).mean(0)
    torch.testing.assert_close(torch.tensor(together.history["loss"]), means, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("vectorised", [True, False, None])
def test_an_ensemble_of_one_is_its_member(vectorised):
    x, y = data()
    options = {"num_epochs": 30, "batch_size": 16, "seed": 3, "progress": False}
    alone = fit_map(model(), x, y, **options)
    ensemble = fit_ensemble(model(), x, y, num_members=1, vectorised=vectorised, **options)
    for name, value in alone.weights.items():
        torch.testing.assert_close(ensemble.weights[name], value, rtol=1e-6, atol=1e-6)


def test_members_start_apart_and_see_other_orders():
    x, y = data()
    posterior = fit_ensemble(model(), x, y, num_epochs=1, learning_rate=1e-9, progress=False)
    first = posterior.weights["0.weight"]
    torch.testing.assert_close(first[0], model().network[0].weight, rtol=0, atol=1e-6)
    assert all((first[i] - first[j]).abs().max() > 0.05 for i in range(5) for j in range(i))
    batch = next(iter(Minibatches([x, y], 10, seeds=[0, 1])))
    assert batch[0].shape == (2, 10, 3)
    assert not torch.equal(batch[0][0], batch[0][1])
    torch.manual_seed(1)
    torch.testing.assert_close(batch[1][1], next(iter(Minibatches([x, y], 10)))[1])


def test_starts_of_your_own():
    x, y = data()
    starts = [networks.mlp(3, 2, hidden=(8,)).double() for _ in range(2)]
    posterior = fit_ensemble(
        model(), x, y, num_members=2, starts=starts, num_epochs=1, learning_rate=1e-9, progress=False
    )
    torch.testing.assert_close(posterior.weights["0.weight"][1], starts[1][0].weight.detach(), rtol=0, atol=1e-6)
    values = [dict(start.named_parameters()) for start in starts]
    again = fit_ensemble(model(), x, y, num_members=2, starts=values, num_epochs=1, learning_rate=1e-9, progress=False)
    torch.testing.assert_close(again.weights, posterior.weights)


def test_large_and_convolutional_networks_are_trained_in_turn():
    x = torch.randn(20, 1, 6, 6)
    network = networks.conv_net((1, 6, 6), 3, channels=(4,))
    bayesian = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
    posterior = fit_ensemble(bayesian, x, torch.arange(20) % 3, num_members=2, num_epochs=3, progress=False)
    assert len(posterior.history.epochs) == 6
    assert posterior(x).num_samples == 2
    x, y = data()
    assert len(fit_ensemble(model(), x, y, num_members=2, num_epochs=3, progress=False).history.epochs) == 3


@pytest.mark.filterwarnings("ignore:the ELBO, .* is below", "ignore:the ELBO was still rising")
def test_an_ensemble_of_variational_fits_is_their_mixture():
    x, y = data()
    options = {"num_epochs": 30, "warmup": 0.0, "progress": False}
    mixture = fit_ensemble(model(), x, y, num_members=2, num_samples=9, member=fit_svi, **options)
    first = fit_svi(model(), x, y, num_samples=5, **options)
    assert mixture.method == "ensemble of svi"
    assert mixture.num_samples == 9
    for name, value in first.weights.items():
        torch.testing.assert_close(mixture.weights[name][:5], value)
    again = mixture.resample(20, seed=4)
    assert again(x).num_samples == 20
    torch.testing.assert_close(again.weights["0.weight"][:10], first.resample(10, seed=4).weights["0.weight"])
    assert "elbo_per_datum" in mixture.summary
    # The default prior's scales are fitted, by each member its own.
    with pytest.raises(NotImplementedError, match="have fitted prior scales of their own"):
        mixture.log_prior()
    assert mixture.inspection(x).log_priors == {}
    fixed = BayesianNeuralNetwork(model(1).network, priors.normal(), likelihoods.gaussian)
    mixture = fit_ensemble(fixed, x, y, num_members=2, num_samples=9, member=fit_svi, **options)
    assert torch.equal(mixture.log_prior()[:5], fit_svi(fixed, x, y, num_samples=5, **options).log_prior())


@pytest.mark.parametrize("vectorised", [True, False])
def test_priors_built_from_the_weights_are_the_same_for_all_members(vectorised):
    x, y = data()
    network = model(1).network
    narrow = BayesianNeuralNetwork(network, lambda name, value: dist.Normal(value, 0.01), likelihoods.gaussian)
    options = {"num_members": 3, "num_epochs": 500, "vectorised": vectorised, "progress": False}
    found = fit_ensemble(narrow, x, y, **options).weights["0.weight"]
    assert (found - network[0].weight.detach()).abs().max() < 0.1  # another start is about 1 away


@pytest.mark.parametrize("seed", range(4))
def test_members_start_apart_whatever_seed_the_network_had(seed):
    torch.manual_seed(seed)
    found = restarts(BayesianNeuralNetwork(nn.Linear(3, 4), likelihood=likelihoods.categorical), 4, 0, "")
    weights = torch.stack([one.network.weight for one in found])
    assert torch.cdist(weights.flatten(1), weights.flatten(1)).add(torch.eye(4)).min() > 0.1


def told_by_its_seed(model, x, y, *, seed, num_samples=2, **options):
    """A member whose every draw is its own seed."""

    def draws(number, again):
        return {"0.weight": torch.full((number, 1), float(seed))}

    return WeightPosterior(model, draws(num_samples, 0), "told", draws=draws)


@pytest.mark.parametrize("num_samples", [1, 3, 5, 6, 8])
def test_draws_are_those_of_the_equally_weighted_mixture(num_samples):
    """Over 500 seeds each of 4 members has a quarter of the draws, within 5 standard errors; no draw is lost."""
    mixture = fit_ensemble(model(), *data(), num_members=4, num_samples=8, member=told_by_its_seed)
    assert mixture.num_samples == 8
    counts = torch.zeros(500, 4)
    for seed in range(500):
        drawn = mixture.resample(num_samples, seed=seed).weights["0.weight"][:, 0]
        counts[seed] = torch.bincount(drawn.long(), minlength=4)
    assert (counts.sum(1) == num_samples).all()
    assert (counts.amax(1) - counts.amin(1) <= 1).all()
    rest = num_samples % 4 / 4  # the chance of one draw more than the others
    error = (rest * (1 - rest) / 500) ** 0.5
    assert ((counts.mean(0) - num_samples / 4).abs() <= 5 * error).all()


def test_a_partial_with_settings_is_what_it_says():
    x, y = data()
    options = {"num_epochs": 5, "progress": False}
    ensemble = fit_ensemble(model(), x, y, num_members=2, member=partial(fit_map, beta=0, batch_size=16), **options)
    alone = fit_map(model(), x, y, beta=0.0, batch_size=16, **options)
    torch.testing.assert_close({n: v[:1] for n, v in ensemble.weights.items()}, alone.weights)
    assert ensemble.num_samples == 2


@pytest.mark.filterwarnings("ignore:the ELBO, .* is below")
def test_draws_of_a_partial_are_those_of_one_member():
    x, y = data()
    settings = {"num_samples": 3, "batch_size": 25, "warmup": 0.0, "num_epochs": 20}
    mixture = fit_ensemble(model(), x, y, num_members=2, member=partial(fit_svi, **settings), progress=False)
    first = fit_svi(model(), x, y, progress=False, **settings)
    torch.testing.assert_close({n: v[:3] for n, v in mixture.weights.items()}, first.weights)
    assert mixture.num_samples == 6


def test_a_function_of_ones_own_fits_members():
    def own(*data, **options):
        return fit_map(*data, adversarial=0.01, **options)

    x, y = data()
    ensemble = fit_ensemble(model(), x, y, num_members=2, num_epochs=2, member=own, progress=False)
    alone = fit_map(model(), x, y, num_epochs=2, adversarial=0.01, progress=False)
    torch.testing.assert_close({n: v[:1] for n, v in ensemble.weights.items()}, alone.weights)


NO_MEMBERS = {
    "gp": (fit_gp, "fit_gp gives a GaussianProcess. Write member=fit_map"),
    "nuts": (fit_nuts, "fit_nuts takes no num_epochs, batch_size. Write member=fit_map"),
    "ensemble": (fit_ensemble, "members must be single fits; got fit_ensemble. Raise num_members"),
    "text": ("map", "member must be a function that fits one.*got 'map'. Write member=fit_map"),
    "by place": (partial(fit_map, 1), "must hold its settings by name; got 1 without. Write partial.fit_map"),
    "twice": (partial(fit_map, num_epochs=3), "given once; got num_epochs both.*Leave one of them out"),
    "unknown": (partial(fit_map, warmup=0.5), "plain networks have no warmup"),
    "no draws": (lambda *_, **options: options, "joined; those of .* are not. Write member=fit_svi"),
}


@pytest.mark.parametrize(("member", "words"), NO_MEMBERS.values(), ids=NO_MEMBERS)
def test_what_fits_no_member_is_refused(member, words):
    with pytest.raises(TypeError, match=words):
        fit_ensemble(model(), *data(), member=member, num_members=2, num_epochs=1, progress=False)


def test_adversarial_inputs_are_one_signed_step_uphill():
    x, y = data()
    known = model().for_data(x, y)
    at = known.start()
    moved = Objective(known, x, adversarial=0.05)._attacked(at, x, y)
    leaf = x.clone().requires_grad_()
    (-known.log_likelihood(at, leaf, y).sum()).backward()
    torch.testing.assert_close(moved, x + 0.05 * (x.max(0).values - x.min(0).values) * leaf.grad.sign())
    assert known.log_likelihood(at, moved, y).mean() < known.log_likelihood(at, x, y).mean()


def test_adversarial_training_makes_adversarial_inputs_less_harmful():
    x, y = data(200)
    harm = []
    for adversarial in (0.0, 0.05):
        options = {"num_epochs": 150, "beta": 0.0, "progress": False}
        fitted = fit_map(model(), x, y, adversarial=adversarial, **options)
        at = {name: value[0] for name, value in fitted.weights.items()}
        attack = Objective(fitted.model, x, adversarial=0.05)
        harm.append(float((attack.misfit(at, attack._attacked(at, x, y), y) - attack.misfit(at, x, y)).detach()))
    assert harm[1] < 0.9 * harm[0]


class NoReset(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3, 2))

    def forward(self, x):
        return x @ self.gain


BAD = {
    "none": ({"num_members": 0}, ValueError, "num_members must be a whole number, 1 or more; got 0"),
    "half": ({"num_members": 2.5}, ValueError, "num_members must be a whole number"),
    "starts": ({"num_members": 3, "starts": [{}]}, ValueError, "one start for each of the 3 members; got 1"),
    "names": ({"num_members": 1, "starts": [{"a": torch.ones(1)}]}, ValueError, "start 0 does not: 0.bias"),
    "draws": ({"num_samples": 10}, TypeError, "plain networks have no num_samples.*member=fit_svi"),
    "options": ({"warmup": 0.5}, TypeError, "plain networks have no warmup"),
    "few": ({"member": fit_svi, "num_samples": 3}, ValueError, "num_samples must be 5 or more"),
    "step": ({"adversarial": -0.1}, ValueError, "fraction of the inputs' range"),
    "beta": ({"beta": -1.0}, ValueError, "beta must lie between 0"),
    "beta as text": ({"beta": "half"}, ValueError, "beta must lie between 0 .*got 'half'. Write beta=0.5"),
    "step as text": ({"adversarial": "1%"}, ValueError, "fraction of the inputs' range.*got '1%'. Write adversarial"),
    "no starts": ({"starts": True}, ValueError, "starts must hold one start.*got True. Write starts="),
    "no start": ({"num_members": 1, "starts": [1]}, TypeError, "each of starts must be a network.*start 0 is 1"),
    "no draw": ({"member": fit_svi, "num_samples": "9"}, ValueError, "num_samples must be a whole number.*got '9'"),
    "model": ({"model": nn.Linear(3, 1)}, TypeError, "model must be a BayesianNeuralNetwork"),
}


@pytest.mark.parametrize(("options", "kind", "words"), BAD.values(), ids=BAD)
def test_settings_out_of_range(options, kind, words):
    x, y = data()
    with pytest.raises(kind, match=words):
        fit_ensemble(**{"model": model(), "x": x, "y": y, "progress": False, **options})


def test_layers_that_cannot_start_anew():
    x, y = data()
    own = BayesianNeuralNetwork(NoReset().double(), likelihood=likelihoods.heteroscedastic_gaussian)
    with pytest.raises(ValueError, match=r"must have reset_parameters\(\).*'the network', NoReset.*pass starts=\[net"):
        fit_ensemble(own, x, y, progress=False)


def test_indices_cannot_be_moved():
    network = nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(4, 2))
    x, y = torch.randint(0, 5, (20, 2)), torch.randn(20)
    own = BayesianNeuralNetwork(network, likelihood=likelihoods.heteroscedastic_gaussian)
    with pytest.raises(ValueError, match="adversarial training moves the inputs"):
        fit_ensemble(own, x, y, adversarial=0.01, progress=False)


@pytest.mark.parametrize("member", [fit_last_layer, fit_laplace])
def test_members_that_are_no_weights_of_the_whole_network_are_refused(member):
    x, y = torch.randn(30, 2), torch.randn(30)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=3), likelihood=likelihoods.gaussian)
    with pytest.raises(TypeError, match=r"draws of the whole network's weights, to be joined; those of la.* are not"):
        fit_ensemble(model, x, y, member=member, num_members=2, num_epochs=1, progress=False)


@pytest.mark.parametrize("setting", [{"beta": 1.0}, {"adversarial": 0.1}, {"vectorised": True}])
def test_settings_of_plain_networks_are_refused_for_other_members(setting):
    x, y = torch.randn(30, 2), torch.randn(30)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=3), likelihood=likelihoods.gaussian)
    with pytest.raises(TypeError, match=f"{next(iter(setting))} belong to plain networks.*fitted by fit_svi"):
        fit_ensemble(model, x, y, member=fit_svi, num_epochs=1, progress=False, **setting)


class Branching(torch.nn.Module):
    """What torch cannot vectorise: a branch on values."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x) if x.abs().max() < 1e9 and self.layer(x).abs().max() < 1e9 else 0 * self.layer(x)


def test_what_torch_cannot_vectorise_is_trained_in_turn():
    x, y = torch.randn(30, 2), torch.randn(30)
    model = BayesianNeuralNetwork(Branching(), likelihood=likelihoods.gaussian)
    settings = {"num_members": 2, "num_epochs": 2, "progress": False}
    found, wanted = (fit_ensemble(model, x, y, vectorised=v, **settings) for v in (None, False))
    torch.testing.assert_close(found.weights, wanted.weights)
    with pytest.raises(
        ValueError, match=r"vectorised=True needs a network that torch can vectorise.*Leave vectorised out"
    ):
        fit_ensemble(model, x, y, vectorised=True, **settings)


class Attentive(torch.nn.Module):
    """Every input a word of its own; its attention is fused by torch, which has no vectorised form of that."""

    def __init__(self):
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(2, 1, batch_first=True)
        self.head = torch.nn.Linear(6, 1)

    def forward(self, x):
        words = torch.stack([x, x.sin()], -1)
        return self.head(self.attention(words, words, words, need_weights=False)[0].flatten(1))


def test_networks_with_attention_are_trained_side_by_side():
    x, y = data()
    torch.manual_seed(0)
    own = BayesianNeuralNetwork(Attentive().double(), likelihood=likelihoods.gaussian)
    settings = {"num_members": 2, "num_epochs": 5, "batch_size": 16, "progress": False}
    together, in_turn = (fit_ensemble(own, x, y, vectorised=v, **settings) for v in (True, False))
    # A key's bias changes no output: its gradient is rounding, and Adam makes steps of it.
    torch.testing.assert_close(together(x).members.mean, in_turn(x).members.mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        together.history["loss"],
        torch.tensor(in_turn.history["loss"]).view(2, -1).mean(0).tolist(),
        rtol=1e-4,
        atol=1e-4,
    )


def test_ctrl_c_between_members_says_how_many_there_are():
    x = torch.randn(40, 2)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=3), likelihood=likelihoods.gaussian)
    steps = []

    def stop(epoch, terms):
        steps.append(epoch)
        if len(steps) == 15:  # the fifth epoch of the second member
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="stopped by hand") as told:
        posterior = fit_ensemble(
            model, x, x.sum(1), num_members=5, num_epochs=10, vectorised=False, progress=False, callback=stop
        )
    assert posterior.num_samples == 2
    assert any("stopped by hand in member 2 of 5" in str(one.message) for one in told)


def test_a_layer_whose_weights_stay_cannot_start_anew():
    network = nn.Sequential(nn.utils.spectral_norm(nn.Linear(1, 4)), nn.Linear(4, 1))
    old = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)
    with pytest.raises(ValueError, match=r"must draw a layer's weights anew; '0', Linear, has the same as before"):
        fit_ensemble(old, *data(), num_members=2, num_epochs=1, progress=False)
