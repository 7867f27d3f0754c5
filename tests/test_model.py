"""The model as a Pyro model, as a plain density, and as something that knows its data's units."""

import copy
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from cases import METHODS
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoLowRankMultivariateNormal, AutoNormal
from torch import nn
from torch.testing import assert_close

from bayesnn import BayesianNeuralNetwork, fit_gp, fit_laplace, likelihoods, networks, priors

N, B = 12, 4
FIXED = priors.fan_in_normal(1.0, fit=None)


def mlp(num_inputs=2, num_outputs=1):
    return networks.mlp(num_inputs, num_outputs, hidden=(3,), activation="tanh").double()


CASES = {
    "gaussian": (1, likelihoods.gaussian, lambda: 5 + torch.randn(N).double()),
    "known noise": (1, likelihoods.gaussian.with_noise(0.5), lambda: torch.randn(N).double()),
    "noise prior": (1, likelihoods.gaussian.with_noise(dist.HalfNormal(2.0)), lambda: torch.randn(N).double()),
    "column": (1, likelihoods.gaussian, lambda: torch.randn(N, 1).double()),
    "two targets": (2, likelihoods.gaussian, lambda: torch.randn(N, 2).double()),
    "heteroscedastic": (4, likelihoods.heteroscedastic_gaussian, lambda: torch.randn(N, 2).double()),
    "categorical": (3, likelihoods.categorical, lambda: torch.arange(N) % 3),
    "bernoulli": (1, likelihoods.bernoulli, lambda: torch.arange(N) % 2),
}


def case(name):
    num_outputs, likelihood, targets = CASES[name]
    model = BayesianNeuralNetwork(mlp(num_outputs=num_outputs), FIXED, likelihood)
    return model, torch.randn(N, 2).double(), targets()


def latent_values(trace):
    """Values of the latent sites; Pyro puts a plate's own indices, ``data``, among them."""
    return {name: trace.nodes[name]["value"] for name in trace.stochastic_nodes if name != "data"}


# A Pyro model


def test_trace_has_a_site_for_every_unknown_and_the_observed_targets():
    model, x, y = case("gaussian")
    trace = poutine.trace(model.for_data(x, y)).get_trace(x, y)
    assert latent_values(trace).keys() == {"0.weight", "0.bias", "2.weight", "2.bias", "noise_scale"}
    assert trace.observation_nodes == ["y"]
    for name, value in model.network.named_parameters():
        assert trace.nodes[name]["value"].shape == value.shape
        assert trace.nodes[name]["fn"].batch_shape == ()


@pytest.mark.parametrize(("rows", "scale"), [(N, 1.0), (B, N / B)])
def test_the_plate_scales_a_minibatch_to_the_data_set(rows, scale):
    model, x, y = case("gaussian")
    site = poutine.trace(model.for_data(x, y)).get_trace(x[:rows], y[:rows]).nodes["y"]
    assert [(frame.name, frame.size) for frame in site["cond_indep_stack"]] == [("data", rows)]
    assert float(site["scale"]) == scale


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rows", [N, B])
def test_plain_density_equals_the_trace(name, rows):
    model, x, y = case(name)
    model = model.for_data(x, y)
    trace = poutine.trace(model).get_trace(x[:rows], y[:rows])
    weights = latent_values(trace)
    log_likelihood, log_prior = model.log_likelihood(weights, x[:rows], y[:rows]), model.log_prior(weights)
    assert log_likelihood.shape == (rows,)
    assert log_prior.shape == ()
    assert_close(trace.log_prob_sum(), N / rows * log_likelihood.sum() + log_prior)


@pytest.mark.parametrize("name", [name for name in CASES if name != "column"])
def test_plain_density_equals_the_trace_before_the_data_are_known(name):
    model, x, y = case(name)
    trace = poutine.trace(model).get_trace(x, y)
    weights = latent_values(trace)
    log_prior = model.log_prior(weights)
    assert log_prior.shape == ()
    assert_close(trace.log_prob_sum(), model.log_likelihood(weights, x, y).sum() + log_prior)


