"""Gaussian processes against scikit-learn's, closed forms and each other."""

import math
from functools import partial

import gpytorch
import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import halfnorm, lognorm, multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel
from torch import nn

from bayesnn import BayesianNeuralNetwork, decompose, evaluate, fit_gp, likelihoods, networks
from bayesnn.methods.gp_inputs import kernel_words

SIGMAS = 5  # a normal variate lies further out with a chance of 6e-7


def data(num=40, targets=1):
    generator = torch.Generator().manual_seed(0)
    x = 10 + 4 * torch.randn(num, 2, generator=generator, dtype=torch.float64)
    y = 300 * torch.stack([x[:, 0].sin(), (x[:, 1] / 3).cos()], 1)[:, :targets]
    y = 1000 + y + 30 * torch.randn(num, targets, generator=generator, dtype=torch.float64)
    return x, y[:, 0] if targets == 1 else y


def by_sklearn(x, y, kernel, lengthscales, outputscale, noise):
    """scikit-learn's process of the same standardised data at given hyper-parameters."""
    z, t = (x - x.mean(0)) / x.std(0, correction=0), (y - y.mean()) / y.std(correction=0)
    kinds = {
        "matern": [partial(Matern, nu=2.5)],
        "rbf": [RBF],
        "two_scales": [partial(Matern, nu=1.5), partial(Matern, nu=2.5)],
        "rough": [partial(Matern, nu=0.5), partial(Matern, nu=2.5)],
    }
    parts = [
        ConstantKernel(s) * kind(scale) for kind, s, scale in zip(kinds[kernel], outputscale, lengthscales, strict=True)
    ]
    oracle = GaussianProcessRegressor(sum(parts[1:], parts[0]) + WhiteKernel(noise**2), optimizer=None)
    return oracle.fit(z.numpy(), t.numpy())


def outputscales(kernel):
    return [float(part.outputscale) for part in getattr(kernel, "kernels", [kernel])]


@pytest.mark.parametrize("learnt_from", [40, 25], ids=["all", "some"])
@pytest.mark.parametrize("kernel", ["matern", "rbf", "two_scales", "rough"])
def test_mean_variance_and_marginal_likelihood_are_scikit_learns(kernel, learnt_from):
    x, y = data()
    posterior = fit_gp(likelihoods.gaussian, x, y, kernel=kernel, num_kernel_data=learnt_from, progress=False)
    fitted = posterior.kernels[0]
    noise = float(posterior.latents["noise_scale"] / y.std(correction=0))
    scales = [lengthscales.numpy() for lengthscales in posterior.lengthscales]
    oracle = by_sklearn(x, y, kernel, scales, outputscales(fitted), noise)
    per_datum = oracle.log_marginal_likelihood_value_ / len(x)
    assert posterior.summary["log_marginal_likelihood_per_datum"] == pytest.approx(per_datum, abs=1e-6)
    new = data(20)[0] + 1
    z = ((new - x.mean(0)) / x.std(0, correction=0)).numpy()
    mean, sd = oracle.predict(z, return_std=True)  # of targets, noise and all
    predictive = posterior(new)
    scale = float(y.std(correction=0))
    np.testing.assert_allclose(predictive.mean, float(y.mean()) + scale * mean, rtol=1e-4)
    np.testing.assert_allclose(predictive.stddev, scale * sd, rtol=1e-4)
    parts = decompose(predictive)
    np.testing.assert_allclose(parts.aleatoric, np.full(20, (scale * noise) ** 2), rtol=1e-6)
    np.testing.assert_allclose(parts.epistemic, (scale * sd) ** 2 - (scale * noise) ** 2, rtol=1e-4)


@pytest.mark.slow
def test_the_maximum_is_no_lower_than_scikit_learns():
    x, y = data()
    ours = fit_gp(likelihoods.gaussian, x, y, kernel="rbf", progress=False)
    z, t = (x - x.mean(0)) / x.std(0, correction=0), (y - y.mean()) / y.std(correction=0)
    kernel = ConstantKernel(1.0) * RBF([1.0, 1.0], (1e-3, 1e3)) + WhiteKernel(0.1)
    theirs = GaussianProcessRegressor(kernel, n_restarts_optimizer=5, random_state=0).fit(z.numpy(), t.numpy())
    assert ours.summary["log_marginal_likelihood_per_datum"] >= theirs.log_marginal_likelihood_value_ / len(x) - 1e-4


