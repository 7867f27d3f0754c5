"""Predictives, pictures and fits that the tests of pictures draw."""

import torch
from torch.distributions import Categorical, Normal

from bayesnn.predictive import Predictive
from bayesnn.training import History

S, N = 6, 20


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


X, LOC, SCALE = 10 * random(N), 5 + random(S, N, seed=1), 0.5 + random(S, N, seed=2).square()
REALS = Predictive(Normal(LOC, SCALE))
CLASSES = Predictive(Categorical(logits=3 * random(S, N, 3)))
PICTURES = random(N, 4, 4, seed=3).float() * torch.arange(1.0, N + 1)[:, None, None] + 7
SCORES = random(50).abs().float(), random(30, seed=1).abs().float() + 1


def history(misfit, kl):
    return History([{"loss": m + k, "misfit": m, "kl": k} for m, k in zip(misfit, kl, strict=True)], 1.0, False)


FITS = {
    "settling": history([2 * 0.9**i + 0.2 for i in range(60)], [1.5 * i / 60 for i in range(60)]),
    "two epochs": history([1.9, 1.4], [0.3, 0.3]),
    "one epoch": history([2.0], [0.3]),
    "a density above one": history([2 * 0.9**i - 1.5 for i in range(60)], [0.5 * i / 60 for i in range(60)]),
    "standing still above zero": history([-8.0] * 9, [0.3] * 9),
}