@pytest.mark.parametrize("name", ["categorical", "bernoulli"])
def test_labels_in_a_column_are_one_for_each_datum(name):
    model, x, y = case(name)
    known = model.for_data(x, y[:, None])
    assert known.log_likelihood(known.start(), x, known.likelihood.typed(y[:, None], known.dtype)).shape == (N,)


def test_without_targets_it_samples_them():
    model, x, y = case("two targets")
    known = model.for_data(x, y)
    assert known(x[:5]).shape == (5, 2)
    trace = poutine.trace(known).get_trace(x[:5])
    assert trace.nodes["y"]["scale"] == 1.0
    assert not trace.nodes["y"]["is_observed"]


def test_render_model_shows_sites_and_plate():
    model, x, y = case("gaussian")
    source = pyro.render_model(model.for_data(x, y), model_args=(x, y)).source
    for text in ('"0.weight" -> y', "noise_scale -> y", "cluster_data"):
        assert text in source


def test_nuts_runs():
    model, x, y = case("gaussian")
    mcmc = MCMC(NUTS(model.for_data(x, y), max_tree_depth=3), num_samples=10, warmup_steps=10, disable_progbar=True)
    mcmc.run(x, y)
    samples = mcmc.get_samples()
    assert {name: value.shape[1:] for name, value in samples.items()} == {
        **{name: value.shape for name, value in model.network.named_parameters()},
        "noise_scale": (),
    }
    assert all(bool(value.isfinite().all()) for value in samples.values())
    assert len(samples["noise_scale"].unique()) > 1


@pytest.mark.parametrize("make", [AutoNormal, AutoDelta, AutoLowRankMultivariateNormal])
def test_guides_of_pyro_fit_and_predict(make):
    model, x, y = case("gaussian")
    model = model.for_data(x, y)
    guide = make(model)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
    losses = [svi.step(x[:B], y[:B]) for _ in range(60)]
    assert sum(losses[-10:]) < sum(losses[:10])
    samples = Predictive(model, guide=guide, num_samples=5)(x[:7])
    pyro.clear_param_store()
    assert samples["y"].shape == (5, 7)
    assert samples["0.weight"].shape[0] == 5


# Units


@pytest.mark.parametrize("noise", [None, 70.0])
def test_density_of_raw_targets_equals_the_normal_written_by_hand(noise):
    network = mlp()
    x = torch.randn(N, 2).double() * torch.tensor([1e3, 1e-3]) + torch.tensor([5e4, 2.0])
    y = 3000 + 500 * torch.randn(N).double()
    likelihood = likelihoods.gaussian if noise is None else likelihoods.gaussian.with_noise(noise)
    model = BayesianNeuralNetwork(network, FIXED, likelihood).for_data(x, y)
    f = network((x - x.mean(0)) / x.std(0, correction=0)).squeeze(1).detach()
    spread = y.std(correction=0)
    scale = torch.tensor(70.0).double()
    by_hand = torch.distributions.Normal(y.mean() + spread * f, scale).log_prob(y)
    weights = model.start() | {"noise_scale": scale}
    assert_close(model.log_likelihood(weights, x, y), by_hand)
    prior = model.latents()
    assert set(prior) == (set() if noise else {"noise_scale"})
    if not noise:
        expected = torch.distributions.LogNormal((0.3 * spread).log(), 1.0).log_prob(scale)
        assert_close(prior["noise_scale"].log_prob(scale), expected)


def test_columns_are_standardised_one_by_one_and_constant_ones_only_centred():
    model, x, y = case("gaussian")
    x = x * 7 - 3
    x[:, 1] = 0.1
    z = model.for_data(x, y).standardised(x)
    assert_close(z.mean(0), torch.zeros(2).double())
    assert_close(z.std(0, correction=0), torch.tensor([1.0, 0.0]).double())
    stranger = torch.tensor([[0.0, 2.1]]).double()
    assert_close(model.for_data(x, y).standardised(stranger)[0, 1], torch.tensor(2.0).double())