def test_density_and_interval_are_exact():
    x, y = data()
    predictive = fit_gp(likelihoods.gaussian, x, y, num_samples=5, progress=False)(x)
    normal = torch.distributions.Normal(predictive.mean, predictive.stddev)
    torch.testing.assert_close(predictive.log_prob(y), normal.log_prob(y))
    torch.testing.assert_close(predictive.interval(0.9)[1], normal.icdf(torch.tensor(0.95, dtype=torch.float64)))


def test_known_noise_stays():
    x, y = data()
    posterior = fit_gp(likelihoods.gaussian.with_noise(55.0), x, y, progress=False)
    assert posterior.latents == {}
    torch.testing.assert_close(decompose(posterior(x)).aleatoric, torch.full_like(y, 55.0**2))
    noise = 55.0 / float(y.std(correction=0))
    kernel = posterior.kernels[0]
    oracle = by_sklearn(x, y, "matern", [posterior.lengthscales[0].numpy()], outputscales(kernel), noise)
    np.testing.assert_allclose(
        posterior.summary["log_marginal_likelihood_per_datum"],
        oracle.log_marginal_likelihood_value_ / len(x),
        rtol=1e-6,
    )


def test_a_prior_on_the_noise_is_heeded():
    x, y = data()
    free = fit_gp(likelihoods.gaussian, x, y, progress=False).latents["noise_scale"]
    tight = likelihoods.gaussian.with_noise(dist.LogNormal(math.log(200.0), 0.01))
    assert float(free) < 100 < float(fit_gp(tight, x, y, progress=False).latents["noise_scale"])


@pytest.mark.parametrize("noise", [None, dist.HalfNormal(20.0)], ids=["default prior", "a prior given"])
def test_the_noise_maximises_marginal_likelihood_times_its_prior(noise):
    """The slope of both along the noise alone, by scikit-learn and scipy, is 0 there; without the prior it is not."""
    x, _ = data()
    y = 1000 + 300 * (x[:, 0] / 3).sin() + 8 * torch.randn(40, dtype=torch.float64)
    likelihood = likelihoods.gaussian if noise is None else likelihoods.gaussian.with_noise(noise)
    posterior = fit_gp(likelihood, x, y, progress=False)
    scale, best = float(y.std(correction=0)), float(posterior.latents["noise_scale"])
    prior = halfnorm(scale=20.0) if noise is not None else lognorm(1.0, scale=0.3 * scale)
    kernel = posterior.kernels[0]
    lengthscales = posterior.lengthscales[0].numpy()

    def slope(log_density):
        step = 1e-4 * best
        return (log_density(best + step) - log_density(best - step)) / (2 * step) * best

    def marginal(sigma):
        oracle = by_sklearn(x, y, "matern", [lengthscales], outputscales(kernel), sigma / scale)
        return oracle.log_marginal_likelihood_value_

    assert slope(marginal) + slope(prior.logpdf) == pytest.approx(0, abs=2e-3)
    assert abs(slope(prior.logpdf)) > 0.1
    assert posterior.summary["log_marginal_likelihood_per_datum"] == pytest.approx(marginal(best) / len(x), abs=1e-6)


