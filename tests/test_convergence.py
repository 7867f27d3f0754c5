"""R-hat and effective sample size of chains whose truth is known."""

import math

import pytest
import torch

from bayesnn.convergence import effective_sample_size, rank_normalised, rhat


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def autoregression(num_chains, length, size, r):
    """Chains whose neighbours have correlation r."""
    steps = noise(num_chains, length, size)
    chain = [steps[:, 0]]
    for t in range(1, length):
        chain.append(r * chain[-1] + math.sqrt(1 - r * r) * steps[:, t])
    return torch.stack(chain, 1)


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
    r = 0.8
    found = effective_sample_size(autoregression(4, 20_000, 1, r))
    assert float(found) == pytest.approx(80_000 * (1 - r) / (1 + r), rel=0.1)


@pytest.mark.filterwarnings("ignore")  # ArviZ's own, with newer libraries than it knows
@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.5, 0.9, 0.98])
@pytest.mark.parametrize(("num_chains", "length"), [(1, 200), (2, 41), (4, 10), (4, 13), (4, 50), (4, 201), (3, 1000)])
def test_effective_sizes_are_those_of_arviz(num_chains, length, correlation):
    """Of short and badly mixed chains too, where all hangs on how the sum ends."""
    import arviz as az

    chains = autoregression(num_chains, length, 6, correlation) + 0.5 * torch.arange(num_chains)[:, None, None]
    wanted = [float(az.ess(chains[..., q].numpy(), method="bulk")) for q in range(6)]
    torch.testing.assert_close(
        effective_sample_size(chains), torch.tensor(wanted, dtype=torch.float64), rtol=1e-9, atol=0
    )


def test_quantities_are_cut_into_blocks_that_fit(monkeypatch):
    chains = autoregression(3, 40, 7, 0.5)
    wanted = effective_sample_size(chains)
    monkeypatch.setattr("bayesnn.convergence._AT_ONCE", 2 * 3 * 40)
    torch.testing.assert_close(effective_sample_size(chains), wanted)


def test_a_quantity_that_never_changes_has_no_size():
    found = effective_sample_size(torch.cat([torch.ones(2, 50, 1), noise(2, 50, 1).float()], -1))
    assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize("length", [4, 5, 6, 8])
def test_the_shortest_chains_have_a_size(length):
    found = effective_sample_size(noise(4, length, 9))
    total = 4 * (length // 2 * 2)
    assert ((found > 0) & (found <= 2 * total * math.log10(2 * total))).all()


def test_scores_follow_the_ranks_alone():
    chains = noise(2, 50, 1)
    torch.testing.assert_close(rank_normalised(chains), rank_normalised(chains.exp()))


@pytest.mark.parametrize("figure", [rhat, effective_sample_size])
def test_too_few_draws(figure):
    with pytest.raises(ValueError, match=r"4|four"):
        figure(torch.zeros(2, 3, 1))