@pytest.mark.parametrize("pixels", [0.0, 0.3])
def test_pictures_are_divided_by_one_scale(pixels):
    x = torch.rand(N, 3, 3).double() * pixels
    model = BayesianNeuralNetwork(networks.mlp((3, 3), 1).double(), FIXED, likelihoods.gaussian)
    z = model.for_data(x, torch.randn(N)).standardised(x)
    assert_close(z, x / x.square().mean().sqrt() if pixels else x)


def test_constant_targets_are_only_centred():
    model, x, _ = case("gaussian")
    known = model.for_data(x, torch.full((N,), 4.2).double())
    assert_close((known.y_loc, known.y_scale), (torch.tensor(4.2).double(), torch.tensor(1.0).double()))


def test_nothing_is_scaled_unless_asked_for():
    model, x, y = case("gaussian")
    raw = BayesianNeuralNetwork(model.network, FIXED, likelihoods.gaussian, standardise=False).for_data(x * 9, y)
    assert torch.equal(raw.standardised(x), x)
    assert (raw.y_loc, raw.y_scale) == (0, 1)


def test_for_data_leaves_the_model_and_the_network_as_they_were():
    network = mlp()
    network.train()
    model = BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian)
    before = copy.deepcopy((network.state_dict(), model.state_dict()))
    x, y = torch.randn(N, 2).double() * 5, torch.randn(N).double() * 5
    known = model.for_data(x, y)
    poutine.trace(known).get_trace(x, y)
    assert_close((network.state_dict(), model.state_dict()), before, rtol=0, atol=0)
    assert (model.num_data, known.num_data) == (None, N)
    assert network.training
    assert all(value.requires_grad for value in network.parameters())


def test_state_dict_brings_the_units():
    network = networks.mlp((2, 2), 1).double()
    x, y = torch.rand(N, 2, 2).double(), 5 + torch.randn(N).double()
    known = BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian).for_data(x, y)
    other = BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian)
    other.load_state_dict(known.state_dict())
    assert_close(dict(other.state_dict()), dict(known.state_dict()), rtol=0, atol=0)


def test_indices_into_an_embedding_stay_as_they_are():
    network = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 1)).double()
    model = BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian)
    x, y = torch.randint(0, 5, (N, 2)), torch.randn(N).double()
    known = model.for_data(x, y)
    assert torch.equal(known.standardised(x), x)
    assert_close(known.outputs(known.start(), x), network(x).detach())
    trace = poutine.trace(known).get_trace(x, y)
    assert trace.nodes["0.weight"]["value"].shape == (5, 3)


def test_integer_inputs_of_other_networks_are_numbers():
    model, _, y = case("gaussian")
    x = torch.arange(2 * N).view(N, 2)
    z = model.for_data(x, y).standardised(x)
    assert_close(z.std(0, correction=0), torch.ones(2).double())


# Draws of weights


@pytest.mark.parametrize("at_once", [1, 100, 2**22])
def test_prediction_at_many_draws_equals_one_after_another(monkeypatch, at_once):
    monkeypatch.setattr("bayesnn.at_draws._NUMBERS_AT_ONCE", {"cpu": at_once, "cuda": at_once})
    model, x, y = case("two targets")
    model = model.for_data(x, y)
    traces = [poutine.trace(model).get_trace(x) for _ in range(6)]
    draws = [{name: trace.nodes[name]["value"] for name in [*model.priors(), "noise_scale"]} for trace in traces]
    members = model.predict({name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}, x)
    assert members.batch_shape == (6, N)
    for s, trace in enumerate(traces):
        assert_close(members.mean[s], trace.nodes["y"]["fn"].mean)
        assert_close(members.stddev[s], trace.nodes["y"]["fn"].stddev)


