# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Declaring models
#
# A model is three things: a network, a prior, a likelihood. Together they are a Pyro model, and everything Pyro has works on
# it. This notebook shows what each can be, and how far you can go on your own.

# %%
import os
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoLowRankMultivariateNormal
from pyro.optim import ClippedAdam
from torch import nn

from bayesnn import BayesianNeuralNetwork, Predictive, compare, fit_svi, likelihoods, networks, priors
from bayesnn.elbo import MeanFieldELBO
from bayesnn.guides import AutoNormal

SMOKE = "BAYESNN_SMOKE" in os.environ
quick = {"num_epochs": 20, "warmup": 0.0, "progress": False} if SMOKE else {"num_epochs": 600, "progress": False}
torch.manual_seed(0)
x = torch.randn(300, 3)
y = 10 + 2 * x[:, 0] * x[:, 1] + x[:, 2] + 0.5 * torch.randn(300)
test_x = torch.randn(300, 3)
test_y = 10 + 2 * test_x[:, 0] * test_x[:, 1] + test_x[:, 2] + 0.5 * torch.randn(300)

# %% [markdown]
# ## Priors
#
# A prior is a function of a parameter's name and value that gives a distribution. The default, `fan_in_normal`, has variances
# that fall with a unit's number of inputs, and scales that `fit_svi` fits as part of the ELBO. The others are fixed.

# %%
torch.manual_seed(0)
network = networks.mlp(3, 1, hidden=(50,), activation="tanh")
choices = {
    "fan-in, fitted": priors.fan_in_normal(),
    "fan-in, fixed": priors.fan_in_normal(1.0, fit=None),
    "heavy tails": priors.student_t(),
    "by hand": lambda name, value: dist.Normal(torch.zeros_like(value), 3.0 if name.endswith("bias") else 1.0),
    "own for the last layer": priors.only("2.*", priors.normal(1.0), otherwise=priors.fan_in_normal()),
}
fits = {}
for name, prior in choices.items():
    model = BayesianNeuralNetwork(network, prior, likelihoods.gaussian)
    fits[name] = fit_svi(model, x, y, **quick)
    print(f"{name:>16}: ELBO {fits[name].summary['elbo_per_datum']:.2f} nats per datum")
compare(fits, test_x, test_y)

# %% [markdown]
# ## Likelihoods
#
# What the outputs mean: noise of one scale, which is itself unknown; noise that the network predicts; heavy tails; counts;
# ordered grades. They differ in how many outputs a target takes, and in nothing else.

# %%
outliers = y + 10 * (torch.rand(300) < 0.05) * torch.randn(300)
for likelihood in (likelihoods.gaussian, likelihoods.student_t, likelihoods.heteroscedastic_gaussian):
    torch.manual_seed(0)
    outputs = likelihood.outputs_per_target()
    model = BayesianNeuralNetwork(networks.mlp(3, outputs, hidden=(50,), activation="tanh"), likelihood=likelihood)
    fitted = fit_svi(model, x, outliers, **quick)
    error = (fitted(test_x).mean - test_y).square().mean().sqrt()
    print(f"{likelihood.name:>25}: RMSE {error:.2f} on clean targets, after outliers")

# %% [markdown]
# ## It is a Pyro model
#
# Every parameter is a sample site of that name, the data are a plate, the targets one observed site.

# %%
model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=(4,)), likelihood=likelihoods.gaussian).for_data(x, y)
trace = pyro.poutine.trace(model).get_trace(x, y)
for name, site in trace.nodes.items():
    if site["type"] == "sample" and name != "data":  # the plate
        print(f"{name:>12} {tuple(site['value'].shape)!s:>10}  {'observed' if site['is_observed'] else 'latent'}")

# %% [markdown]
# ## Another guide
#
# Any Pyro guide: here one of low rank, which knows that weights depend on each other.

# %%
torch.manual_seed(0)
model = BayesianNeuralNetwork(
    networks.mlp(3, 1, hidden=(10,), activation="tanh"), priors.normal(1.0), likelihoods.gaussian
)
for name, guide in {"mean field": AutoNormal, "low rank": partial(AutoLowRankMultivariateNormal, rank=5)}.items():
    print(name, fit_svi(model, x, y, guide=guide, **quick))

# %% [markdown]
# ## A loop of your own
#
# `pyro.infer.SVI` over our model. Nothing of ours is needed but the model; our ELBO, with its closed-form divergence, fits in
# where Pyro's does. `for_data` gives the model its size and units.

# %%
known = model.for_data(x, y)
for elbo in (Trace_ELBO(), MeanFieldELBO()):
    with pyro.settings.context(module_local_params=True):  # or two models would share one global store
        torch.manual_seed(0)
        guide = AutoNormal(known, x, y, init_scale=0.05)
        svi = SVI(known, guide, ClippedAdam({"lr": 0.02}), loss=elbo)
        losses = [svi.step(x, y) / len(x) for _ in range(20 if SMOKE else 2000)]
    predictive = Predictive(known.predict(guide.draws(100, seed=0), test_x))
    print(
        f"{type(elbo).__name__:>14}: loss {losses[-1]:.2f}, RMSE {(predictive.mean - test_y).square().mean().sqrt():.2f}"
    )

# %% [markdown]
# ## A model all your own
#
# `fit_svi` and `fit_nuts` take any Pyro model `model(x, y=None)` with one observed site. Here a hierarchical one, in which a
# network corrects a straight line.


# %%
class Corrected(nn.Module):
    """A line with a hierarchical prior, and a small network on top whose size is unknown."""

    def forward(self, x, y=None):
        spread = pyro.sample("spread", dist.HalfNormal(2.0))
        slope = pyro.sample("slope", dist.Normal(torch.zeros(3), spread).to_event(1))
        offset = pyro.sample("offset", dist.Normal(10.0, 3.0))
        first = pyro.sample("first", dist.Normal(torch.zeros(20, 3), 1.0).to_event(2))
        shift = pyro.sample("shift", dist.Normal(torch.zeros(20), 1.0).to_event(1))
        second = pyro.sample("second", dist.Normal(torch.zeros(20), 1.0).to_event(1))
        noise = pyro.sample("noise", dist.LogNormal(-1.0, 1.0))
        mean = offset + x @ slope + torch.tanh(x @ first.mT + shift) @ second
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(mean, noise), obs=y)


own = fit_svi(Corrected(), x, y, progress=False, num_epochs=50 if SMOKE else 3000)
print(own)
print("slopes", own.weights["slope"].mean(0), "noise", float(own.weights["noise"].mean()))
print("RMSE", float((own(test_x).mean - test_y).square().mean().sqrt()))

# %% [markdown]
# ## What we learnt
#
# Priors and likelihoods are functions; a model is a Pyro model; and where ours ends, yours goes on.
