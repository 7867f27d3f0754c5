"""Predictives made of random numbers, and their uncertainty by numpy and scipy: what readers are tested on."""

import numpy as np
import scipy.special
import scipy.stats
import torch
from sklearn import metrics
from torch.distributions import Categorical, Normal

from bayesnn.predictive import Predictive

S, N, C = 5, 60, 4


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LOGITS, OTHER_LOGITS = 2 * random(1, N, C) + random(S, N, C, seed=1), random(S, 25, C, seed=2)
CLASSES, ELSEWHERE = Predictive(Categorical(logits=LOGITS)), Predictive(Categorical(logits=OTHER_LOGITS))
LABELS = (random(N, C, seed=3) + LOGITS.mean(0)).argmax(1)
LOC, SCALE, TARGETS = 50 + random(S, N), 0.5 + random(S, N, seed=1).square(), 50 + random(N, seed=2)
REALS = Predictive(Normal(LOC, SCALE))
WIDER = Predictive(Normal(LOC[:, :25] + 3 * random(S, 25, seed=4), SCALE[:, :25] + 1))


def class_scores(logits):
    """Every score by numpy and scipy, from the members' probabilities."""
    members = scipy.special.softmax(logits.numpy(), -1)
    probs = members.mean(0)
    entropy = scipy.stats.entropy(probs, axis=-1)
    information = entropy - scipy.stats.entropy(members, axis=-1).mean(0)
    return probs, {"max_probability": 1 - probs.max(-1), "entropy": entropy, "mutual_information": information}


def real_scores(loc, scale):
    aleatoric, epistemic = (scale.numpy() ** 2).mean(0), loc.numpy().var(0)
    return {"total": aleatoric + epistemic, "aleatoric": aleatoric, "epistemic": epistemic}  # variances rank as sds


def areas(inside, outside):
    kind = np.r_[np.zeros(len(next(iter(inside.values())))), np.ones(len(next(iter(outside.values()))))]
    return {name: metrics.roc_auc_score(kind, np.r_[inside[name], outside[name]]) for name in inside}
