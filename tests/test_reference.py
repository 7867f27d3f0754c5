"""Distances to a reference: closed forms of normals, brute force for classes, scipy for mixtures."""

import json

import numpy as np
import pytest
import torch
from made_up import CLASSES, LOC, LOGITS, REALS, SCALE, random
from scipy.integrate import quad
from scipy.special import softmax
from scipy.stats import norm, poisson, wasserstein_distance
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Gamma,
    Independent,
    Laplace,
    Normal,
    Poisson,
    Uniform,
    kl_divergence,
)
from torch.testing import assert_close

from bayesnn.predictive import Predictive
from bayesnn.reference import predictive_distance
from bayesnn.streamed import Streamed

OTHER = Predictive(Categorical(logits=LOGITS + random(*LOGITS.shape, seed=9)))
SHIFTED = Predictive(Normal(LOC + 0.5 * random(*LOC.shape, seed=8), 1.2 * SCALE))


def test_classes_by_brute_force():
    found = predictive_distance(OTHER, CLASSES).per_input
    p = softmax((LOGITS + random(*LOGITS.shape, seed=9)).numpy(), -1).mean(0)
    r = softmax(LOGITS.numpy(), -1).mean(0)
    assert_close(found["total_variation"].numpy(), np.abs(p - r).sum(1) / 2)
    assert_close(found["agreement"].numpy(), (p.argmax(1) == r.argmax(1)).astype(float))
    assert_close(found["kl"].numpy(), (r * np.log(r / p)).sum(1))


def test_a_class_that_cannot_be_adds_nothing():
    sure = Predictive(Categorical(torch.tensor([[[1.0, 0.0]]])))
    half = Predictive(Categorical(torch.tensor([[[0.5, 0.5]]])))
    eps = torch.finfo(torch.float32).eps  # torch keeps a probability this far from 0 and 1
    exact = (1 - eps) * np.log((1 - eps) / 0.5) + eps * np.log(eps / 0.5)
    assert predictive_distance(half, sure).means["kl"] == pytest.approx(exact, rel=1e-6)
    exact = 0.5 * np.log(0.5 / (1 - eps)) + 0.5 * np.log(0.5 / eps)
    assert predictive_distance(sure, half).means["kl"] == pytest.approx(exact, rel=1e-6)


def test_normals_have_closed_forms():
    loc, shift = torch.linspace(-2, 2, 7).double(), torch.linspace(0.1, 3, 7).double()
    one, other = Normal(loc[None], 1.5), Normal((loc + shift)[None], 1.5)
    found = predictive_distance(Predictive(other), Predictive(one))
    assert_close(found.per_input["wasserstein"], shift, rtol=0, atol=1.5e-3)
    assert_close(found.per_input["wasserstein_relative"], shift / 1.5, rtol=0, atol=1e-3)
    assert_close(found.per_input["kl"], kl_divergence(one, other)[0], rtol=0, atol=2e-3)
    wider = Normal(loc[None], 3.0)
    spread = predictive_distance(Predictive(wider), Predictive(one))
    assert_close(spread.per_input["wasserstein"], torch.full_like(loc, 1.5 * (2 / np.pi) ** 0.5), rtol=0, atol=3e-3)
    assert_close(spread.per_input["total_ratio"], torch.full_like(loc, 2.0))


