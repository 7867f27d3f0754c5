"""Adaptive quadrature against closed forms."""

import math

import pytest
import torch

from bayesnn.metrics.adaptive import integrate


def test_peaks_and_jumps_are_found():
    """A normal density a thousandth wide, and a jump at pi, which no edge tells of."""
    edges = torch.tensor([[-1.0, 0.0], [2.0, 10.0]]).double()

    def function(at, number):
        peak = torch.distributions.Normal(0.3, 1e-3).log_prob(at).exp()
        return torch.where(number == 0, peak, (at > math.pi).double())

    # The peak must be seen at first: an edge near it, as the CRPS gives.
    edges = torch.cat([edges[:1], torch.tensor([[0.3, 5.0]]).double(), edges[1:]])
    found = integrate(function, edges)
    assert found[0].item() == pytest.approx(1, rel=1e-6)
    assert found[1].item() == pytest.approx(10 - math.pi, rel=1e-6)


def test_each_function_has_its_own_edges():
    edges = torch.tensor([[0.0, 1.0, 2.0], [1.0, 3.0, 2.0]]).double()
    found = integrate(lambda at, number: at.exp(), edges)
    torch.testing.assert_close(found, edges[1].exp() - edges[0].exp(), rtol=1e-9, atol=1e-12)


def test_a_wide_and_empty_tail_excuses_nothing():
    """Wider than the rest ten thousand million times: its values at the ends of intervals seem to be most of all."""
    edges = torch.tensor([[0.0], [5.0], [1e10]]).double()
    found = integrate(lambda at, number: 1 / (1 + at) ** 2, edges)
    assert found.item() == pytest.approx(1 - 1 / (1 + 1e10), rel=1e-6)


def test_a_polynomial_of_degree_eleven_is_exact():
    edges = torch.tensor([[-1.0], [2.0]]).double()
    assert integrate(lambda at, number: at**11, edges, math.inf).item() == pytest.approx((2**12 - 1) / 12, rel=1e-13)
