"""The CRPS against scipy's integration of its definition, and closed forms."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from torch.distributions import (
    Categorical,
    Gamma,
    Independent,
    Laplace,
    LogNormal,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
    Uniform,
    VonMises,
)

from bayesnn.metrics.crps import _of_normals, _of_reals, crps
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


def test_single_precision_costs_nothing_far_from_zero():
    """Differences of large means: the same numbers in single and in double precision."""
    loc, scale = (4000 + LOC).float(), (0.01 * SCALE).float()
    y = (4000 + Y).float()
    found = crps(Predictive(Normal(loc, scale)), y).item()
    assert found == pytest.approx(crps(Predictive(Normal(loc.double(), scale.double())), y.double()).item(), rel=1e-12)


def test_the_closed_form_is_what_the_quadrature_finds():
    exact, found = _of_normals(Normal(LOC, SCALE), Y), _of_reals(Normal(LOC, SCALE), Y)
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)


def test_many_narrow_members_far_apart_are_seen_each():
    """A staircase, by the closed form of normals and of uniforms (a mixture of absolute differences)."""
    generator = torch.Generator().manual_seed(0)
    loc = 10 * torch.randn(30, 50, dtype=torch.float64, generator=generator)
    scale = 0.02 * torch.rand(30, 50, dtype=torch.float64, generator=generator) + 0.01
    y = loc[0] + 0.5
    exact, found = _of_normals(Normal(loc, scale), y), _of_reals(Normal(loc, scale), y)
    torch.testing.assert_close(found, exact, rtol=1e-4, atol=0)
    assert found.mean().item() == pytest.approx(exact.mean().item(), rel=1e-5)


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_one_log_normal_has_the_form_of_baran_and_lerch(scale):
    """Baran and Lerch (2015), doi:10.1002/qj.2521: tails so wide that a first look at them misleads."""
    norm, loc, y = scipy.stats.norm, LOC[:1].numpy(), Y.exp().numpy()
    z = (np.log(y) - loc) / scale
    inner = norm.cdf(z - scale) + norm.cdf(scale / math.sqrt(2)) - 1
    wanted = (y * (2 * norm.cdf(z) - 1) - 2 * np.exp(loc + scale**2 / 2) * inner).mean()
    assert crps(Predictive(LogNormal(LOC[:1], scale)), Y.exp()).item() == pytest.approx(wanted, rel=1e-5)


def test_tails_without_a_mean_are_followed():
    """One Cauchy: by scipy, out to where its tail is worth 1e-10."""
    theirs = scipy.stats.cauchy()
    left, right = (
        scipy.integrate.quad(lambda u, f=f: f(math.sinh(u)) ** 2 * math.cosh(u), 0, 25, limit=300)[0]
        for f in (lambda z: theirs.cdf(2 - z), lambda z: theirs.sf(2 + z))
    )
    found = crps(Predictive(StudentT(1.0, torch.zeros(1, 1).double(), 1.0)), torch.tensor([2.0]))
    assert found.item() == pytest.approx(left + right, rel=1e-5)


def test_a_uniform_has_the_form_of_the_standard_one():
    """The square of the distance from either end, between them, over 3: an integral by hand."""
    y = torch.tensor([-1.0, 0.0, 0.25, 1.0, 1.5]).double()
    inside = y.clamp(0, 1)
    wanted = (inside**3 + (1 - inside) ** 3) / 3 + (y - inside).abs()
    members = Uniform(torch.zeros(1, 5).double(), torch.ones(1, 5).double())
    assert crps(Predictive(members), y).item() == pytest.approx(wanted.mean().item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_counts_that_spread_wide_are_summed(dtype):
    rate, size = 50 + 20 * random(3).abs(), 0.5 + random(4).abs()
    y = torch.tensor([0.0, 10.0, 400.0, 90.0, 3000.0])
    theirs = scipy.stats.nbinom(size.numpy()[:, None], (size / (size + rate)).numpy()[:, None])
    counts = np.arange(20_000)[:, None]
    wanted = ((theirs.cdf(counts).mean(0) - (counts >= y.numpy())) ** 2).sum(0).mean()
    members = NegativeBinomial(size.to(dtype), logits=(rate / size).log().to(dtype))
    assert crps(Predictive(members), y).item() == pytest.approx(wanted, rel=1e-6)


def test_a_column_of_targets_is_taken():
    predictive = Predictive(Normal(LOC, SCALE))
    assert crps(predictive, Y[:, None]) == crps(predictive, Y)


def test_counts_must_be_whole():
    with pytest.raises(ValueError, match="counts must be whole numbers"):
        crps(Predictive(Poisson(SCALE)), Y.abs())


def test_members_must_tell_their_distribution_function():
    with pytest.raises(NotImplementedError, match=r"the CRPS needs members.*VonMises does not. Write nll"):
        crps(Predictive(VonMises(LOC, SCALE)), Y)


@pytest.mark.parametrize("members", [Normal(LOC, SCALE), Independent(Normal(LOC[..., None], 1.0), 1)], ids=["one", "D"])
def test_several_sets_of_targets_are_refused(members):
    y = torch.zeros(members.batch_shape[1:] + members.event_shape)
    with pytest.raises(ValueError, match=rf"one row per input, shape \({N},.*\); got \(3, {N}.*Pass one: y\[0\]"):
        crps(Predictive(members), y.expand(3, *y.shape))
    assert crps(Predictive(members), torch.tensor(0.0)) == crps(Predictive(members), y)