@pytest.mark.parametrize(
    ("one", "reference"),
    [
        (Normal(3.0, 1e3), Normal(0.0, 1.0)),
        (Normal(3.0, 1e4), Normal(0.0, 1.0)),
        (Normal(3.0, 1.0), Normal(0.0, 1e3)),
        (Normal(0.0, 1.0), Normal(1e5, 1.0)),
        (Gamma(0.2, 1.0), Gamma(0.1, 1.0)),
        (Gamma(0.1, 1.0), Gamma(0.2, 1.0)),
        (Gamma(3.0, 2.0), Gamma(0.5, 7.0)),
        (Normal(1.0, 2.0), Gamma(3.0, 2.0)),
        (Beta(2.0, 2.0), Beta(2.0, 0.3)),
        (Beta(2.0, 0.1), Beta(2.0, 2.0)),
        (Beta(2.0, 0.5), Beta(2.0, 0.3)),
        (Laplace(0.0, 1.0), Laplace(1.0, 50.0)),
        (Uniform(-1.0, 9.0), Uniform(0.0, 1.0)),
        (Uniform(0.5, 9.0), Uniform(0.0, 1.0)),
        (Gamma(2.0, 1.0), Normal(1.0, 1.0)),
        (Beta(2.0, 1.0), Normal(1.0, 1.0)),
    ],
    ids=str,
)
def test_divergences_of_families_and_widths_that_are_unlike(one, reference):
    """Torch's closed forms; infinite where the reference has targets that the other cannot have."""
    unlike = isinstance(reference, Normal) and not isinstance(one, Normal)
    exact = float("inf") if unlike else float(kl_divergence(reference, one))
    found = predictive_distance(*(Predictive(d.expand((2, 1))) for d in (one, reference))).means["kl"]
    assert found == pytest.approx(exact, rel=2e-3, abs=2e-3)


def test_a_narrow_reference_is_seen_within_a_wide_predictive():
    """Scipy's integral of the difference of both distribution functions."""
    wide, narrow = Normal(torch.zeros(1, 1), 100.0), Normal(torch.full((1, 1), 30.0), 0.01)
    ends = np.unique(np.concatenate([np.linspace(-800, 800, 200_001), 30 + np.linspace(-0.1, 0.1, 20_001)]))
    exact = np.trapezoid(np.abs(norm(0, 100).cdf(ends) - norm(30, 0.01).cdf(ends)), ends)
    found = predictive_distance(Predictive(wide), Predictive(narrow)).means
    assert found["wasserstein"] == pytest.approx(exact, rel=1e-3)


def test_mixtures_by_numerical_integration():
    found = predictive_distance(SHIFTED, REALS).per_input
    moved, scale = LOC + 0.5 * random(*LOC.shape, seed=8), 1.2 * SCALE
    for n in (0, 17, 59):

        def f(y, kind="cdf", loc=moved, sd=scale, n=n):
            return getattr(norm, kind)(y, loc[:, n].numpy(), sd[:, n].numpy()).mean()

        def r(y, kind="cdf", n=n):
            return getattr(norm, kind)(y, LOC[:, n].numpy(), SCALE[:, n].numpy()).mean()

        spread = float(REALS.variance[n].sqrt())
        ends = float(REALS.mean[n]) + np.array([-12, 12]) * spread
        exact = quad(lambda y: abs(f(y) - r(y)), *ends, limit=500)[0]
        assert float(found["wasserstein"][n]) == pytest.approx(exact, abs=2e-3 * spread)
        kl = quad(lambda y: r(y, "pdf") * np.log(r(y, "pdf") / f(y, "pdf")), *ends, limit=500)[0]
        assert float(found["kl"][n]) == pytest.approx(kl, abs=2e-3)


def test_draws_by_scipys_own_distance():
    """Empirical: of 200,000 draws of each, whose error is about a standard deviation over their root, five of them."""
    torch.manual_seed(0)
    one, other = REALS[0].sample((200_000,))[:, 0], SHIFTED[0].sample((200_000,))[:, 0]
    found = predictive_distance(SHIFTED[0], REALS[0]).means["wasserstein"]
    assert found == pytest.approx(wasserstein_distance(one, other), abs=5 * float(one.std()) * (2 / 200_000) ** 0.5)


def test_counts_are_summed_over():
    one, other = Predictive(Poisson(torch.tensor([[3.0, 8.0]]))), Predictive(Poisson(torch.tensor([[4.0, 8.0]])))
    found = predictive_distance(other, one).per_input["wasserstein"]
    grid = np.arange(60)
    exact = np.abs(poisson.cdf(grid, 4.0) - poisson.cdf(grid, 3.0)).sum()
    assert_close(found, torch.tensor([exact, 0.0]).float(), rtol=0, atol=2e-3)


