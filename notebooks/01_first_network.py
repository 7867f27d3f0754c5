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
# # Your first Bayesian network
#
# A delivery firm has measured how long a trip takes, by its distance. Trips of 400 to 700 km were never recorded, and the
# longer a trip, the more its time varies. We want a curve, how far single trips scatter about it, and how far the curve
# itself can be trusted: also where there are no data.

# %%
import os

import arviz as az
import matplotlib.pyplot as plt
import torch

from bayesnn import (
    BayesianNeuralNetwork,
    decompose,
    diagnose,
    fit_svi,
    likelihoods,
    networks,
    plots,
    prior_predictive,
    to_arviz,
)

# %config InlineBackend.figure_formats = ["png"]

SMOKE = "BAYESNN_SMOKE" in os.environ  # the tests run this with short loops
torch.manual_seed(0)
distance = torch.cat([400 * torch.rand(100, 1), 700 + 300 * torch.rand(100, 1)])  # km
hours = distance[:, 0] / 75 + 1.5 * torch.sin(distance[:, 0] / 90) + (0.2 + distance[:, 0] / 900) * torch.randn(200)
held_out = distance[::5], hours[::5]
kept = torch.arange(200) % 5 != 0
x, y = distance[kept], hours[kept]

# %% [markdown]
# ## The model
#
# A network with two outputs, one for the mean and one for the noise; a prior on every weight; a likelihood that says what
# the outputs mean. Raw units go in: kilometres and hours are scaled inside.

# %%
network = networks.mlp(1, 2, hidden=(50,), activation="tanh")
model = BayesianNeuralNetwork(network, likelihood=likelihoods.heteroscedastic_gaussian)
model

# %% [markdown]
# ## What does the prior say?
#
# Before any fit: functions drawn from the prior. They should be able to look like the data, and not much wilder.

# %%
grid = torch.linspace(-100, 1100, 200)[:, None]
prior = prior_predictive(model, x, y, num_samples=200)
ax = plots.prior_functions(grid, prior(grid), data=(x, y))
ax.set(xlabel="distance (km)", ylabel="time (h)")
ax
# %% [markdown]
# ## The fit
#
# `fit_svi` fits a posterior by variational inference. Interrupt it when you like: what it has reached is kept. For a curve of
# one input it is best started at the plain network's own fit, `start="map"`.

# %%
epochs = {"num_epochs": 20, "warmup": 0.0} if SMOKE else {"num_epochs": 5000}
posterior = fit_svi(model, x, y, start="map", num_samples=200, progress=False, **epochs)
print(posterior)
plots.elbo_curve(posterior.history)

# %% [markdown]
# ## What it knows, and what it does not
#
# A prediction is a distribution. `decompose` splits its variance into noise (*aleatoric*) and ignorance (*epistemic*); the
# picture shows both. In the gap the blue band widens: nobody has been there. On the right the yellow one does: trips differ.

# %%
predictive = posterior(grid)
ax = plots.regression_bands(grid, predictive, data=(x, y))
ax.set(xlabel="distance (km)", ylabel="time (h)")
ax

# %%
parts = decompose(posterior(torch.tensor([[200.0], [550.0], [950.0]])))
for km, noise, ignorance in zip((200, 550, 950), parts.aleatoric.sqrt(), parts.epistemic.sqrt(), strict=True):
    print(f"{km} km: noise {noise:.2f} h, ignorance {ignorance:.2f} h")

# %% [markdown]
# ## Did it work?
#
# `diagnose` asks the questions that tell, and warns where something should be mended first.

# %%
diagnose(posterior, x, y, held_out=held_out, progress=False)

# %% [markdown]
# ## A first look with ArviZ
#
# `to_arviz` exports all of it: posterior, prior, predictive, log-likelihood. Then ArviZ's own functions work.

# %%
data = to_arviz(posterior, x, y)
_ = az.plot_ppc(data, num_pp_samples=50, figsize=(6, 3))
plt.gca().set_xlabel("time (h)")
az.summary(data, var_names=["2.bias"], kind="stats")

# %% [markdown]
# ## What we learnt
#
# A posterior is a function from inputs to a distribution; its variance has two parts that mean different things; a fit can be
# asked whether it worked. Next: classes, and inputs the network has never seen.