def test_tied_weights_are_one_site():
    network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 2), nn.Linear(2, 1)).double()
    network[2].weight = network[0].weight
    model = BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian)
    assert "2.weight" not in model.parameter_names
    x = torch.randn(N, 2).double()
    weights = {name: torch.randn_like(value) for name, value in network.named_parameters()}
    hidden = F.linear(x, weights["0.weight"], weights["0.bias"]).tanh()
    hidden = F.linear(hidden, weights["0.weight"], weights["2.bias"])
    assert_close(model.outputs(weights, x), F.linear(hidden, weights["3.weight"], weights["3.bias"]))


def test_dropout_layers_stay_off():
    network = nn.Sequential(nn.Linear(2, 50), nn.Dropout(0.5), nn.Linear(50, 1)).double()
    model = BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian)
    x = torch.randn(N, 2).double()
    first = model.outputs(model.start(), x)
    model.train()
    assert_close(model.outputs(model.start(), x), first)


# Types and priors


@pytest.mark.parametrize("move", [lambda m: m.double(), lambda m: m.to(torch.float64)])
@pytest.mark.parametrize("known", [False, True])
def test_moving_to_float64_moves_everything(move, known):
    x, y = torch.randn(N, 2), torch.randn(N)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(9,)), likelihood=likelihoods.gaussian)
    model = model.for_data(x, y) if known else model
    moments = {name: (value, torch.ones_like(value)) for name, value in model.start().items()}
    model = model.with_fitted_priors(moments)
    before = model.priors()["0.weight"].scale
    model = move(model)
    assert model.dtype == torch.float64
    trace = poutine.trace(model).get_trace(x.double(), y.double())
    assert {value.dtype for value in latent_values(trace).values()} == {torch.float64}
    assert trace.log_prob_sum().dtype == torch.float64
    assert_close(model.priors()["0.weight"].scale, before.double())


def test_fitted_priors_are_a_copy_at_the_scales_of_the_guide():
    prior = priors.fan_in_normal(1.0, fit="tensor")
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(9,)).double(), prior, likelihoods.gaussian)
    moments = {"0.weight": (torch.full((9, 2), 3.0).double(), torch.full((9, 2), 4.0).double())}
    fitted = model.with_fitted_priors(moments)
    assert_close(fitted.priors()["0.weight"].scale, torch.full((9, 2), 5.0).double())
    assert_close(model.priors()["0.weight"].scale, torch.full((9, 2), 0.5**0.5).double())
    assert_close(fitted.priors()["2.weight"].scale, model.priors()["2.weight"].scale)


def test_repr_tells_sites_shapes_and_priors():
    model, x, y = case("gaussian")
    lines = repr(model.for_data(x, y)).splitlines()
    assert lines[0] == "BayesianNeuralNetwork(Gaussian, 13 weights, 12 data)"
    assert lines[1].split(maxsplit=1) == ["0.weight", "(3, 2)         Normal(sd 0.707)"]
    assert lines[-1].split()[0] == "noise_scale"
    assert len(lines) == 6
    assert repr(model).splitlines()[0] == "BayesianNeuralNetwork(Gaussian, 13 weights)"


# Refusals


class Functional(nn.Module):
    """Drops units where no one can see it."""

    def __init__(self, width=4, p=0.5):
        super().__init__()
        self.first, self.last, self.p = nn.Linear(2, width), nn.Linear(width, 1), p

    def forward(self, x):
        return self.last(F.dropout(self.first(x), self.p))


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return nn.Sequential(torch.jit.script(nn.Linear(2, 1)))