def test_several_targets_are_independent_processes():
    x, y = data(targets=2)
    both = fit_gp(likelihoods.gaussian, x, y, progress=False)(x)
    for d in range(2):
        alone = fit_gp(likelihoods.gaussian, x, y[:, d], progress=False)(x)
        torch.testing.assert_close(both.mean[:, d], alone.mean, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(both.stddev[:, d], alone.stddev, rtol=1e-3, atol=1e-2)


@pytest.mark.slow
def test_with_all_inputs_as_inducing_points_the_bound_is_nearly_the_marginal_likelihood():
    x, y = data()
    exact = fit_gp(likelihoods.gaussian, x, y, progress=False)
    options = {"num_inducing": len(x), "num_epochs": 1500, "learning_rate": 0.03, "progress": False}
    bound = fit_gp(likelihoods.gaussian, x, y, **options)
    scale = math.log(float(y.std(correction=0)))  # the bound is in raw units
    best = exact.summary["log_marginal_likelihood_per_datum"] - scale
    assert best - 0.1 < bound.summary["elbo_per_datum"] < best + 0.01
    assert (bound(x).mean - exact(x).mean).abs().max() < 0.1 * y.std()


def test_classes_are_learnt():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(150, 2, generator=generator)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    posterior = fit_gp(likelihoods.categorical, x, y, num_epochs=150, progress=False)
    scores = evaluate(posterior(x), y)
    assert scores["accuracy"] > 0.95
    far = torch.tensor([[0.0, 100.0]])  # no data for miles: the classes' own frequencies, and all of it epistemic
    assert decompose(posterior(far)).epistemic > 5 * decompose(posterior(x)).epistemic.mean()


@pytest.mark.slow
def test_noise_that_changes_is_found():
    generator = torch.Generator().manual_seed(0)
    x = 6 * torch.rand(300, 1, generator=generator, dtype=torch.float64)
    y = x[:, 0].sin() + torch.where(x[:, 0] > 3, 0.5, 0.05) * torch.randn(300, generator=generator, dtype=torch.float64)
    posterior = fit_gp(likelihoods.heteroscedastic_gaussian, x, y, num_epochs=400, progress=False)
    noise = decompose(posterior(torch.tensor([[1.5], [4.5]]).double())).aleatoric.sqrt()
    assert noise[0] < 0.12
    assert 0.35 < noise[1] < 0.7


def test_joint_draws_have_the_marginals_and_the_smoothness_of_the_function():
    x, y = data()
    posterior = fit_gp(likelihoods.gaussian, x, y, progress=False)
    near = x[:1] + torch.tensor([[0.0, 0.0], [1e-4, 0.0], [30.0, 0.0]]).double()
    drawn = posterior.functions(near, 4000, seed=1)
    predictive = posterior(near)
    sd = decompose(predictive).epistemic.sqrt()
    assert ((drawn.mean(0) - predictive.mean).abs() < SIGMAS * sd / 4000**0.5).all()
    assert ((drawn.std(0) - sd).abs() < SIGMAS * sd / (2 * 4000) ** 0.5).all()
    correlation = torch.corrcoef(drawn.T)
    assert correlation[0, 1] > 0.99
    assert torch.equal(posterior.functions(near, 7, seed=2), posterior.functions(near, 7, seed=2))


@pytest.mark.parametrize("num_inducing", [None, 20], ids=["exact", "variational"])
def test_deep_kernels_compare_features(num_inducing):
    x, y = data(targets=2)
    y = y[:, 1]
    torch.manual_seed(0)
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(20,), activation="tanh"), likelihood=likelihoods.gaussian)
    before = model.network[0].weight.clone()
    options = {
        "num_epochs": 500,
        "learning_rate": 0.02,
        "deep_kernel": True,
        "num_inducing": num_inducing,
        "progress": False,
    }
    posterior = fit_gp(model, x, y, **options)
    moved = posterior.process.inputs.network[0].weight
    assert not torch.allclose(moved.float(), before, atol=1e-3)
    assert torch.equal(model.network[0].weight, before)
    assert evaluate(posterior(x), y)["rmse"] < 0.8 * float(y.std())


@pytest.mark.parametrize("num_inducing", [None, 20], ids=["exact", "variational"])
def test_deep_kernels_of_embeddings_read_indices(num_inducing):
    """Words of two kinds: the kernel compares what the network makes of them, not their numbers."""
    torch.manual_seed(0)
    words = torch.randint(0, 10, (60, 3))
    y = (words % 2).sum(1) + 0.1 * torch.randn(60)
    network = nn.Sequential(nn.Embedding(10, 2), nn.Flatten(), nn.Linear(6, 1))
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)
    options = {"num_inducing": num_inducing, "num_epochs": 60, "learning_rate": 0.05, "progress": False}
    posterior = fit_gp(model, words, y, deep_kernel=True, **options)
    inner = posterior.process.inputs.network
    torch.testing.assert_close(posterior.process.inputs(words), inner[0](words).flatten(1))
    assert evaluate(posterior(words), y)["rmse"] < 0.5 * float(y.std())
    with pytest.raises(ValueError, match="x must look like the training inputs"):
        posterior(words.float())


def test_grades_are_learnt():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 1, generator=generator)
    y = (x[:, 0] > -0.5).long() + (x[:, 0] > 0.5).long()
    posterior = fit_gp(likelihoods.ordinal, x, y, num_epochs=100, progress=False)
    assert evaluate(posterior(x), y)["accuracy"] > 0.9


def test_which_process_was_fitted_is_told():
    x, y = data()
    quick = {"num_epochs": 2, "progress": False}
    exact = fit_gp(likelihoods.gaussian, x, y, max_exact=40, **quick)
    assert repr(exact).startswith("GaussianProcess(exact, ")
    assert "log_marginal_likelihood_per_datum" in exact.summary
    assert "num_inducing" not in exact.summary
    for options, number in (({"max_exact": 39}, 40), ({"num_inducing": 7}, 7)):
        variational = fit_gp(likelihoods.gaussian, x, y, **options, **quick)
        assert repr(variational).startswith(f"GaussianProcess(variational, {number} inducing points, ")
        assert variational.summary["num_inducing"] == number
        assert "elbo_per_datum" in variational.summary


