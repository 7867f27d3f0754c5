"""to_arviz: every group for every method, against what the posterior itself says, and what users then do with it."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from cases import METHODS, TASKS
from torch.testing import assert_close
from torch.utils.data import TensorDataset

from bayesnn import (
    BayesianNeuralNetwork,
    fit_ensemble,
    fit_last_layer,
    fit_map,
    fit_nuts,
    fit_svi,
    from_networks,
    likelihoods,
    networks,
    priors,
    temperature_scaled,
)
from bayesnn.arviz_data import group_names, read, write
from bayesnn.export import to_arviz

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{words}")
    for words in ("the ELBO, .* is below", "the fit ended while", "the chains may not show")
]
ARVIZ_ITSELF = [
    pytest.mark.filterwarnings(f"ignore:{words}")
    for words in ("Passing a dict or None as alias_mapping", "The inplace keyword")
]
OF_WEIGHTS = {"log_prior", "sample_stats"}
WHOLE = {"posterior", "posterior_predictive", "log_likelihood", "prior", "prior_predictive", "observed_data"}
WHOLE |= {"constant_data", "predictions", "predictions_constant_data", "fit_history"}
CLASSES, TWO = TASKS[0], TASKS[5]


def fitted(method, task, **options):
    return method.fit(task.model(), *task.data(), progress=False, **{**method.options, **options})


@pytest.mark.parametrize("task", [CLASSES, TWO], ids=lambda task: task.name)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_group_of_every_method_goes_to_a_file_and_back(method, task, tmp_path):
    x, y = task.data()
    posterior = fitted(method, task)
    state = torch.get_rng_state()
    data = to_arviz(posterior, x, y, new_x=x[:5], num_prior=6)
    assert torch.equal(torch.get_rng_state(), state)
    of_process = method.fit.__name__ == "fit_gp"
    wanted = WHOLE | (set() if of_process else OF_WEIGHTS)
    if posterior.method == "ensemble of svi":  # each fit has prior scales of its own
        wanted -= {"log_prior"}
    assert set(group_names(data)) - {"weight_summary"} == wanted
    chains, draws = data.posterior.sizes["chain"], data.posterior.sizes["draw"]
    num_samples = posterior.num_samples
    assert chains * draws in (num_samples, num_samples - num_samples % chains)
    event = () if y.ndim == 1 else (y.shape[1],)
    assert data.posterior_predictive["y"].shape == (chains, draws, 40, *event)
    assert data.log_likelihood["y"].shape == (chains, draws, 40)
    assert data.predictions["y"].shape == (chains, draws, 5, *event)
    assert data.prior_predictive["y"].shape == (1, 6, 40, *event)
    assert_close(torch.tensor(data.observed_data["y"].values), y)
    assert_close(torch.tensor(data.constant_data["x"].values), x)
    assert data.attrs["method"] == posterior.method
    write(data, tmp_path / "data.nc")
    again = read(tmp_path / "data.nc")
    assert all(data[group].equals(again[group]) for group in group_names(data))


def known(num_samples=40, **options):
    x, y = TWO.data()
    return fit_svi(TWO.model(), x, y, num_samples=num_samples, num_epochs=10, progress=False, **options), x, y


def test_the_figures_are_the_posteriors_own():
    posterior, x, y = known()
    data = to_arviz(posterior, x, y)
    members = posterior(x).members
    assert_close(torch.tensor(data.log_likelihood["y"].values[0]).float(), members.log_prob(y))
    for name, value in posterior.weights.items():
        assert_close(torch.tensor(data.posterior[name].values[0]), value)
        assert_close(torch.tensor(data.log_prior[name].values[0]), posterior.model.log_priors(posterior.weights)[name])
    joint = members.log_prob(y).double().sum(1) + posterior.log_prior()
    assert_close(torch.tensor(data.sample_stats["lp"].values[0]), joint, rtol=1e-6, atol=0)
    assert_close(torch.tensor(data.sample_stats["log_q"].values[0]), posterior.log_density())
    history = posterior.history
    assert_close(data.fit_history["elbo"].values, -np.array(history["misfit"]) - np.array(history["kl"]))
    assert data.attrs["elbo_per_datum"] == posterior.summary["elbo_per_datum"]


def test_a_sure_classifier_still_has_leave_one_out():
    """Probabilities of 1 - 1e-9 have the logarithm 0 in single precision, at every draw."""
    import arviz as az

    x, y = torch.ones(4, 1), torch.zeros(4).long()
    model = BayesianNeuralNetwork(torch.nn.Linear(1, 2), likelihood=likelihoods.categorical, standardise=False)
    rng = torch.Generator().manual_seed(0)
    draws = [
        {"weight": torch.tensor([[25.0], [0.0]]) + torch.randn(2, 1, generator=rng), "bias": torch.zeros(2)}
        for _ in range(100)
    ]
    data = to_arviz(from_networks(model, draws), x, y, num_prior=0)
    assert (data.log_likelihood["y"] < 0).all()
    assert np.isfinite(az.loo(data).elpd_loo)


def test_targets_are_drawn_from_their_members():
    """400 draws of each of 80 targets: the mean z-score has a standard error of 1/179, the squared one of 1/126."""
    posterior, x, y = known(400)
    data = to_arviz(posterior, x, y)
    members = posterior(x).members
    z = (torch.tensor(data.posterior_predictive["y"].values[0]) - members.mean) / members.stddev
    assert abs(float(z.mean())) < 5 / 179
    assert abs(float(z.square().mean()) - 1) < 5 / 126


def test_prior_groups_are_drawn_from_the_prior():
    posterior, x, y = known()
    data = to_arviz(posterior, x, y, num_prior=4000)
    prior = posterior.model.priors()["4.weight"]
    drawn = torch.tensor(data.prior["4.weight"].values[0])
    assert (((drawn.std(0) / prior.scale - 1) * (2 * 4000) ** 0.5).abs() < 5).all()
    assert data.prior_predictive["y"].shape == (1, 4000, 40, 2)
    assert "prior" not in group_names(to_arviz(posterior, x, y, num_prior=0))


def test_axes_bear_the_names_of_layers_and_the_users_labels():
    posterior, x, y = known()
    frame = pd.DataFrame(x.numpy(), columns=["age", "height", "mass"], index=[f"p{n}" for n in range(40)])
    targets = pd.DataFrame(y.numpy(), columns=["left", "right"])
    data = to_arviz(posterior, frame, targets)
    assert data.posterior["1.weight"].dims == ("chain", "draw", "1_out", "1_in")
    assert list(data.posterior["1_in"].values) == ["age", "height", "mass"]
    assert list(data.posterior["4_out"].values) == ["left", "right"]
    assert list(data.constant_data["feature"].values) == ["age", "height", "mass"]
    assert list(data.log_likelihood["datum"].values[:2]) == ["p0", "p1"]
    assert data.posterior["noise_scale"].sel(target="right").shape == (1, 40)
    named = to_arviz(posterior, x, y, coords={"feature": ["a", "b", "c"], "1_out": list("stuvwxyz")})
    assert float(named.posterior["1.weight"].sel({"1_out": "u", "1_in": "b"})[0, 3]) == float(
        posterior.weights["1.weight"][3, 2, 1]
    )
    x, y = CLASSES.data()
    classes = fit_map(CLASSES.model(), x, y, num_epochs=1, progress=False)
    named = to_arviz(classes, x, y, coords={"class": ["cat", "dog", "owl"]})
    assert list(named.posterior["4_out"].values) == ["cat", "dog", "owl"]


def test_pictures_and_convolutions_have_axes_too():
    x, y = torch.rand(30, 1, 8, 8), torch.arange(30) % 2
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2))
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
    data = to_arviz(fit_ensemble(model, x, y, num_epochs=1, num_members=3, progress=False), x, y)
    assert data.posterior["0.weight"].dims == ("chain", "draw", "0_out", "0_in", "0_kernel_y", "0_kernel_x")
    assert data.constant_data["x"].shape == (30, 1, 8, 8)


def test_large_sites_are_told_by_their_size_unless_they_are_asked_for(monkeypatch):
    monkeypatch.setattr("bayesnn.export._IN_FULL", 20)
    posterior, x, y = known()
    data = to_arviz(posterior, x, y)
    assert "1.weight" not in data.posterior
    weight = posterior.weights["1.weight"]
    assert_close(torch.tensor(data.posterior["1.weight_rms"].values[0]), weight.double().square().mean((1, 2)).sqrt())
    assert_close(torch.tensor(data.weight_summary["1.weight_mean"].values), weight.mean(0))
    assert_close(torch.tensor(data.weight_summary["1.weight_sd"].values), weight.std(0, correction=0))
    assert data.posterior["4.weight"].shape == (1, 40, 2, 8)
    assert "1.weight" in to_arviz(posterior, x, y, sites="all").posterior
    assert set(to_arviz(posterior, x, y, sites=["1.bias"]).posterior) == {
        "1.weight_rms", "1.bias", "4.weight_rms", "4.bias_rms", "noise_scale"
    }  # fmt: skip
    assert "noise_scale" in to_arviz(posterior, x, y, sites="none").posterior
    assert data.prior.keys() == data.posterior.keys()


def test_chains_and_fits_are_told_apart():
    x, y = TWO.data()
    chains = fit_nuts(TWO.model(), x, y, num_samples=11, num_chains=3, num_warmup=5, max_tree_depth=3, progress=False)
    assert chains.chains == (4, 4, 3)
    data = to_arviz(chains, x, y)
    assert data.posterior["1.weight"].shape == (3, 3, 8, 3)
    assert_close(torch.tensor(data.posterior["1.weight"].values[1]), chains.weights["1.weight"][4:7])
    assert_close(torch.tensor(data.sample_stats["n_steps"].values[2]), chains.statistics["n_steps"][8:11])
    assert data.sample_stats["diverging"].dtype == bool
    assert "log_q" not in data.sample_stats
    mixture = fit_ensemble(
        TWO.model(), x, y, member=fit_svi, num_members=2, num_samples=8, num_epochs=5, progress=False
    )
    assert to_arviz(mixture, x, y).posterior["1.weight"].shape == (2, 4, 8, 3)
    assert to_arviz(mixture.resample(9, seed=1), x, y).posterior["1.weight"].shape == (1, 9, 8, 3)
    assert to_arviz(mixture, x, y, thin=2).posterior["1.weight"].shape == (2, 2, 8, 3)


def test_what_does_not_vary_stands_among_the_constants():
    x, y = TWO.data()
    data = to_arviz(fit_last_layer(TWO.model(), x, y, num_epochs=5, progress=False), x, y)
    assert set(data.posterior) == set(data.prior) == {"4.weight", "4.bias"}
    assert data.constant_data["noise_scale"].shape == (2,)


def test_without_targets_there_is_no_likelihood_and_a_loader_brings_both():
    posterior, x, y = known()
    data = to_arviz(posterior, x)
    assert {"log_likelihood", "observed_data"}.isdisjoint(group_names(data))
    assert set(data.sample_stats) == {"log_q"}
    assert_close(to_arviz(posterior, TensorDataset(x, y)).observed_data["y"].values, y.numpy())
    assert_close(to_arviz(posterior, x.split(7)).constant_data["x"].values, x.numpy())


def test_a_small_memory_gives_the_same():
    posterior, x, y = known()
    whole, streamed = to_arviz(posterior, x, y), to_arviz(posterior, x, y, memory=1000)
    assert_close(whole.log_likelihood["y"].values, streamed.log_likelihood["y"].values, rtol=1e-5, atol=1e-5)
    assert streamed.posterior_predictive["y"].shape == whole.posterior_predictive["y"].shape


def test_a_pyro_model_of_ones_own():
    import pyro
    import pyro.distributions as dist

    def line(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        noise = pyro.sample("noise", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ slope, noise), obs=y)

    x = torch.randn(30, 3)
    y = x.sum(1) + 0.1 * torch.randn(30)
    posterior = fit_svi(line, x, y, num_epochs=300, num_samples=15, progress=False)
    data = to_arviz(posterior, x, y, num_prior=9)
    prior = dist.Normal(0.0, 1.0).log_prob(posterior.weights["slope"]).sum(1)
    assert_close(torch.tensor(data.log_prior["slope"].values[0]), prior)
    assert data.prior["slope"].shape == (1, 9, 3)
    assert data.sample_stats["log_q"].shape == (1, 15)


def test_vectors_of_a_pyro_model_have_axes_of_their_own():
    import pyro
    import pyro.distributions as dist

    def two(x, y=None):
        a = pyro.sample("a", dist.Normal(torch.zeros(6), 1.0).to_event(1))
        b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ a + b.sum(), 1.0), obs=y)

    x = torch.randn(30, 6)
    data = to_arviz(fit_svi(two, x, x.sum(1), num_epochs=10, num_samples=5, progress=False), x, x.sum(1))
    assert data.posterior["a"].dims == ("chain", "draw", "a_axis_0")
    assert data.posterior["b"].dims == ("chain", "draw", "b_axis_0")


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"posterior": lambda p, x: p(x)}, TypeError, r"needs what a fit_\* gave, .*; got Predictive"),
        ({"y": torch.zeros(39, 2)}, ValueError, "targets must have one row per input"),
        ({"sites": "0.weight"}, ValueError, r'"none" or a list of names; got .0.weight.\. Write \[.0.weight.\]'),
        ({"sites": ["2.weight"]}, ValueError, r"must name sites of the posterior, 1\.weight, .*; got 2\.weight"),
        ({"thin": 0}, ValueError, "thin must be"),
        ({"num_prior": -1}, ValueError, "num_prior must be"),
        ({"diagnosis": {"pareto_k": 1.0}}, TypeError, r"diagnosis must be what bayesnn\.diagnose gave; got dict"),
        ({"coords": ["left", "right"]}, TypeError, "coords must be labels by axis; got list"),
        ({"seed": "a"}, TypeError, "seed must be a whole number"),
        (
            {"coords": {"featur": list("abc")}},
            ValueError,
            r"axes that there are, .*datum.*; got featur\. Write 'feature'",
        ),
        ({"coords": {"colour": ["red"]}}, ValueError, r"axes that there are, 1_in, .*; got colour\.$"),
        ({"coords": {"target": ["one"]}}, ValueError, "coords must label all of target, which is 2 long; got 1"),
    ],
    ids=[
        "predictive",
        "targets",
        "a name",
        "names",
        "thin",
        "prior",
        "diagnosis",
        "coords",
        "seed",
        "no axis",
        "nothing near",
        "labels",
    ],
)
def test_bad_input_gets_a_sentence(change, error, words):
    posterior, x, y = known()
    options = {"y": y, **change}
    made = options.pop("posterior", lambda p, x: p)(posterior, x)
    with pytest.raises(error, match=words):
        to_arviz(made, x, **options)


def test_a_wrapped_posterior_is_refused():
    posterior, x, y = known()
    with pytest.raises(TypeError, match="wrapped posterior pass the one that it was made of"):
        to_arviz(temperature_scaled(posterior, x[1:], y[1:]), x, y)


def line_data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator)
    return x, x @ torch.tensor([1.0, -0.5, 0.2]) + 0.5 * torch.randn(200, generator=generator)


NO_POSTERIOR = ("dropout", "concrete dropout", "ensemble", "ensemble in turn", "swag", "deep kernel")
NO_POSTERIOR += ("gp with inducing points",)
"""Methods whose draws leave open too little, or are too few, for leave-one-out weights, and a process whose shorter
length-scales let 1 % of the data pull more than that: ArviZ says so, rightly."""


BETTER = {
    "nuts": {"num_warmup": 200, "num_chains": 2},
    "sghmc": {"num_chains": 2},
}
"""Settings of those that tests elsewhere cut too short for a posterior."""


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in METHODS if not m.one_draw], ids=lambda method: method.name)
class TestWithArviZ:
    """What users then do, without a warning but those of ArviZ about its own dependencies."""

    pytestmark = ARVIZ_ITSELF

    def test_works(self, method):
        import arviz as az
        import matplotlib.pyplot as plt

        x, y = line_data()
        network = networks.mlp(3, 1, hidden=(2,), activation="tanh", dropout=0.05)
        own = {name: value for name, value in method.options.items() if name not in ("num_epochs", "num_samples")}
        own = BETTER.get(method.name, own)
        own |= (
            {"num_members": 30} if method.name.startswith("ensemble") and "member" not in own else {"num_samples": 600}
        )
        model = BayesianNeuralNetwork(network, priors.normal(1.0), likelihoods.gaussian.with_noise(0.5))
        posterior = method.fit(model, x, y, progress=False, **own)
        data, again = to_arviz(posterior, x, y), to_arviz(posterior, x, y, seed=1)
        names = list(data.posterior)[-1:]
        summary = az.summary(data, var_names=names, kind="stats")
        assert np.isfinite(summary["mean"]).all()
        with warnings.catch_warnings():
            # ArviZ says of draws that are alike that they are: of masks whose learnt rate is about 0, that is so.
            if method.name == "concrete dropout":
                warnings.filterwarnings("ignore", message="Your data appears to have a single value")
            if method.name in NO_POSTERIOR:
                warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto")
            assert np.isfinite(az.loo(data).elpd_loo)
            assert len(az.compare({"one": data, "two": again})) == 2
            az.plot_ppc(data, num_pp_samples=20)
            az.plot_loo_pit(data, y="y")
            az.plot_forest(data, var_names=names)
            az.plot_trace(data, var_names=names, compact=True)
            first = {axis: data.posterior[axis].values[:3] for axis in data.posterior[names[0]].dims[2:]}
            az.plot_posterior(data, var_names=names, coords=first)
            az.plot_dist_comparison(data, var_names=names, coords=first)
        plt.close("all")
