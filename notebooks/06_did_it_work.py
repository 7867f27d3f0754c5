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
# # Did it work?
#
# A mean-field posterior fitted the textbook way is often worse than a plain network: underfit, or collapsed to its prior. It
# looks like any other fit. Here we break one on purpose, see how that shows, and look at the tools that tell.

# %%
import os
import warnings

import arviz as az
import matplotlib.pyplot as plt
import torch
from torch import nn

from bayesnn import (
    BayesianNeuralNetwork,
    datasets,
    diagnose,
    evaluate,
    fit_map,
    fit_nuts,
    fit_svi,
    likelihoods,
    networks,
    plots,
    predictive_distance,
    priors,
    pruned,
    to_arviz,
)

# %config InlineBackend.figure_formats = ["png"]

SMOKE = "BAYESNN_SMOKE" in os.environ
if SMOKE:
    warnings.simplefilter("ignore")  # short fits say that they are
short = {"progress": False, **({"num_epochs": 20} if SMOKE else {})}
split = datasets.digits(hold_out=9)
x, y, held_out = split.x_train, split.y_train, (split.x_test, split.y_test)

# %% [markdown]
# ## The textbook's way
#
# Two hidden layers of 100; one prior scale for each tensor, the divergence at its full weight from the first step, a small
# initial scale. The package warns as it fits.

# %%
torch.manual_seed(0)
network = nn.Sequential(nn.Flatten(), networks.mlp(64, 9, hidden=(100, 100)))
textbook = BayesianNeuralNetwork(network, priors.fan_in_normal(fit="tensor"), likelihoods.categorical)
bad = fit_svi(textbook, x, y, warmup=0.0, rotate=False, init_scale=0.01, learning_rate=0.003, **short)
print({name: round(value, 3) for name, value in evaluate(bad(split.x_test), split.y_test).items()})

# %%
diagnose(bad, x, y, progress=False)

# %% [markdown]
# It has learnt nothing: every weight is at its prior, the ELBO is that of a constant prediction. Nothing in the loss curve says
# so: it is as flat as that of a good fit.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
plots.elbo_curve(bad.history, ax=axes[0]).set_title("collapsed", fontsize="medium")
model = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
good = fit_svi(model, x, y, **short)
_ = plots.elbo_curve(good.history, ax=axes[1]).set_title("the defaults", fontsize="medium")
# %% [markdown]
# ## The defaults
#
# The same network. `diagnose` is silent, and says what is good to know: that the guide is not the posterior of the weights, as
# it never is in a network, and that leave-one-out is not to be relied on here.

# %%
print({name: round(value, 3) for name, value in evaluate(good(split.x_test), split.y_test).items()})
diagnose(good, x, y, held_out=held_out, progress=False)

# %% [markdown]
# ## Stopped too early
#
# A fit of five epochs. Its curve falls nicely; going on for a few seconds in a copy shows what it was short of.

# %%
early = fit_svi(model, x, y, num_epochs=5, progress=False)
found = diagnose(early, x, y, progress=False)
print(f"{found.figures['elbo_gain']:.2f} nats per datum still to gain:", [finding.name for finding in found.warnings])

# %% [markdown]
# ## Posterior predictive checks and leave-one-out
#
# On a smaller problem: which width does the diabetes table bear? ArviZ compares them by leave-one-out.

# %%
table = datasets.diabetes()
exports, tests = {}, {}
for width in (2, 10, 50):
    torch.manual_seed(0)
    model = BayesianNeuralNetwork(networks.mlp(10, 1, hidden=(width,)), likelihood=likelihoods.gaussian)
    fitted = fit_svi(model, table.x_train, table.y_train, num_samples=500, **short)
    exports[str(width)] = to_arviz(fitted, table.x_train, table.y_train)
    tests[str(width)] = evaluate(fitted(table.x_test), table.y_test)["nll"]
print("NLL on test data:", tests)
az.compare(exports)

# %%
_ = az.plot_ppc(exports["10"], num_pp_samples=50, figsize=(6, 3))
_ = az.plot_loo_pit(exports["10"], y="y", figsize=(6, 3))
# %% [markdown]
# ## The reference: NUTS
#
# A problem small enough for long chains, which draw from the posterior itself. How far are approximations from it?

# %%
moons = datasets.two_moons(100, noise=0.2)
torch.manual_seed(0)
small = BayesianNeuralNetwork(
    networks.mlp(2, 2, hidden=(8,), activation="tanh"), priors.fan_in_normal(3.0, fit=None), likelihoods.categorical
)
chains = {"num_samples": 20, "num_warmup": 10, "num_chains": 1, "max_tree_depth": 3} if SMOKE else {"num_samples": 400}
nuts = fit_nuts(small, moons.x_train, moons.y_train, progress=False, **chains)
print(nuts)
for name, fitted in {
    "svi": fit_svi(small, moons.x_train, moons.y_train, **short),
    "plain": fit_map(small, moons.x_train, moons.y_train, **short),
}.items():
    for where, points in {"on the data": moons.x_test, "far away": moons.x_ood}.items():
        distance = predictive_distance(fitted(points), nuts(points)).means
        print(
            f"{name:>6}, {where}: total variation {distance['total_variation']:.3f}, agreement {distance['agreement']:.2f}"
        )

# %% [markdown]
# ## Which weights matter?
#
# Most do not: cut those of least signal over noise.

# %%
for fraction in (0.0, 0.5, 0.75, 0.9, 0.95):
    scores = evaluate(pruned(good, fraction)(split.x_test), split.y_test)
    print(f"{fraction:4.0%} cut: accuracy {scores['accuracy']:.3f}, NLL {scores['nll']:.3f}")

# %% [markdown]
# ## What we learnt
#
# A loss curve tells neither collapse nor an early stop. `diagnose` asks; held-out data judge; NUTS is the truth where it can be
# had.
