"""A Gaussian process against gpytorch as its tutorial writes it: seconds, and how well the same data are explained."""

import math
import time
import warnings
from functools import partial

import gpytorch
import torch

from bayesnn import evaluate, fit_gp, likelihoods


class Tutorial(gpytorch.models.ExactGP):
    """The model of gpytorch's "Simple GP regression", with the kernel that is ours."""

    def __init__(self, x, y, likelihood):
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(2.5, ard_num_dims=x.shape[1]))

    def forward(self, x):
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def rows(number, seed=0):
    """Eight columns of which two matter, and the targets' noise of 0.1."""
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(number, 8, generator=draws)
    y = (2 * x[:, 0]).sin() + x[:, 1] ** 2 / 2 + 0.1 * torch.randn(number, generator=draws)
    return x, y


def tutorial(x, y, new_x, new_y, dtype, steps=50):
    """Adam at 0.1 for 50 steps, as there; NLL of new data."""
    x, y, new_x, new_y = (each.to(dtype) for each in (x, y, new_x, new_y))
    loc, scale = y.mean(), y.std()
    likelihood = gpytorch.likelihoods.GaussianLikelihood().to(dtype)
    model = Tutorial(x, (y - loc) / scale, likelihood).to(dtype)
    marginal = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    model.train()
    for _ in range(steps):
        optimiser.zero_grad()
        loss = -marginal(model(x), model.train_targets)
        loss.backward()
        optimiser.step()
    model.eval()
    with torch.no_grad():
        found = likelihood(model(new_x))
        normal = torch.distributions.Normal(loc + scale * found.mean, scale * found.variance.sqrt())
        return -float(normal.log_prob(new_y).mean())


def ours(x, y, new_x, new_y):
    """NLL of new data."""
    return evaluate(fit_gp(likelihoods.gaussian, x, y, progress=False)(new_x), new_y)["nll"]


def process(rounds):
    """Print seconds and scores of exact processes, then an epoch of a variational one."""
    warnings.simplefilter("ignore")
    new = rows(2000, seed=1)
    print(f"NLL of the noise itself: {0.5 * math.log(2 * math.pi * math.e * 0.01):.3f}\n")
    print("| exact process, 8 columns | rows | seconds | NLL of new data |\n|---|---|---|---|")
    contenders = {
        "fit_gp": ours,
        "gpytorch's tutorial, float32": partial(tutorial, dtype=torch.float32),
        "gpytorch's tutorial, float64": partial(tutorial, dtype=torch.float64),
    }
    for number in (500, 2000):
        data = rows(number)
        for name, run in contenders.items():
            begun = time.perf_counter()
            nll = run(*data, *new)
            print(f"| {name} | {number} | {time.perf_counter() - begun:.1f} | {nll:.3f} |", flush=True)
    x, y = rows(50_000)
    begun = time.perf_counter()
    posterior = fit_gp(likelihoods.gaussian, x, y, num_inducing=100, num_epochs=1, batch_size=500, progress=False)
    took, nll = time.perf_counter() - begun, evaluate(posterior(new[0]), new[1])["nll"]
    print(
        f"\nvariational, 100 inducing points, one epoch of 50 000 rows in batches of 500: {took:.1f} s, NLL {nll:.3f}"
    )
