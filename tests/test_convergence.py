"""R-hat and effective sample size of chains whose truth is known."""

import math

import pytest
import torch

from bayesnn.convergence import effective_sample_size, rank_normalised, rhat


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_independent_chains_have_converged():
    chains = noise(4, 1000, 3)
    assert (rhat(chains) < 1.01).all()
    assert (effective_sample_size(chains) > 3000).all()


@pytest.mark.parametrize(
    "spoil", [lambda c: c + torch.arange(4.0)[:, None, None], lambda c: c * torch.arange(1.0, 5)[:, None, None]],
    ids=["other means", "other spreads"],
)  # fmt: skip
def test_chains_that_differ_have_not(spoil):
    assert (rhat(spoil(noise(4, 1000, 2))) > 1.1).all()


def test_a_trend_within_chains_is_seen():
    assert (rhat(noise(4, 1000, 1) + torch.linspace(0, 3, 1000)[:, None]) > 1.1).all()


def test_correlated_draws_count_for_less():
    """Of an autoregression of coefficient r, n draws count for n (1 - r) / (1 + r)."""
    steps, r = noise(4, 20_000, 1), 0.8
    chain = [steps[:, 0]]
    for t in range(1, 20_000):
        chain.append(r * chain[-1] + math.sqrt(1 - r * r) * steps[:, t])
    found = effective_sample_size(torch.stack(chain, 1))
    assert float(found) == pytest.approx(80_000 * (1 - r) / (1 + r), rel=0.1)


def test_scores_follow_the_ranks_alone():
    chains = noise(2, 50, 1)
    torch.testing.assert_close(rank_normalised(chains), rank_normalised(chains.exp()))


@pytest.mark.parametrize("figure", [rhat, effective_sample_size])
def test_too_few_draws(figure):
    with pytest.raises(ValueError, match=r"4|four"):
        figure(torch.zeros(2, 3, 1))
