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
# # Gaussian processes, dropout, ensembles, adversarial training
#
# The same data, the same scores: what one would use instead of a Bayesian network, and what each costs. Two small problems: a
# curve with a gap, and a real table.

# %%
import os
import warnings

import matplotlib.pyplot as plt
import torch

from bayesnn import (
    BayesianNeuralNetwork,
    compare,
    datasets,
    fit_dropout,
    fit_ensemble,
    fit_gp,
    fit_laplace,
    fit_last_layer,
    fit_map,
    fit_svi,
    fit_swag,
    likelihoods,
    networks,
    plots,
)

# %config InlineBackend.figure_formats = ["png"]

SMOKE = "BAYESNN_SMOKE" in os.environ
short = {"progress": False, **({"num_epochs": 20} if SMOKE else {})}
if SMOKE:
    warnings.simplefilter("ignore")  # short fits say that they are
split = datasets.heteroscedastic_sine(seed=0)
x, y = split.x_train, split.y_train

# %% [markdown]
# ## Seven ways to draw a band
#
# All but the process take the same model: a network that predicts its own noise.

# %%
torch.manual_seed(0)
network = networks.mlp(1, 2, hidden=(50,), activation="tanh", dropout=0.05)
model = BayesianNeuralNetwork(network, likelihood=likelihoods.heteroscedastic_gaussian)
fits = {
    "svi": fit_svi(model, x, y, start="map", **short),
    "plain network": fit_map(model, x, y, **short),
    "MC dropout": fit_dropout(model, x, y, **short),
    "ensemble of 5": fit_ensemble(model, x, y, **short),
    "adversarial ensemble": fit_ensemble(model, x, y, adversarial=0.01, **short),
    "last layer": fit_last_layer(model, x, y, **short),
    "gaussian process": fit_gp(likelihoods.gaussian, x, y, **short),
}
grid = torch.linspace(-6, 6, 200)[:, None]
figure, axes = plt.subplots(2, 4, figsize=(13, 5.2), sharex=True, sharey=True, layout="constrained")
for ax, (name, fitted) in zip(axes.flat, fits.items(), strict=False):
    plots.regression_bands(grid, fitted(grid), data=(x, y), ax=ax)
    ax.get_legend().remove()
    ax.set_title(name, fontsize="medium")
    ax.set_ylim(-3.5, 3.5)
handles, labels = ax.get_legend_handles_labels()
axes.flat[-1].legend(handles, labels, frameon=False, loc="center")
axes.flat[-1].set_axis_off()

# %% [markdown]
# The plain network has no blue: it does not know that it does not know. The mean-field posterior knows the gap a little, and
# nothing beyond the edges: that is its weakness, and no default mends it. Dropout's blue is as wide among the data as away from
# them. The ensemble's and the last layer's is thin, but in the right places; only the process says aloud that it knows nothing
# out there, at the price of one noise for all inputs. The table says the same: the area under the ROC curve by the epistemic part.

# %%
compare(fits, split.x_test, split.y_test, x_ood=split.x_ood)

# %% [markdown]
# ## A real table
#
# Diabetes: ten measurements of 442 patients, and how far the disease went within a year. Little of it can be predicted, so that
# what counts is whether the stated uncertainty is right.

# %%
table = datasets.diabetes()
torch.manual_seed(0)
model = BayesianNeuralNetwork(networks.mlp(10, 1, hidden=(50,), dropout=0.05), likelihood=likelihoods.gaussian)
x, y = table.x_train, table.y_train
fits = {
    "svi": fit_svi(model, x, y, **short),
    "plain network": fit_map(model, x, y, **short),
    "MC dropout": fit_dropout(model, x, y, **short),
    "ensemble of 5": fit_ensemble(model, x, y, **short),
    "laplace": fit_laplace(model, x, y, **short),
    "swag": fit_swag(model, x, y, **short),
    "last layer": fit_last_layer(model, x, y, **short),
    "gaussian process": fit_gp(likelihoods.gaussian, x, y, **short),
}
compare(fits, table.x_test, table.y_test)

# %% [markdown]
# An asterisk marks what cannot be told from the best of its column. A plain network fits part of the noise, and takes what is
# left for all of it: its 90 % intervals hold a third of the targets. So do those of Laplace, SWAG and the last layer, which take
# their noise from such a network. The variational network and the process, which weigh noise against what they do not know, hold
# nine in ten. Held-out rows to choose the noise on would help the others; these had none.

# %%
for name, fitted in fits.items():
    seconds = fitted.history.seconds if fitted.history else float("nan")
    print(f"{name:>18}: {seconds:5.1f} s")

# %% [markdown]
# ## What we learnt
#
# Methods differ less in their error than in whether their intervals hold, in what they say where there are no data, and in what
# they cost. No method is best at all of it. Look at the picture first where there is one.
