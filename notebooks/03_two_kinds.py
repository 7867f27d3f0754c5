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
# # Two kinds of uncertainty
#
# *Aleatoric*: what would be left if we knew the weights. *Epistemic*: what is left because we do not. More data should shrink
# the second and leave the first. We see whether it does, and check both formulas by hand.

# %%
import os

import matplotlib.pyplot as plt
import torch

from bayesnn import BayesianNeuralNetwork, decompose, fit_nuts, fit_svi, likelihoods, networks, plots, priors

# %config InlineBackend.figure_formats = ["png"]

SMOKE = "BAYESNN_SMOKE" in os.environ
NOISE = 0.3


def data(number):
    generator = torch.Generator().manual_seed(1)
    x = 4 * torch.rand(number, 1, generator=generator) - 2
    return x, torch.sin(2 * x[:, 0]) + NOISE * torch.randn(number, generator=generator)


# %% [markdown]
# ## More data
#
# The same network on 40, 160 and 640 points. The noise is unknown to it, and is 0.3.

# %%
grid = torch.linspace(-2, 2, 100)[:, None]
numbers = (40, 80) if SMOKE else (40, 160, 640)
epochs = {"num_epochs": 20, "warmup": 0.0} if SMOKE else {"num_epochs": 3000}
parts = {}
figure, axes = plt.subplots(1, len(numbers), figsize=(3 * len(numbers), 2.8), sharey=True, layout="constrained")
for ax, number in zip(axes, numbers, strict=True):
    torch.manual_seed(0)
    network = networks.mlp(1, 1, hidden=(50,), activation="tanh")
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.gaussian)
    x, y = data(number)
    fitted = fit_svi(model, x, y, start="map", num_samples=500, batch_size=128, progress=False, **epochs)
    predictive = fitted(grid)
    parts[number] = decompose(predictive)
    plots.regression_bands(grid, predictive, data=(x, y), ax=ax)
    ax.get_legend().remove()
    ax.set_title(f"{number} points", fontsize="medium")

# %%
for number, found in parts.items():
    print(
        f"{number:>5} points: noise {found.aleatoric.mean().sqrt():.3f} (it is {NOISE}), "
        f"ignorance {found.epistemic.mean().sqrt():.3f}"
    )

# %% [markdown]
# ## The variances, by hand
#
# Each draw $s$ of the weights predicts a normal with mean $\mu_s$ and standard deviation $\sigma_s$. The law of total variance:
#
# $$\operatorname{Var}[y] = \frac1S \sum_s \sigma_s^2 + \operatorname{Var}_s[\mu_s]$$

# %%
members = predictive.members
by_hand = members.variance.mean(0), members.mean.var(0, correction=0)
print("aleatoric", torch.allclose(by_hand[0], parts[number].aleatoric))
print("epistemic", torch.allclose(by_hand[1], parts[number].epistemic))
drawn = predictive.sample((20_000,)).var(0)
print("total, against 20,000 drawn targets:", float((drawn / parts[number].total).mean()))

# %% [markdown]
# ## The entropies, by hand
#
# For classes: the entropy of the averaged probabilities, less the average of the entropies, is the mutual information between
# the class and the weights.

# %%
torch.manual_seed(0)
x = torch.randn(60, 2)
labels = (x[:, 0] * x[:, 1] > 0).long()
model = BayesianNeuralNetwork(networks.mlp(2, 2, hidden=(20,)), likelihood=likelihoods.categorical)
classes = fit_svi(model, x, labels, progress=False, **({"num_epochs": 20, "warmup": 0.0} if SMOKE else {}))(x)
p = classes.member_log_probs.exp()


def entropy(p):
    return torch.special.entr(p).sum(-1)


total, aleatoric = entropy(p.mean(0)), entropy(p).mean(0)
found = decompose(classes)
print("total", torch.allclose(total, found.total, atol=1e-6))
print("epistemic", torch.allclose(total - aleatoric, found.epistemic, atol=1e-6))

# %% [markdown]
# ## How right is it?
#
# For a network this small the exact posterior can be had, by long chains of NUTS. A variational posterior of a tanh network
# leaves open too little where there are no data; see for yourself, beyond the edges. (`fit_svi` may warn here: with forty points
# and a prior this wide its bound is loose.)

# %%
x, y = data(40)
torch.manual_seed(0)
small = BayesianNeuralNetwork(
    networks.mlp(1, 1, hidden=(8,), activation="tanh"),
    priors.fan_in_normal(1.0, fit=None),
    likelihoods.gaussian.with_noise(NOISE),
)
wide = torch.linspace(-4, 4, 100)[:, None]
chains = (
    {"num_samples": 20, "num_warmup": 10, "num_chains": 1, "max_tree_depth": 3}
    if SMOKE
    else {"num_samples": 200, "num_chains": 2}
)
fits = {
    "variational": fit_svi(small, x, y, start="map", progress=False, **epochs),
    "NUTS": fit_nuts(small, x, y, progress=False, **chains),
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
for ax, (name, fitted) in zip(axes, fits.items(), strict=True):
    plots.regression_bands(wide, fitted(wide), data=(x, y), ax=ax)
    ax.get_legend().remove()
    ax.set_title(name, fontsize="medium")
    inside, outside = (decompose(fitted(torch.tensor([[at]]))).epistemic.sqrt().item() for at in (0.0, 3.5))
    print(f"{name}: ignorance {inside:.2f} among the data, {outside:.2f} outside")

# %% [markdown]
# ## What we learnt
#
# Noise stays, ignorance shrinks; both formulas are a line each. And a variational posterior is an approximation, which is
# too sure far from the data.
