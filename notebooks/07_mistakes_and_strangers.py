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
# # Finding mistakes and strangers
#
# Two tasks tell whether uncertainty is good for anything: does it find the model's own mistakes, and does it find inputs from
# another world? On MNIST and Fashion-MNIST where they are at hand (set `BAYESNN_DATA` to their folder), on the small digits
# otherwise.

# %%
import os
import warnings

import torch

from bayesnn import (
    BayesianNeuralNetwork,
    compare,
    datasets,
    fit_ensemble,
    fit_map,
    fit_svi,
    likelihoods,
    misclassification,
    networks,
    out_of_distribution,
    plots,
)
from bayesnn.uncertainty import scores

# %config InlineBackend.figure_formats = ["png"]

SMOKE = "BAYESNN_SMOKE" in os.environ
if SMOKE:
    warnings.simplefilter("ignore")  # short fits say that they are
MNIST = "BAYESNN_DATA" in os.environ and not SMOKE
torch.manual_seed(0)
if MNIST:
    split = datasets.mnist(ood="fashion-mnist", num_train=10_000)
    network = networks.conv_net((28, 28), 10)
    epochs = 10
else:
    split = datasets.digits(hold_out=9)
    network = networks.mlp((8, 8), 9, hidden=(200,), activation="silu")
    epochs = 5 if SMOKE else None
split

# %% [markdown]
# ## Three methods, one network

# %%
model = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
data = split.x_train, split.y_train
options = {"progress": False, "num_epochs": epochs}
fits = {
    "plain network": fit_map(model, *data, **options),
    "ensemble": fit_ensemble(model, *data, num_members=3, **options),
    "svi": fit_svi(model, *data, num_samples=30, **options, **({"warmup": 0.0} if SMOKE else {})),
}
compare(fits, split.x_test, split.y_test, x_ood=split.x_ood)

# %% [markdown]
# ## Its own mistakes
#
# A mistake should be more uncertain than what is right. Each score as a detector, with bootstrap intervals over the inputs.

# %%
posterior = fits["svi"]
inside, outside = posterior(split.x_test), posterior(split.x_ood)
misclassification(inside, split.y_test)

# %% [markdown]
# What that is worth: leave the most uncertain inputs to a person. The error among those that are kept, by how many are kept.

# %%
plots.risk_coverage_curve(inside, split.y_test)

# %% [markdown]
# The most uncertain test pictures, with what they are and what was said of them:

# %%
worst = scores(inside)["entropy"].argsort(descending=True)[:12]
truth = [split.classes[int(label)] for label in split.y_test[worst]]
plots.uncertain_pictures(split.x_test[worst], inside[worst], truth=truth, classes=split.classes)

# %% [markdown]
# ## Strangers

# %%
out_of_distribution(inside, outside)

# %%
found = scores(inside)["mutual_information"], scores(outside)["mutual_information"]
plots.detection_histogram(*found, score="mutual information")

# %% [markdown]
# The strangers of which it is *least* uncertain: what it would let pass.

# %%
passed = scores(outside)["entropy"].argsort()[:12]
plots.uncertain_pictures(split.x_ood[passed], outside[passed], classes=split.classes)

# %% [markdown]
# ## What we learnt
#
# Score uncertainty by what it is for. A method that is best at one task need not be at the other, and each lets some strangers
# pass: look at which.