def test_ratios_are_of_the_parts():
    found = predictive_distance(SHIFTED, REALS).per_input
    moved = LOC + 0.5 * random(*LOC.shape, seed=8)
    assert_close(found["epistemic_ratio"], moved.std(0, correction=0) / LOC.std(0, correction=0))
    assert predictive_distance(REALS, REALS).means["epistemic_ratio"] == pytest.approx(1)


@pytest.mark.parametrize("predictive", [CLASSES, REALS], ids=["classes", "reals"])
def test_to_itself_it_is_nought_and_the_order_of_draws_does_not_matter(predictive):
    found = predictive_distance(predictive[:5], predictive[:5]).means
    assert all(found[name] < 1e-9 for name in found if name in ("total_variation", "kl", "wasserstein"))
    twice = Predictive(Normal(LOC.flip(0), SCALE.flip(0)))
    assert predictive_distance(twice, REALS).means["wasserstein"] < 1e-9


def test_a_streamed_predictive_gives_the_same(monkeypatch):
    """Blocks of 20 inputs, from members that are made anew: each few inputs are asked for once."""
    monkeypatch.setattr("bayesnn.reference._AT_ONCE", 20)
    rows, calls = torch.arange(60.0)[:, None], []

    def predict(x):
        calls.append(len(x))
        return SHIFTED[x[:, 0].long()]

    size = 2 * 5 * 8  # bytes of the members of one input
    streamed = Streamed(predict, rows, block=7, limit=30 * size)
    found, wanted = predictive_distance(streamed, REALS), predictive_distance(SHIFTED, REALS)
    for name, value in wanted.per_input.items():
        assert_close(found.per_input[name], value)
    assert sum(calls) < 3 * 60 + 10  # not once for each of 800 points


def test_several_targets_and_labels():
    pair = Predictive(Independent(Normal(torch.zeros(3, 4, 2), 1.0), 1))
    other = Predictive(Independent(Normal(torch.tensor([0.0, 1.0]).expand(3, 4, 2), 1.0), 1))
    found = predictive_distance(other, pair)
    assert_close(found.per_input["wasserstein"], torch.tensor([0.0, 1.0]).expand(4, 2), rtol=0, atol=1e-3)
    assert list(found.to_pandas().columns[:2]) == ["wasserstein[0]", "wasserstein[1]"]
    labels = Predictive(Independent(Bernoulli(torch.full((3, 4, 2), 0.3)), 1))
    sure = Predictive(Independent(Bernoulli(torch.tensor([0.3, 0.6]).expand(3, 4, 2)), 1))
    assert_close(predictive_distance(sure, labels).per_input["total_variation"], torch.full((4,), 0.15))
    assert predictive_distance(sure, labels).means["agreement"] == 0


def test_the_record_shows_its_means():
    found = predictive_distance(OTHER, CLASSES)
    assert "total variation" in repr(found)
    assert "<table>" in found._repr_html_()
    assert json.loads(found.to_json()) == found.means
    assert len(found.to_pandas()) == 60


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (REALS, CLASSES),
        (REALS[:5], REALS),
        (CLASSES, Predictive(Categorical(torch.ones(2, 60, 3)))),
        (REALS, Predictive(Poisson(torch.ones(2, 60)))),
    ],
    ids=["kinds", "inputs", "classes", "counts"],
)
def test_predictives_of_something_else_are_refused(one, other):
    with pytest.raises(ValueError, match=r"the same targets of the same inputs; got Predictive.* Call both .* one x"):
        predictive_distance(one, other)
    with pytest.raises(TypeError, match=r"posterior\(x\)"):
        predictive_distance(lambda x: one, other)


def test_counts_too_far_apart_are_refused():
    wide = Predictive(Poisson(torch.tensor([[1.0, 1e9]])))
    with pytest.raises(ValueError, match="within 20000 of each other"):
        predictive_distance(wide, wide)
