"""The CRPS against scipy's integration of its definition, and closed forms."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import Categorical, Gamma, Independent, Laplace, Normal, Poisson, StudentT

from bayesnn.metrics.crps import crps
from bayesnn.predictive import Predictive

S, N = 4, 5


def random(seed):
    return torch.randn(S, N, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


LOC, SCALE = 3 * random(0), 0.3 + random(1).abs()
Y = 2 * random(2)[0]
FAMILIES = {
    "normal": (Normal(LOC, SCALE), scipy.stats.norm(LOC, SCALE), Y),
    "laplace": (Laplace(LOC, SCALE), scipy.stats.laplace(LOC, SCALE), Y),
    "student": (StudentT(4 + SCALE, LOC, SCALE), scipy.stats.t(4 + SCALE, LOC, SCALE), Y),
    "gamma": (Gamma(1 + SCALE, SCALE), scipy.stats.gamma(1 + SCALE, scale=1 / SCALE), Y.abs()),
}


def integrated(cdf, y):
    """The definition, by scipy, from far below to the target and from there to far above."""
    left, _ = scipy.integrate.quad(lambda z: cdf(z) ** 2, y - 200, y, limit=500, points=np.linspace(y - 20, y, 40))
    right, _ = scipy.integrate.quad(
        lambda z: (1 - cdf(z)) ** 2, y, y + 200, limit=500, points=np.linspace(y, y + 20, 40)
    )
    return left + right


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_integral_of_its_definition(family):
    members, theirs, y = FAMILIES[family]
    wanted = [integrated(lambda z, n=n: theirs.cdf(z)[:, n].mean(), float(y[n])) for n in range(N)]
    assert crps(Predictive(members), y).item() == pytest.approx(np.mean(wanted), rel=1e-5)


def test_counts_are_summed():
    rate = 1 + 5 * random(3).abs()
    y = torch.tensor([0.0, 1.0, 4.0, 9.0, 30.0]).double()
    counts = np.arange(200)[:, None]
    cdf = scipy.stats.poisson(rate.numpy()[:, None]).cdf(counts).mean(0)
    wanted = ((cdf - (counts >= y.numpy())) ** 2).sum(0).mean()
    assert crps(Predictive(Poisson(rate)), y).item() == pytest.approx(wanted, rel=1e-6)


def test_one_normal_has_the_form_of_gneiting_and_raftery():
    z = ((Y - LOC[0]) / SCALE[0]).numpy()
    norm = scipy.stats.norm
    wanted = SCALE[0].numpy() * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / math.sqrt(math.pi))
    assert crps(Predictive(Normal(LOC[:1], SCALE[:1])), Y).item() == pytest.approx(wanted.mean(), rel=1e-12)


def test_without_spread_it_is_the_absolute_error():
    assert crps(Predictive(Normal(LOC[:1], 1e-9)), Y).item() == pytest.approx(float((LOC[0] - Y).abs().mean()))


def test_it_is_in_the_units_of_the_target_and_takes_single_precision():
    found = crps(Predictive(Normal(LOC, SCALE)), Y)
    larger = crps(Predictive(Normal((1000 * LOC + 7).float(), (1000 * SCALE).float())), 1000 * Y + 7)
    assert larger.item() == pytest.approx(1000 * found.item(), rel=1e-5)


def test_targets_of_several_dimensions_are_averaged():
    both = Predictive(Independent(Normal(torch.stack([LOC, LOC + 1], 2), torch.stack([SCALE, SCALE], 2)), 1))
    alone = [crps(Predictive(Normal(LOC + d, SCALE)), Y) for d in (0, 1)]
    assert crps(both, torch.stack([Y, Y], 1)).item() == pytest.approx(float(sum(alone)) / 2, rel=1e-12)


def test_a_mixture_that_is_known_is_taken():
    known = Predictive(Normal(LOC, SCALE), Normal(LOC[0], SCALE[0]))
    assert crps(known, Y).item() == pytest.approx(crps(Predictive(Normal(LOC[:1], SCALE[:1])), Y).item(), rel=1e-12)


def test_pieces_give_what_the_whole_gives(monkeypatch):
    whole = [crps(Predictive(members), y).item() for members, _, y in FAMILIES.values()]
    monkeypatch.setattr("bayesnn.metrics.crps._BUDGET", 8)
    assert [crps(Predictive(m), y).item() for m, _, y in FAMILIES.values()] == pytest.approx(whole, rel=1e-6)


def test_classes_have_none():
    with pytest.raises(NotImplementedError, match=r"the CRPS is a score of numbers.*Write brier"):
        crps(Predictive(Categorical(torch.ones(2, 3, 4))), torch.zeros(3))