def test_kernel_and_noise_are_learnt_from_some_where_there_are_many():
    x, y = data()
    learnt = fit_gp(likelihoods.gaussian, x, y, num_kernel_data=25, progress=False)
    rows = learnt.process.learn_from
    assert len(rows) == 25
    assert len(rows.unique()) == 25
    process, features = learnt.process, learnt.process.learnt_features()
    before = process.log_marginal(0, features)
    # At the maximum, the marginal likelihood of those rows falls in every direction.
    kernel = process.kernels[0]
    kept = kernel.outputscale.detach().clone()
    for factor in (0.9, 1.1):
        kernel.outputscale = kept * factor
        assert float(process.log_marginal(0, features)) < float(before)
    deep = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=4), likelihood=likelihoods.gaussian)
    assert "variational" in repr(fit_gp(deep, x, y, deep_kernel=True, num_kernel_data=25, num_epochs=1, progress=False))


def test_the_marginal_likelihood_of_a_deep_kernel_is_that_of_its_features():
    """Under a narrow prior on the noise, whose density is no part of it."""
    x, y = data()
    tight = likelihoods.gaussian.with_noise(dist.LogNormal(math.log(50.0), 0.01))
    model = BayesianNeuralNetwork(networks.mlp(2, 1, hidden=(4,)), likelihood=tight)
    posterior = fit_gp(model, x, y, deep_kernel=True, num_epochs=3, progress=False)
    kernel, scale = posterior.kernels[0], float(y.std(correction=0))
    with torch.no_grad():
        features = posterior.process.inputs(x)
        covariance = kernel(features).to_dense()
    noise = float(posterior.latents["noise_scale"]) / scale
    total = multivariate_normal(cov=covariance + noise**2 * torch.eye(len(x))).logpdf((y - y.mean()) / scale)
    assert posterior.summary["log_marginal_likelihood_per_datum"] == pytest.approx(total / len(x), rel=1e-6)


def test_a_kernel_may_have_a_batch_of_the_functions():
    x, y = data()
    classes = (y > y.median()).long() + (y > y.mean() + 200)
    kernel = gpytorch.kernels.RBFKernel(batch_shape=torch.Size([3]))
    posterior = fit_gp(likelihoods.categorical, x, classes, kernel=kernel, num_epochs=2, progress=False)
    assert posterior(x).probs.shape == (40, 3)


def test_a_kernel_of_your_own_and_pictures():
    x, y = data()
    linear = gpytorch.kernels.ScaleKernel(gpytorch.kernels.LinearKernel())
    fitted = fit_gp(likelihoods.gaussian, x, y, kernel=linear, progress=False)
    line = torch.tensor([[10.0, 0.0], [10.0, 1.0], [10.0, 2.0]]).double()
    mean = fitted(line).mean
    assert abs(float(mean[0] - 2 * mean[1] + mean[2])) < 1e-6 * float(y.std())
    pictures = torch.randn(30, 4, 4)
    posterior = fit_gp(likelihoods.gaussian, pictures, pictures.mean((1, 2)), progress=False)
    assert len(posterior.lengthscales[0]) == 1
    assert posterior(pictures).mean.dtype == torch.float32