@pytest.mark.parametrize(
    ("network", "error", "words"),
    [
        (
            nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False)),
            ValueError,
            "batch normalisation must keep running statistics.* none in '1'.*LayerNorm",
        ),
        (nn.ReLU(), ValueError, "must have one parameter at least"),
        (nn.LazyLinear(1), ValueError, "lazy parameters without a shape; run it once"),
        (nn.Linear(2, 1, dtype=torch.complex64), ValueError, "must be real floating-point numbers"),
        (nn.Linear, TypeError, r"must be an instance of nn\.Module; got the class Linear\. Write Linear\(\)"),
        (scripted(), TypeError, r"must be plain modules, .*torch\.jit\. Pass the module that was"),
        (torch.tanh, TypeError, "must be a torch.nn.Module; got builtin_function_or_method"),
    ],
)
def test_networks_without_a_posterior_are_refused(network, error, words):
    with pytest.raises(error, match=words):
        BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)


def normalised():
    """A network with batch normalisation that has seen data, in train mode still."""
    network = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.1), nn.ReLU(), nn.Linear(4, 3)).double()
    network(3 + 5 * torch.randn(50, 2).double())
    return network


def test_batch_normalisation_is_a_fixed_affine_map_of_the_model():
    network, x = normalised(), torch.randn(N, 2).double()
    model = BayesianNeuralNetwork(network, FIXED, likelihoods.categorical, standardise=False)
    before = copy.deepcopy(network.state_dict())
    model(x, torch.arange(N) % 3)
    assert_close(model.outputs(model.start(), x), copy.deepcopy(network).eval()(x))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training
    assert not torch.allclose(model.outputs(model.start(), x), network(x))  # in train mode it is another map


TRAINING = [m for m in METHODS if m.fit is not fit_gp or "deep_kernel" in m.options]


@pytest.mark.parametrize("method", TRAINING, ids=lambda method: method.name)
def test_what_fits_weights_refuses_batch_normalisation(method):
    model = BayesianNeuralNetwork(normalised(), likelihood=likelihoods.categorical)
    with pytest.raises(ValueError, match=r"batch normalisation makes .* in '1'\. Use nn\.LayerNorm.*from_networks"):
        method.fit(model, torch.randn(N, 2).double(), torch.arange(N) % 3, progress=False, **method.options)


@pytest.mark.parametrize("meddled", [{"padding_idx": 0}, {"max_norm": 1.0}], ids=str)
@pytest.mark.parametrize("method", TRAINING, ids=lambda method: method.name)
def test_what_fits_weights_refuses_embeddings_that_meddle_with_theirs(method, meddled):
    network = nn.Sequential(nn.Embedding(5, 4, **meddled), nn.Flatten(), nn.Dropout(0.1), nn.Linear(8, 3)).double()
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
    with pytest.raises(ValueError, match=r"have no posterior; found one in '0'\. Leave padding_idx and max_norm out"):
        method.fit(model, torch.randint(5, (N, 2)), torch.arange(N) % 3, progress=False, **method.options)


def test_laplace_of_a_network_as_it_stands_refuses_batch_normalisation():
    model = BayesianNeuralNetwork(normalised(), likelihood=likelihoods.categorical)
    with pytest.raises(ValueError, match="batch normalisation makes"):
        fit_laplace(model, torch.randn(N, 2).double(), torch.arange(N) % 3, start="network", progress=False)


@pytest.mark.parametrize("likelihood", [None, "gaussian"])
def test_a_likelihood_must_be_given(likelihood):
    with pytest.raises(TypeError, match=r"likelihood must say what the outputs mean.*likelihoods\.categorical"):
        BayesianNeuralNetwork(mlp(), likelihood=likelihood)


class Mine(likelihoods.Gaussian):
    pass


@pytest.mark.parametrize(
    ("kind", "words"),
    [(likelihoods.HeteroscedasticGaussian, r"likelihood=likelihoods\.heteroscedastic_gaussian"), (Mine, r"Mine\(\)")],
)
def test_the_class_of_a_likelihood_is_told_from_an_instance(kind, words):
    with pytest.raises(TypeError, match=f"must be an instance; got the class {kind.__name__}. Write .*{words}"):
        BayesianNeuralNetwork(mlp(), likelihood=kind)


