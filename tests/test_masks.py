"""Masks in the place of dropout layers, against torch's own layers in train mode."""

import copy

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
    assert found == {"2": ["4.weight"], "5": []}


READ = {
    "linear": (nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 2)), (6,), "1.weight"),
    "through a relu": (nn.Sequential(nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 2)), (6,), "2.weight"),
    "through a learnt relu": (nn.Sequential(nn.Dropout(0.5), nn.PReLU(), nn.Linear(6, 2)), (6,), "2.weight"),
    "convolution": (nn.Sequential(nn.Dropout2d(0.5), nn.Conv2d(6, 2, 3)), (6, 4, 4), "1.weight"),
}


@pytest.mark.parametrize(("network", "shape", "weight"), READ.values(), ids=READ)
def test_a_mask_is_one_on_the_columns_of_the_weight_that_reads_it(network, shape, weight):
    masked, x = with_masks(network, None), torch.randn(5, *shape)
    assert traced(masked, x) == {"0": [weight]}
    masked[0].mask = masked[0].draws(1, like=x)[0]
    plain = copy.deepcopy(network).eval()
    value = plain.get_parameter(weight)
    columns = {weight: value * masked[0].mask.reshape(1, 6, *[1] * (value.ndim - 2))}
    torch.testing.assert_close(masked(x), torch.func.functional_call(plain, columns, (x,)))
    assert not torch.allclose(masked(x), plain(x))


class Shared(nn.Module):
    """Two layers with one weight, or one layer that is used twice."""

    def __init__(self, tied):
        super().__init__()
        self.first, self.drop, self.second = nn.Linear(3, 3), nn.Dropout(0.1), nn.Linear(3, 3)
        self.tied = tied
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x):
        return (self.second if self.tied else self.first)(self.drop(self.first(x)))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop, self.attention = nn.Dropout(0.1), nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        x = self.drop(x)
        return self.attention(x, x, x)[0]


UNREAD = {
    "layer norm": (nn.Sequential(nn.Dropout(0.1), nn.LayerNorm(6), nn.Linear(6, 2)), (6,)),
    "without gain": (nn.Sequential(nn.Dropout(0.1), nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 2)), (6,)),
    "group norm": (nn.Sequential(nn.Dropout2d(0.1), nn.GroupNorm(2, 6), nn.Conv2d(6, 2, 3)), (6, 4, 4)),
    "instance norm": (nn.Sequential(nn.Dropout2d(0.1), nn.InstanceNorm2d(6), nn.Conv2d(6, 2, 3)), (6, 4, 4)),
    "recurrent": (nn.Sequential(nn.Dropout(0.1), nn.GRU(6, 2)), (6,)),
    "attention": (Attention(), (3, 4)),
    "a tied weight": (Shared(tied=True), (3,)),
    "a layer used twice": (Shared(tied=False), (3,)),
}


@pytest.mark.parametrize(("network", "shape"), UNREAD.values(), ids=UNREAD)
def test_no_weight_is_masked_where_more_than_the_mask_is_read(network, shape):
    assert [*traced(with_masks(network, None), torch.randn(5, *shape)).values()] == [[]]


def test_one_rate_for_all():
    network = nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 2), nn.Dropout(0.4))
    assert [mask.rate for mask in masks_of(with_masks(network, 0.2)).values()] == [0.2, 0.2]
    assert isinstance(network[0], nn.Dropout)


def test_a_layer_that_drops_nothing_stays_as_it_is():
    network = nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 2), nn.Dropout(0.4), nn.Linear(2, 1))
    masked = with_masks(network, None)
    assert [(name, mask.rate) for name, mask in masks_of(masked).items()] == [("2", 0.4)]
    assert traced(masked, torch.randn(3, 2)) == {"2": ["3.weight"]}


class Own(nn.Module):
    """A user's own layer that keeps its rate as a number, and drops out by a layer, as it should."""

    def __init__(self):
        super().__init__()
        self.dropout = 0.3
        self.layer, self.drop = nn.Linear(3, 3), nn.Dropout(self.dropout)

    def forward(self, x):
        return self.layer(self.drop(x))


def test_a_number_named_dropout_is_no_fault():
    masked = with_masks(nn.Sequential(Own(), nn.Linear(3, 1)), None)
    assert traced(masked, torch.randn(4, 3)) == {"0.drop": ["0.layer.weight"]}


class Transformer(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.encoder = nn.TransformerEncoderLayer(4, 2, 8, dropout=inner, batch_first=True)
        self.drop, self.out = nn.Dropout(0.1), nn.Linear(4, 1)

    def forward(self, x):
        return self.out(self.drop(self.encoder(x).mean(1)))


@pytest.mark.parametrize("rate", [None, 0.3])
def test_masks_stand_around_a_transformer_layer_and_not_inside(rate):
    """Inside, torch's fast path of eval mode would pass them by."""
    masked, x = with_masks(Transformer(0.0), rate).eval(), torch.randn(5, 3, 4)
    assert traced(masked, x) == {"drop": ["out.weight"]}
    with torch.no_grad():
        before = masked(x)
        masked.encoder.dropout1 = Mask(0.1, channels=False).eval()
        masked.encoder.dropout1.mask = torch.zeros(())
        assert torch.equal(masked(x), before)  # once this fails, the refusal has lost its reason


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
    "scaled_dot_product_attention": lambda self, x: F.scaled_dot_product_attention(
        *[x[:, None]] * 3, dropout_p=0.3 * self.training
    )[:, 0],
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
        (nn.MultiheadAttention(2, 1, dropout=0.1), "must be a layer of its own; '', nn.MultiheadAttention"),
        (Transformer(0.2), "must be a layer of its own; 'encoder', nn.TransformerEncoderLayer"),
        (nn.Sequential(nn.Dropout(0.0), nn.Linear(2, 1)), "rate must lie between 0 and 1; layer '0' has 0.0"),
    ],
    ids=["none", "alpha", "inside", "attention", "transformer", "zero"],
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
