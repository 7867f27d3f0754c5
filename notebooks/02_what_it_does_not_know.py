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
# # What the network doesn't know
#
# We train on handwritten digits from 0 to 8 and never show a 9. What does a network say of a 9? It can only name one of the
# nine classes it knows: the question is how sure it is. A large probability is not certainty.

# %%
import os

import torch

from bayesnn import (
    BayesianNeuralNetwork,
    datasets,
    decompose,
    evaluate,
    fit_map,
    fit_svi,
    likelihoods,
    networks,
    out_of_distribution,
    plots,
)
from bayesnn.uncertainty import scores

# %config InlineBackend.figure_formats = ["png"]

SMOKE = "BAYESNN_SMOKE" in os.environ
split = datasets.digits(hold_out=9)
split

# %% [markdown]
# ## A plain network, and the same one Bayesian

# %%
torch.manual_seed(0)
network = networks.mlp((8, 8), 9, hidden=(400,), activation="silu")
model = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical)
plain = fit_map(model, split.x_train, split.y_train, progress=False, num_epochs=5 if SMOKE else None)
epochs = {"num_epochs": 5, "warmup": 0.0} if SMOKE else {}
posterior = fit_svi(model, split.x_train, split.y_train, progress=False, **epochs)
for name, fitted in {"plain": plain, "bayesian": posterior}.items():
    print(name, {key: round(value, 3) for key, value in evaluate(fitted(split.x_test), split.y_test).items()})

# %% [markdown]
# ## Confidently wrong
#
# The 9s of which the plain network is most certain. Every one of these probabilities is of a wrong class.

# %%
unseen = plain(split.x_ood)
surest = unseen.probs.max(-1).values.argsort(descending=True)[:6]
for i in surest:
    print(f"a 9, said to be a {split.classes[int(unseen.mode[i])]} with probability {unseen.probs[i].max():.3f}")
plots.uncertain_pictures(split.x_ood[surest], unseen[surest], classes=split.classes)

# %% [markdown]
# ## The same pictures, to the Bayesian network
#
# Its draws disagree with each other. That disagreement is the *epistemic* part, blue below. It is what a plain network cannot
# have: it has one draw, which always agrees with itself.

# %%
plots.uncertain_pictures(split.x_ood[surest], posterior(split.x_ood[surest]), classes=split.classes)

# %% [markdown]
# ## Ambiguous is something else
#
# A picture may also be two digits at once. Of that no amount of data would make a network certain: that part is *aleatoric*.
# The total, the entropy of the averaged probabilities, does not tell one from the other. Its parts do, once the network has
# seen that there are ambiguous pictures: we add mixtures of two digits, labelled by the toss of a coin.

# %%
mixed = datasets.with_ambiguous(split, fraction=1.0)
torch.manual_seed(0)
wiser = fit_svi(model, mixed.x_train, mixed.y_train, progress=False, **epochs)
groups = {
    name: wiser(x) for name, x in (("test", split.x_test), ("unseen 9s", split.x_ood), ("mixtures", mixed.x_ambiguous))
}
for name, predictive in groups.items():
    parts = decompose(predictive)
    print(f"{name:>10}: aleatoric {parts.aleatoric.mean():.2f} nats, epistemic {parts.epistemic.mean():.2f} nats")
plots.aleatoric_epistemic(groups)

# %% [markdown]
# ## Does it find the strangers?
#
# Both scores as detectors of the 9s among the test digits. 0.5 is chance, 1 is perfect; the plain network has no mutual information.

# %%
inside, outside = posterior(split.x_test), posterior(split.x_ood)
for name, fitted in {"plain": plain, "bayesian": posterior}.items():
    found = out_of_distribution(fitted(split.x_test), fitted(split.x_ood)).auroc
    print(f"{name:>8}: entropy {found['entropy']:.3f}, mutual information {found['mutual_information']:.3f}")
plots.detection_histogram(scores(inside)["entropy"], scores(outside)["entropy"], score="entropy")

# %% [markdown]
# ## What we learnt
#
# A probability says how the network divides what it knows among the classes; whether it knows anything at all is another
# question. Entropy answers both at once, mutual information the second alone.