def test_the_best_kernel_is_the_one_of_the_highest_marginal_likelihood():
    """Target by target: one is smooth, the other steps from row to row."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(60, 1, generator=generator, dtype=torch.float64)
    walk = torch.randn(60, generator=generator, dtype=torch.float64).cumsum(0)[x[:, 0].argsort().argsort()]
    y = torch.stack([(6 * x[:, 0]).sin(), walk], 1)
    names = ["matern", "rbf", "two_scales", "rough"]
    together = fit_gp(likelihoods.gaussian, x, y, kernel="best", progress=False)
    summed = 0.0
    for d in range(2):
        alone = {n: fit_gp(likelihoods.gaussian, x, y[:, d], kernel=n, progress=False) for n in names}
        figures = {n: fitted.summary["log_marginal_likelihood_per_datum"] for n, fitted in alone.items()}
        best = alone[max(figures, key=figures.get)]
        one = fit_gp(likelihoods.gaussian, x, y[:, d], kernel=names[::-1], progress=False)
        for ours, theirs in ((one.kernels[0], best.kernels[0]), (together.kernels[d], best.kernels[0])):
            assert kernel_words(ours) == kernel_words(theirs)
        torch.testing.assert_close(one(x).mean, best(x).mean, rtol=1e-4, atol=1e-4)
        summed += max(figures.values())
    assert together.summary["log_marginal_likelihood_per_datum"] == pytest.approx(summed, abs=1e-5)
    assert kernel_words(together.kernels[0]) != kernel_words(together.kernels[1])


def test_the_best_kernel_of_a_variational_process_is_the_one_of_the_highest_elbo():
    x, y = data()
    labels, names = (y > y.mean()).long(), ["rbf", "matern", "rough"]
    options = {"num_epochs": 30, "batch_size": 40, "num_inducing": 20, "progress": False}
    best = fit_gp(likelihoods.categorical, x, labels, kernel=names, **options)
    alone = [fit_gp(likelihoods.categorical, x, labels, kernel=name, **options) for name in names]
    highest = max(alone, key=lambda fitted: fitted.summary["elbo_per_datum"])
    assert kernel_words(best.kernels[0]) == kernel_words(highest.kernels[0])
    assert best.summary == highest.summary
    model = BayesianNeuralNetwork(networks.mlp(2, 2), likelihood=likelihoods.categorical)
    with pytest.raises(ValueError, match="a deep kernel is trained with one kernel; got several"):
        fit_gp(model, x, labels, kernel="best", deep_kernel=True, progress=False)


def test_several_variational_kernels_are_one_fit():
    """The first again is no better; epochs are counted on; what fails is passed over; Ctrl-C ends it all."""
    x, y = data()
    options = {"num_epochs": 10, "batch_size": 40, "num_inducing": 20, "progress": False}
    seen = []
    twice = fit_gp(
        likelihoods.gaussian, x, y, kernel=["matern", "rbf", "matern"], callback=lambda e, m: seen.append(e), **options
    )
    alone = [fit_gp(likelihoods.gaussian, x, y, kernel=name, **options) for name in ("matern", "rbf")]
    elbos = [fitted.summary["elbo_per_datum"] for fitted in alone]
    assert twice.summary["elbo_per_datum"] == max(elbos)
    assert seen == list(range(30))
    assert twice.history.seconds > 2 * min(fitted.history.seconds for fitted in alone)

    class Bad(gpytorch.kernels.RBFKernel):
        def forward(self, *given, **options):
            return super().forward(*given, **options) * torch.nan

    with pytest.warns(UserWarning, match="the kernel Bad is passed over: the loss must be finite"):
        fitted = fit_gp(likelihoods.gaussian, x, y, kernel=["matern", Bad()], **options)
    assert fitted.summary["elbo_per_datum"] == elbos[0]

    def stop(epoch, means):
        if epoch == 14:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="stopped by hand"):
        fitted = fit_gp(likelihoods.gaussian, x, y, kernel=["matern", "rbf"], callback=stop, **options)
    assert fitted.history.interrupted


def test_kernels_in_words():
    kernels = gpytorch.kernels
    rbf, matern = kernels.RBFKernel(), kernels.MaternKernel(nu=0.5)
    assert kernel_words(kernels.ScaleKernel(rbf) * matern) == "RBFKernel * Matern-1/2"
    assert kernel_words(kernels.ScaleKernel(rbf + matern)) == "RBFKernel + Matern-1/2"
    assert kernel_words((rbf + matern) * kernels.PeriodicKernel()) == "(RBFKernel + Matern-1/2) * PeriodicKernel"


def test_kernels_without_parameters_and_lists_of_lists():
    x, y = data()
    still = [gpytorch.kernels.RBFKernel().requires_grad_(False) for _ in range(2)]
    still[1].lengthscale = 0.1
    known = likelihoods.gaussian.with_noise(30.0)
    options = {"progress": False}
    alone = [fit_gp(known, x, y, kernel=kernel, **options).summary for kernel in still]
    assert fit_gp(known, x, y, kernel=still, **options).summary == max(alone, key=lambda found: [*found.values()])
    nested = fit_gp(likelihoods.gaussian, x, y, kernel=["matern", ["best"]], num_epochs=3, **options)
    assert nested.summary == fit_gp(likelihoods.gaussian, x, y, kernel="best", num_epochs=3, **options).summary


def test_it_moves_and_tells_what_it_is():
    x, y = data()
    posterior = fit_gp(likelihoods.gaussian, x, y, num_epochs=5, progress=False)
    torch.testing.assert_close(posterior.to("cpu")(x).mean, posterior(x).mean)
    assert repr(posterior).startswith("GaussianProcess(exact, Matern-5/2, Gaussian, S=100")
    assert posterior.resample(7)(x).num_samples == 7
    assert float(decompose(posterior.resample(1)(x)).epistemic.max()) == 0


BAD = {
    "inducing": ({"num_inducing": 50}, "inducing points must be 40 or fewer"),
    "none": ({"num_inducing": 0}, "num_inducing must be a whole number"),
    "kernel": (
        {"kernel": "cubic"},
        'kernel must be "matern", "rbf", "two_scales", "rough", "best", a gpytorch kernel or a list of such; got',
    ),
    "no kernel": ({"kernel": []}, "a list of kernels must hold one at least; got an empty one"),
    "deep": ({"deep_kernel": True}, "a deep kernel needs a network"),
    "rate": ({"learning_rate": 0.0}, "learning_rate must be positive"),
    "epochs": ({"num_epochs": 0}, "num_epochs must be 1 or more; got 0"),
    "a word for a rate": ({"learning_rate": "fast"}, "learning_rate must be positive, one finite number; got 'fast'"),
    "largest": ({"max_exact": 0}, "max_exact must be a whole number, 1 or more; got 0"),
    "columns": (
        {"kernel": gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel(ard_num_dims=5))},
        "columns as there are, 2; it said.* Write ard_num_dims=2 or leave it out, and active_dims from 0 to 1",
    ),
    "columns, inducing": (
        {"kernel": gpytorch.kernels.RBFKernel(ard_num_dims=5), "num_inducing": 10},
        "columns as there are, 2; it said.* Write ard_num_dims=2",
    ),
    "active columns": (
        {"kernel": gpytorch.kernels.RBFKernel(active_dims=[0, 7])},
        "columns as there are, 2; it said.*active_dims from 0 to 1",
    ),
    "batch": (
        {"kernel": gpytorch.kernels.RBFKernel(batch_shape=torch.Size([3]))},
        r"one covariance \(N, N\) of N inputs; it gave \(3, 2, 2\) for N = 2. Leave batch_shape out",
    ),
}


@pytest.mark.parametrize(("options", "words"), BAD.values(), ids=BAD)
def test_settings_out_of_range(options, words):
    x, y = data()
    with pytest.raises(ValueError, match=words):
        fit_gp(likelihoods.gaussian, x, y, progress=False, **options)


@pytest.mark.parametrize("number", [2.5, "many"])
def test_epochs_are_whole(number):
    with pytest.raises(TypeError, match=f"num_epochs must be a whole number; got {number!r}"):
        fit_gp(likelihoods.gaussian, *data(), num_epochs=number, progress=False)


def test_data_that_do_not_suit():
    x, y = data()
    for classes in (likelihoods.categorical, likelihoods.ordinal):
        with pytest.raises(ValueError, match="targets must be of two classes at least; got class 0 alone"):
            fit_gp(classes, x, torch.zeros(40), progress=False)
        with pytest.raises(ValueError, match=r"labels must lie in \[0, 1\].*got values from -1 to -1"):
            fit_gp(classes, x, -torch.ones(40), progress=False)
        with pytest.raises(ValueError, match="labels must be integers"):
            fit_gp(classes, x, torch.full((40,), 0.5), progress=False)
    with pytest.raises(ValueError, match="needs 1 network output"):
        fit_gp(BayesianNeuralNetwork(networks.mlp(2, 2), likelihood=likelihoods.gaussian), x, y, progress=False)
    posterior = fit_gp(likelihoods.gaussian, x, y, num_epochs=2, progress=False)
    with pytest.raises(ValueError, match="x must look like the training inputs"):
        posterior(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="joint draws need a covariance of all inputs"):
        posterior.functions(torch.zeros(6000, 2))
    with pytest.raises(ValueError, match="one row at least"):
        posterior(torch.zeros(0, 2))


def test_a_kernel_that_is_none_gets_a_sentence():
    x, y = data()
    broken = gpytorch.kernels.ScaleKernel(gpytorch.kernels.RBFKernel())
    broken.forward = lambda a, b, diag=False, **_: (
        -torch.ones(len(a), len(b)).double() if not diag else -torch.ones(len(a))
    )
    with pytest.raises(ValueError, match="must be positive definite"):
        fit_gp(likelihoods.gaussian.with_noise(1.0), x, y, kernel=broken, progress=False)
