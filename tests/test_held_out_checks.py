"""What held-out data say: predictives whose faults are known, with as many targets as it takes to see them."""

import re
import warnings

import pytest
import torch
from torch.distributions import Categorical, Normal, Poisson

from bayesnn import BayesianNeuralNetwork, fit_map, fit_svi, likelihoods, networks
from bayesnn.held_out_checks import held_out_findings
from bayesnn.predictive import Predictive

N = 2000
X = torch.zeros(N, 1)


class Fixed:
    """A method that says the same of every input."""

    num_samples = 1

    def __init__(self, member):
        self.member = member

    def __call__(self, x):
        return Predictive(self.member)


def found(member, y):
    return held_out_findings(Fixed(member), X, y, (X, y), progress=False)


def labels(right):
    """A class of ten for each input, the first one in a given share of them."""
    return torch.where(torch.arange(N) < right * N, 0, torch.arange(N) % 9 + 1)


def member(probability):
    probs = torch.full((1, N, 10), (1 - probability) / 9)
    probs[..., 0] = probability
    return Categorical(probs)


@pytest.mark.parametrize(
    ("says", "right", "words", "warns"),
    [
        (0.8, 0.8, None, None),
        (0.8, 0.78, None, None),  # too little to matter
        (0.9, 0.7, r"it is right in 70\.0% of the cases, and says 90\.0%: it is too sure", True),
        (0.7, 0.75, "and says 70.0%: it is not sure enough", False),
        (0.6, 0.75, "and says 60.0%: it is not sure enough", True),
    ],
)
def test_confidence_against_accuracy(says, right, words, warns):
    figures, findings = found(member(says), labels(right))
    assert figures["held_out_accuracy"] == pytest.approx(right)
    if words is None:
        assert findings == []
    else:
        (one,) = findings
        assert one.is_warning == warns
        assert re.search(words, one.words)
        assert "temperature_scaled" in one.advice


@pytest.mark.parametrize(
    ("scale", "words", "warns"),
    [(1.0, None, None), (0.5, "too narrow", True), (1.2, "too wide", False), (3.0, "too wide", True)],
)
def test_coverage(scale, words, warns):
    y = torch.special.ndtri((torch.arange(N) + 0.5) / N)
    figures, findings = found(Normal(torch.zeros(1, N), scale), y)
    inside = 2 * float(Normal(0.0, 1.0).cdf(torch.tensor(1.6449 * scale))) - 1
    assert figures["held_out_coverage_90"] == pytest.approx(inside, abs=0.001)
    if words is None:
        assert findings == []
    else:
        (one,) = findings
        assert (words in one.words, one.is_warning) == (True, warns)
        assert "conformal_intervals" in one.advice


def test_intervals_of_counts_may_hold_more():
    y = torch.poisson(torch.full((N,), 1.5), generator=torch.Generator().manual_seed(0))
    assert found(Poisson(torch.full((1, N), 1.5)), y)[1] == []


def test_a_fit_worse_than_the_plain_network_is_told():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(900, 2, generator=generator)
    y = x.sum(1) + 0.1 * torch.randn(900, generator=generator)
    torch.manual_seed(0)
    model = BayesianNeuralNetwork(networks.mlp(2, 1), likelihood=likelihoods.gaussian)
    held_out = (x[500:], y[500:])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says so itself
        poor = fit_svi(model, x[:500], y[:500], num_epochs=8, progress=False)
    figures, findings = held_out_findings(poor, x[:500], y[:500], held_out, progress=False)
    plain = fit_map(poor.model, x[:500], y[:500], progress=False)
    wanted = -float(plain(held_out[0]).log_prob(held_out[1]).mean())
    assert figures["held_out_nll_map"] == pytest.approx(wanted, rel=1e-5)
    assert figures["held_out_nll"] - wanted > 0.3
    assert [one.name for one in findings if one.is_warning][-1] == "underfit"
