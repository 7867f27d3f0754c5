"""Networks at many draws at once, beside each with its own weights put in."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from bayesnn import networks
from bayesnn.masks import masks_of, with_masks
from bayesnn.stacked import Stacked

S, FEW, MANY = 4, 7, 20


def tied():
    network = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3))
    network[2].weight = network[0].weight
    return network


def one_activation():
    twice = nn.Tanh()
    return nn.Sequential(nn.Linear(3, 4), twice, nn.Linear(4, 4), twice, nn.Linear(4, 2))


def one_layer():
    twice = nn.Linear(3, 3)
    return nn.Sequential(twice, nn.Tanh(), twice)


def held():
    """With a bias that is held still: no site, so that no draw has it."""
    layer = nn.Linear(3, 2)
    bias = layer.bias.detach()
    del layer.bias
    layer.register_buffer("bias", bias)
    return layer


class Doubled(nn.Sequential):
    """A sequence that does more than its parts."""

    def forward(self, x):
        return 2 * super().forward(x)


NETWORKS = {
    "perceptron": (lambda: networks.mlp(3, 2, hidden=(5, 4), activation="tanh"), (3,)),
    "pictures": (lambda: networks.mlp((2, 3), 2, hidden=5, activation="gelu"), (2, 3)),
    "linear": (lambda: nn.Linear(3, 2), (3,)),
    "no bias": (lambda: nn.Sequential(nn.Linear(3, 4, bias=False), nn.SiLU(), nn.Linear(4, 2, bias=False)), (3,)),
    "tied": (tied, (3,)),
    "one activation twice": (one_activation, (3,)),
    "one layer twice": (one_layer, (3,)),
    "one output": (lambda: networks.mlp(3, 1, hidden=5), (3,)),
    "normalised": (lambda: nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2)), (3,)),
    "no gain": (lambda: nn.Sequential(nn.LayerNorm(3, elementwise_affine=False), nn.Linear(3, 2)), (3,)),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Identity(), nn.Linear(4, 2)), (3,)),
    "relu first": (lambda: nn.Sequential(nn.ReLU(), nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)), (3,)),
    "more axes": (lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Flatten(), nn.Linear(8, 2)), (2, 3)),
    "more axes, some flattened": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Flatten(2, 3), nn.Linear(8, 2)), (5, 2, 3)),
    "dropout in eval mode": (lambda: networks.mlp(3, 2, hidden=5, dropout=0.5).eval(), (3,)),
}  # fmt: skip


def case(name, rows=MANY):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = make().double()
    draws = {n: torch.randn(S, *value.shape, dtype=torch.float64) for n, value in network.named_parameters()}
    return network, draws, torch.randn(rows, *shape, dtype=torch.float64)


def one_by_one(network, draws, inputs):
    each = [{name: value[s] for name, value in draws.items()} for s in range(S)]
    return torch.stack([functional_call(network, one, (x,)) for one, x in zip(each, inputs, strict=True)])


@pytest.mark.parametrize(
    "shared", [(), ("weight", "bias"), ("0.",)], ids=["all differ", "all the same", "first the same"]
)
@pytest.mark.parametrize("rows", [1, FEW, MANY])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_those_of_each_network_alone(name, rows, shared):
    network, draws, x = case(name, rows)
    draws = {n: v[:1].expand_as(v) if any(part in n for part in shared) else v for n, v in draws.items()}
    stacked = Stacked.of(network)
    torch.testing.assert_close(stacked(draws, x), one_by_one(network, draws, [x] * S))
    own = torch.randn(S, *x.shape, dtype=torch.float64)
    torch.testing.assert_close(stacked(draws, own, each_its_own=True), one_by_one(network, draws, own))


@pytest.mark.parametrize("shared", [False, True])
def test_inputs_and_weights_stay_as_they_are(shared):
    network, draws, x = case("relu first")
    draws = {n: v[:1].expand_as(v) if shared else v for n, v in draws.items()}
    given = {name: value.clone() for name, value in draws.items()}, x.clone()
    Stacked.of(network)(draws, x)
    torch.testing.assert_close((draws, x), given, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["perceptron", "relu first", "nested"])
@pytest.mark.parametrize("rows", [FEW, MANY])
def test_gradients_are_those_of_each_network_alone(name, rows):
    network, draws, x = case(name, rows)
    leaves = [value.requires_grad_() for value in draws.values()]
    found = torch.autograd.grad(Stacked.of(network)(draws, x).square().sum(), leaves)
    torch.testing.assert_close(found, torch.autograd.grad(one_by_one(network, draws, [x] * S).square().sum(), leaves))


@pytest.mark.parametrize("rows", [1, FEW, 50])
def test_masks_are_one_for_each_draw_and_what_is_in_front_of_them_is_run_once(rows):
    """With few rows they are masked, with many the weights behind them."""
    torch.manual_seed(0)
    network = with_masks(nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Dropout(0.4), nn.Linear(6, 2)), None).double()
    fixed = {name: value.detach().expand(S, *value.shape) for name, value in network.named_parameters()}
    (name,) = masks_of(network)
    draws = fixed | {f"{name}.mask": (torch.rand(S, 6) < 0.6).double() / 0.6}
    x = torch.randn(rows, 3, dtype=torch.float64)
    torch.testing.assert_close(Stacked.of(network)(draws, x), one_by_one(network, draws, [x] * S))
    with FlopCounterMode(display=False) as counter:
        Stacked.of(network)(draws, x)
    assert counter.get_total_flops() == 2 * (rows * 3 * 6 + S * rows * 6 * 2)
    network[1].register_forward_hook(lambda module, inputs, output: 2 * output)
    assert Stacked.of(network) is None  # a hook may do anything


@pytest.mark.parametrize(
    "network",
    [
        networks.conv_net((4, 4), 2),
        nn.Sequential(nn.Linear(3, 2), nn.Softmax(1)),
        nn.Sequential(nn.Embedding(3, 2), nn.Flatten()),
        Doubled(nn.Linear(3, 2)),
        nn.Sequential(nn.Flatten(0), nn.Linear(3, 2)),
        held(),
        nn.GRU(3, 2),
    ],
    ids=lambda network: type(network).__name__,
)
def test_other_layers_are_left_to_others(network):
    assert Stacked.of(network) is None
