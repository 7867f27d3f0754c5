"""A random state of one's own."""

import torch

from bayesnn.seeding import seeded


def test_the_state_outside_stays_and_the_seed_tells_what_is_inside():
    state = torch.get_rng_state()
    with seeded(3):
        first = torch.randn(2)
    with seeded(3, torch.device("cpu")):
        assert torch.equal(torch.randn(2), first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.equal(torch.randn(2), first)


def test_without_a_seed_the_state_goes_on():
    state = torch.get_rng_state()
    with seeded(None):
        first = torch.randn(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.randn(2), first)
