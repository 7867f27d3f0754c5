"""Masks in the place of dropout layers, against torch's own layers in train mode."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bayesnn.masks import Mask, masks_of, trace_masks, with_masks

RUNS = 20_000
SIGMAS = 5  # a normal variate lies further out with a chance of 6e-7


def traced(network, x):
    return trace_masks(network, lambda: network(x), x.device)


@pytest.mark.parametrize(
    "layer", [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d], ids=lambda kind: kind.__name__
)
def test_fresh_masks_are_torchs_in_distribution(layer):
    shape = {nn.Dropout: (3,), nn.Dropout1d: (3, 4), nn.Dropout2d: (3, 4, 4), nn.Dropout3d: (3, 2, 2, 2)}[layer]
    mask = next(iter(masks_of(with_masks(nn.Sequential(layer(0.3)), None)).values())).train()
    torch.manual_seed(0)
    ones = torch.ones(RUNS, *shape)
    ours, theirs = mask(ones), layer(0.3).train()(ones)
    assert ours.unique().tolist() == pytest.approx(theirs.unique().tolist())
    # Whole channels drop together, or each number for itself, as torch does it.
    whole = theirs.flatten(2).std(-1).max() == 0 if len(shape) > 1 and layer is not nn.Dropout else None
    if whole:
        assert ours.flatten(2).std(-1).max() == 0
    error = (0.7 * 0.3 / RUNS) ** 0.5 / 0.7
    assert (ours.mean(0) - 1).abs().max() < SIGMAS * error


def test_held_masks_are_the_same_for_all_inputs_and_ones_at_first():
    network = with_masks(nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 2)), None)
    x = torch.randn(5, 6)
    torch.testing.assert_close(network(x), network[1](x))
    traced(network, x)
    drawn = network[0].draws(1000, like=x)
    assert drawn.shape == (1000, 6)
    assert drawn.unique().tolist() == [0.0, 2.0]
    network[0].mask = drawn[0]
    torch.testing.assert_close(network(x), network[1](x * drawn[0]))


def test_relaxed_masks_tend_to_zeros_and_ones_with_the_rate_they_are_given():
    mask = Mask(0.5, channels=False).train()
    mask.logit = torch.tensor(-1.0, dtype=torch.float64).requires_grad_()
    torch.manual_seed(0)
    drawn = mask(torch.ones(RUNS, 1, dtype=torch.float64))
    rate = mask.logit.detach().sigmoid()
    kept = drawn.detach() * (1 - rate)
    assert (kept - kept.round()).abs().median() < 0.01
    # Rounded, the mask is exact: the logistic noise is below minus the logit with the chance of keeping.
    assert abs(kept.round().mean() - (1 - rate)) < SIGMAS * (rate * (1 - rate) / RUNS).sqrt()
    (drawn * torch.sigmoid(-mask.logit)).mean().backward()
    # d/dp of the chance of keeping is -1, and dp/dlogit is p (1 - p); the relaxation is off by a few per cent.
    assert mask.logit.grad == pytest.approx(float(-rate * (1 - rate)), rel=0.1)


def test_a_mask_is_read_by_the_next_layer_with_weights():
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Dropout2d(0.1), nn.Flatten(), nn.Linear(8, 4), nn.Dropout(0.2), nn.ReLU()
    )
    found = traced(with_masks(network, None), torch.randn(3, 1, 4, 4))
    assert found == {"2": ["4.weight", "4.bias"], "5": []}


def test_one_rate_for_all():
    network = nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 2), nn.Dropout(0.4))
    assert [mask.rate for mask in masks_of(with_masks(network, 0.2)).values()] == [0.2, 0.2]
    assert isinstance(network[0], nn.Dropout)


class Functional(nn.Module):
    def __init__(self, drop):
        super().__init__()
        self.layer, self.own, self.drop = nn.Linear(3, 3), nn.Dropout(0.1), drop

    def forward(self, x):
        return self.drop(self, self.own(self.layer(x)))


FUNCTIONAL = {
    "dropout": lambda self, x: F.dropout(x, 0.3, self.training),
    "dropout2d": lambda self, x: F.dropout2d(x[..., None, None], training=self.training)[..., 0, 0],
    "alpha_dropout": lambda self, x: F.alpha_dropout(x, p=0.3, training=self.training),
}


@pytest.mark.parametrize("name", FUNCTIONAL)
def test_functional_dropout_is_found(name):
    network = with_masks(Functional(FUNCTIONAL[name]), None)
    with pytest.raises(ValueError, match=rf"the network calls F\.{name}"):
        traced(network, torch.randn(4, 3))
    assert not network.training or network.layer.training


def test_functional_dropout_that_drops_nothing_is_no_fault():
    traced(with_masks(Functional(lambda self, x: F.dropout(x, 0.0, self.training)), None), torch.randn(4, 3))
    traced(with_masks(Functional(lambda self, x: F.dropout(x, 0.5, training=False)), None), torch.randn(4, 3))


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Linear(2, 1)), "needs an nn.Dropout layer.*dropout=0.1"),
        (nn.Sequential(nn.AlphaDropout(0.1), nn.Linear(2, 1)), "must be nn.Dropout, 1d, 2d or 3d; '0' is nn.Alpha"),
        (nn.Sequential(nn.LSTM(2, 2, num_layers=2, dropout=0.1)), "must be a layer of its own; '0', nn.LSTM"),
        (nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 1)), "rate must lie between 0 and 1; layer '0' has 0.0"),
    ],
    ids=["none", "alpha", "inside", "zero"],
)
def test_what_cannot_be_masked_gets_a_sentence(network, words):
    with pytest.raises(ValueError, match=words):
        with_masks(network, None)


def test_a_layer_used_twice_gets_a_sentence():
    drop = nn.Dropout(0.1)
    once = with_masks(nn.Sequential(drop, nn.Linear(2, 2)), None)
    twice = nn.Sequential(once[0], once[1], once[0])
    with pytest.raises(ValueError, match=r"used once in a forward pass.*used 2 times"):
        traced(twice, torch.randn(3, 2))