@pytest.mark.parametrize(
    ("prior", "error", "words"),
    [
        (lambda name, value: 1.0, TypeError, "prior of '0.weight' must be a pyro distribution; got float"),
        (lambda name, value: torch.distributions.Normal(value, 1.0), TypeError, "must be a pyro distribution"),
        (lambda name, value: dist.Normal(0.0, 1.0), ValueError, r"parameter's shape \(3, 2\); got \(\)"),
        (lambda name, value: dist.Normal(value[None], 1.0), ValueError, r"parameter's shape \(3, 2\); got \(1, 3, 2\)"),
    ],
)
def test_priors_must_be_distributions_of_the_parameters_shape(prior, error, words):
    with pytest.raises(error, match=words):
        BayesianNeuralNetwork(mlp(), prior, likelihoods.gaussian)


@pytest.mark.parametrize(
    ("network", "likelihood", "words"),
    [
        (nn.Linear(3, 1), likelihoods.gaussian, r"must take inputs of shape \(N, 2\)"),
        (nn.Sequential(nn.Linear(2, 1), nn.Flatten(0)), likelihoods.gaussian, r"\(N, K\) outputs; it gave \(12,\)"),
        (nn.Sequential(nn.Linear(2, 2), nn.Unflatten(1, (1, 2))), likelihoods.gaussian, r"it gave \(12, 1, 2\)"),
        (Functional(), likelihoods.gaussian, "same outputs twice in eval mode.*nn.Dropout"),
        (
            nn.Linear(2, 3),
            likelihoods.gaussian,
            r"one target needs 1 network output; .* has 3.*nn\.Linear\(\.\.\., 1\)",
        ),
        (nn.Linear(2, 1), likelihoods.heteroscedastic_gaussian, "one target needs 2 network outputs; .* has 1"),
        (nn.Linear(2, 1), likelihoods.categorical, "one network output per class"),
    ],
)
def test_data_that_do_not_suit_the_network_are_refused(network, likelihood, words):
    model = BayesianNeuralNetwork(network, FIXED, likelihood)
    with pytest.raises(ValueError, match=words):
        model.for_data(torch.randn(N, 2), torch.randn(N))


class Last(nn.LSTM):
    def forward(self, x):
        return super().forward(x)[0][:, -1]


def test_networks_that_return_more_than_a_tensor_are_told_what_to_take():
    x, options = torch.randn(N, 5, 2), {"batch_first": True}
    for network, words in {
        nn.LSTM(2, 1, **options): r"must return one tensor \(N, K\); got a tuple\. Take its last output in forward",
        nn.Sequential(nn.LSTM(2, 4, **options), nn.Linear(4, 1)): "takes a tuple, as nn.LSTM gives.* of your own",
    }.items():
        with pytest.raises(TypeError, match=words):
            BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian).for_data(x, torch.randn(N))
    BayesianNeuralNetwork(Last(2, 1, **options), FIXED, likelihoods.gaussian).for_data(x, torch.randn(N))


@pytest.mark.parametrize("error", [AttributeError("no attribute 'wieght'"), TypeError("not callable")])
def test_other_errors_of_a_network_are_its_own(error):
    class Wrong(nn.Linear):
        def forward(self, x):
            raise error

    with pytest.raises(type(error), match=str(error)):
        BayesianNeuralNetwork(Wrong(2, 1), FIXED, likelihoods.gaussian).for_data(torch.randn(N, 2), torch.randn(N))


def test_half_precision_is_refused_for_real_targets():
    model = BayesianNeuralNetwork(nn.Linear(2, 1).half(), FIXED, likelihoods.gaussian)
    with pytest.raises(ValueError, match=r"must be float32 or float64 .*; got float16\. Write network\.float\(\)"):
        model.for_data(torch.randn(N, 2), torch.randn(N))


