"""Networks have the asked-for shapes, layers and nothing at the end that bounds their outputs."""

import numpy as np
import pytest
import torch
from torch import nn

from bayesnn.networks import conv_net, mlp


@pytest.mark.parametrize("num_rows", [1, 7])
@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (mlp(3, 2), (3,)),
        (mlp(3, 2, hidden=()), (3,)),
        (mlp((8, 8), 2, hidden=(5, 4)), (8, 8)),
        (conv_net((8, 8), 2), (8, 8)),
        (conv_net((3, 8, 12), 2, channels=(4,)), (3, 8, 12)),
        (conv_net((9, 7), 2), (9, 7)),
    ],
    ids=["mlp", "linear", "mlp on pictures", "conv_net", "conv_net in colour", "conv_net of odd size"],
)
def test_rows_in_rows_out(network, shape, num_rows):
    assert network(torch.zeros(num_rows, *shape)).shape == (num_rows, 2)


def layers(network):
    return [type(module) for module in network]


@pytest.mark.parametrize(("name", "kind"), [("relu", nn.ReLU), ("silu", nn.SiLU), ("tanh", nn.Tanh), ("gelu", nn.GELU)])
def test_mlp_has_an_activation_after_every_hidden_layer_only(name, kind):
    network = mlp(3, 2, hidden=(5, 4), activation=name)
    assert layers(network) == [nn.Linear, kind, nn.Linear, kind, nn.Linear]
    assert [module.out_features for module in network[::2]] == [5, 4, 2]


def test_mlp_without_hidden_layers_is_linear():
    assert layers(mlp(3, 2, hidden=())) == [nn.Linear]


def test_mlp_flattens_pictures():
    pictures, flat = mlp((2, 3), 2), mlp(6, 2)
    flat.load_state_dict({f"{int(k[0]) - 1}{k[1:]}": v for k, v in pictures.state_dict().items()})
    x = torch.arange(24.0).reshape(4, 2, 3)
    assert torch.equal(pictures(x), flat(x.reshape(4, 6)))


def test_conv_net_takes_grey_pictures_as_one_channel():
    grey, one_channel = conv_net((8, 8), 2), conv_net((1, 8, 8), 2)
    for mine, theirs in zip(one_channel.parameters(), grey.parameters(), strict=True):
        mine.data.copy_(theirs)
    x = torch.arange(128.0).reshape(2, 8, 8) / 128
    assert torch.equal(grey(x), one_channel(x[:, None]))


def test_conv_net_halves_the_picture_at_every_convolution():
    network = conv_net((3, 8, 12), 2, channels=(4, 6))
    assert layers(network) == [nn.Conv2d, nn.ReLU, nn.MaxPool2d] * 2 + [nn.Flatten, nn.Linear]
    assert [(m.in_channels, m.out_channels) for m in network[:6:3]] == [(3, 4), (4, 6)]
    assert network[-1].in_features == 6 * 2 * 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp(0, 1), r"one unit at least; got widths \[0, 50, 1\]"),
        (lambda: mlp(3, 1, hidden=(4, 0)), r"one unit at least; got widths \[3, 4, 0, 1\]"),
        (lambda: mlp(3, 1, activation="sine"), "activation must be one of relu, silu, tanh, gelu; got 'sine'"),
        (lambda: conv_net((8, 8), 1, dropout=1.0), "dropout must be a rate from 0 up to 1; got 1.0"),
        (lambda: conv_net((8,), 1), r"shape must be \(H, W\) or \(C, H, W\); got \(8,\)"),
        (lambda: conv_net((8, 3), 1), r"2 poolings need pictures of 4 x 4 at least; got \(8, 3\)"),
    ],
)
def test_impossible_networks_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: mlp(None, 1), r"num_inputs must be a whole number or a shape of them; got None\. Write 3 or"),
        (lambda: mlp((2, None), 1), r"num_inputs must be .*; got \(2, None\)\. Write 3 or"),
        (lambda: mlp(2.5, 1), r"num_inputs must be .*; got 2\.5"),
        (lambda: mlp("3", 1), "num_inputs must be .*; got '3'"),
        (lambda: mlp(2, None), r"num_outputs must be a whole number; got None\. Write 1 for one target"),
        (lambda: mlp(2, 1, hidden=None), r"hidden must be whole numbers; got None\. Write hidden=\(50,\)"),
        (lambda: mlp(2, 1, hidden=(3, 4.5)), r"hidden must be whole numbers; got \(3, 4\.5\)"),
    ],
)
def test_numbers_of_units_are_whole_numbers(make, words):
    with pytest.raises(TypeError, match=words):
        make()


@pytest.mark.parametrize("number", [np.int64(2), torch.tensor(2), [2], np.array([2]), torch.Size([2])])
def test_whole_numbers_are_taken_of_any_kind(number):
    assert mlp(number, 1, hidden=number)[0].weight.shape == (2, 2)


def test_conv_net_has_dropout_before_its_linear_layer():
    *_, noise, last = conv_net((8, 8), 2, dropout=0.1)
    assert (noise.p, last.out_features) == (0.1, 2)
    assert not any(isinstance(module, nn.Dropout) for module in conv_net((8, 8), 2))