def test_functional_dropout_of_few_units_is_seen():
    """One pair of outputs for two inputs agrees by chance; twelve inputs, or more runs, would not."""
    seen = 0
    for _ in range(20):
        try:
            BayesianNeuralNetwork(Functional(p=0.1), FIXED, likelihoods.gaussian).for_data(
                torch.randn(100, 2), torch.randn(100)
            )
        except ValueError:
            seen += 1
    assert seen == 20


def test_indices_outside_of_an_embedding_are_refused():
    network = nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(3, 1))
    model = BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian)
    with pytest.raises(ValueError, match="the network must take inputs"):
        model.for_data(torch.full((N, 1), 7), torch.randn(N))


class Mixed(nn.Module):
    """A column of indices beside a column of numbers."""

    def __init__(self):
        super().__init__()
        self.table, self.last = nn.Embedding(5, 2), nn.Linear(3, 1)

    def forward(self, x):
        return self.last(torch.cat([self.table(x[:, 0].long()), x[:, 1:]], 1))


def test_indices_in_a_column_that_is_standardised_are_told_of():
    x = torch.stack([torch.arange(N) % 5, torch.randn(N)], 1)
    with pytest.raises(ValueError, match=r"Columns are standardised before .* write standardise=False, and scale"):
        BayesianNeuralNetwork(Mixed(), FIXED, likelihoods.gaussian).for_data(x, torch.randn(N))
    as_given = BayesianNeuralNetwork(Mixed(), FIXED, likelihoods.gaussian, standardise=False)
    assert as_given.for_data(x, torch.randn(N)).num_data == N
    with pytest.raises(ValueError, match=r"it said: index out of range in self$"):
        as_given.for_data(x + 5, torch.randn(N))


@pytest.mark.parametrize("name", ["noise_scale", "y"])
def test_parameters_named_like_the_models_own_sites_are_refused(name):
    network = nn.Module()
    network.register_parameter(name, nn.Parameter(torch.ones(1)))
    network.forward = lambda x: x * getattr(network, name)
    with pytest.raises(ValueError, match=name):
        BayesianNeuralNetwork(network, FIXED, likelihoods.gaussian)


@pytest.mark.parametrize(
    "prior", [1.0, "normal", dist.Normal(0.0, 1.0), dist.Normal, lambda value: dist.Normal(value, 1.0), priors.normal]
)
def test_a_prior_must_be_a_function_of_name_and_value(prior):
    with pytest.raises(TypeError, match=r"prior must be a function \(name, value\)"):
        BayesianNeuralNetwork(nn.Linear(2, 1), prior, likelihoods.gaussian)


def test_a_likelihood_in_the_place_of_the_prior_is_told():
    with pytest.raises(TypeError, match="second argument is the prior"):
        BayesianNeuralNetwork(nn.Linear(2, 1), likelihoods.gaussian)


def test_outputs_that_depend_on_the_batch_are_refused():
    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 1)

        def forward(self, x):
            return torch.nn.functional.batch_norm(self.linear(x), None, None, training=True)

    model = BayesianNeuralNetwork(Normalised(), likelihood=likelihoods.gaussian)
    with pytest.raises(ValueError, match="must not depend on the other inputs of the batch"):
        model.for_data(torch.randn(20, 2), torch.randn(20))


def test_labels_that_count_from_one_get_a_hint():
    model = BayesianNeuralNetwork(nn.Linear(2, 3), likelihood=likelihoods.categorical)
    with pytest.raises(ValueError, match=r"got values from 1 to 3\. Do they count from 1\? Pass y - 1"):
        model.for_data(torch.randn(6, 2), torch.tensor([1, 2, 3, 1, 2, 3]))


def test_parameters_that_are_frozen_in_part_get_a_warning():
    network = networks.mlp(2, 1, hidden=(3,))
    network[0].requires_grad_(False)
    with pytest.warns(UserWarning, match=r"holds no parameter still: all are fitted, '0.weight', '0.bias' too") as told:
        BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)
    assert told[0].filename == __file__
    BayesianNeuralNetwork(network.requires_grad_(False), likelihood=likelihoods.gaussian)  # as a model's own network is
