"""A network at every draw, beside the network itself with each draw put in."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from bayesnn import networks
from bayesnn.at_draws import _NUMBERS_AT_ONCE, at_draws, plan


class Recurrent(nn.Module):
    """What torch cannot vectorise."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(4, 3, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0][:, -1]


@pytest.mark.parametrize(
    "network",
    [networks.mlp((6, 4), 2), networks.conv_net((6, 4), 2), Recurrent()],
    ids=["mlp", "conv_net", "recurrent"],
)
def test_outputs_are_those_of_the_network_with_each_draw_put_in(network):
    torch.manual_seed(0)
    draws = {name: torch.randn(3, *value.shape).double() for name, value in network.named_parameters()}
    x = torch.randn(300, 6, 4).double()

    def run(weights, x):
        return functional_call(network, weights, (x,))

    found = at_draws(network, draws, x)
    for s in range(3):
        torch.testing.assert_close(found[s], run({name: value[s] for name, value in draws.items()}, x))


def test_inputs_of_many_blocks_stay_in_order():
    torch.manual_seed(0)
    network = Recurrent()
    draws = {name: torch.randn(2, *value.shape) for name, value in network.named_parameters()}
    x = torch.randn(4600, 6, 4)
    chosen = plan(network, draws, x)
    assert chosen.way == "in turn"
    assert len(x) > 11 * chosen.inputs_at_once  # more blocks than a draw sees in its turn
    found = at_draws(network, draws, x)
    for s in range(2):
        wanted = functional_call(network, {name: value[s] for name, value in draws.items()}, (x,))
        torch.testing.assert_close(found[s], wanted)


class Overwriting(nn.Module):
    """What torch can vectorise, and changes its inputs."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 2)

    def forward(self, x):
        x -= 1
        return self.layer(torch.sin(x.mul_(2)))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(
    ("network", "way"),
    [
        (nn.Sequential(nn.ELU(inplace=True), nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 2, 6), nn.Flatten()), "in turn"),
        (
            nn.Sequential(nn.Linear(6, 6), nn.LeakyReLU(inplace=True), nn.ELU(inplace=True), nn.Linear(6, 2)),
            "stacked",
        ),
        (nn.Sequential(nn.ELU(inplace=True), nn.Linear(6, 2)), "stacked"),
        (Overwriting(), "vectorised"),
    ],
    ids=["in turn", "stacked", "stacked, first", "vectorised"],
)
@pytest.mark.parametrize("shared", [False, True])
def test_a_network_may_overwrite_its_inputs(network, way, shared, mode, monkeypatch):
    """The next draw reads them as they were."""
    monkeypatch.setattr("bayesnn.at_draws._WEIGHTS_AT_ONCE", 6 * 20)
    monkeypatch.setitem(_NUMBERS_AT_ONCE, "cpu", 4 * 20)
    torch.manual_seed(0)
    draws = {name: torch.randn(5, *value.shape) for name, value in network.named_parameters()}
    first = next(iter(draws))
    if shared and len(draws) > 2:
        draws |= {n: v[:1].expand_as(v) for n, v in draws.items() if n[0] == first[0]}
    x = torch.randn(20, 6)
    given = x.clone()
    with mode():
        assert plan(network, draws, x).way == way
        assert way == "in turn" or plan(network, draws, x).draws_at_once < 5
        found = at_draws(network, draws, x, lambda x: x / 2)
        wanted = [functional_call(network, {n: v[s] for n, v in draws.items()}, (given / 2,)) for s in range(5)]
    torch.testing.assert_close(found, torch.stack(wanted))
    assert torch.equal(x, given)


def test_outputs_of_a_network_of_ones_own_are_bounded():
    """A wide layer's, which could be many times the inputs and the weights."""
    network = nn.Sequential(nn.Linear(1, 1024), nn.Softmax(-1), nn.Linear(1024, 1))
    draws = {name: torch.randn(1, *value.shape).expand(200, *value.shape) for name, value in network.named_parameters()}
    draws["2.bias"] = torch.randn(200, 1)
    chosen = plan(nn.ModuleList([network]), draws, torch.randn(1000, 1))
    assert chosen.way == "vectorised"
    assert chosen.draws_at_once * chosen.inputs_at_once * 1024 <= 2**22


class Decay(nn.Module):
    """A network of single numbers."""

    def __init__(self):
        super().__init__()
        self.start, self.rate = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.start * torch.exp(-self.rate * x)


def test_single_numbers_are_weights_too():
    draws, x = {"start": torch.randn(5), "rate": torch.rand(5)}, torch.rand(7, 1)
    found = at_draws(Decay(), draws, x)
    torch.testing.assert_close(found, draws["start"][:, None, None] * torch.exp(-draws["rate"][:, None, None] * x))


def test_the_words_of_an_embedding_are_no_outputs():
    network = nn.ModuleDict({"words": nn.Embedding(5000, 4), "last": nn.Linear(4, 1)})
    draws = {name: torch.randn(100, *value.shape) for name, value in network.named_parameters()}
    assert plan(network, draws, torch.zeros(1000, 3)).draws_at_once == 100


class Counted(nn.Module):
    """Says how many rows it has seen."""

    def __init__(self):
        super().__init__()
        self.scale, self.rows = nn.Parameter(torch.ones(1)), 0

    def forward(self, x):
        self.rows += len(x)
        return self.scale * x


@pytest.mark.parametrize("last", ["stacked", "in turn"])
def test_what_is_the_same_at_all_draws_sees_each_input_once(last):
    torch.manual_seed(0)
    rest = (
        [nn.Linear(16 * 6, 2)] if last == "stacked" else [nn.Unflatten(1, (16, 6)), nn.Conv1d(16, 2, 6), nn.Flatten()]
    )
    counted = Counted()
    network = nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), counted, nn.Flatten(), *rest
    ).double()
    x = torch.randn(700, 6, 4).double()
    draws = {name: value.expand(3, *value.shape) for name, value in network.named_parameters()}
    draws |= {n: torch.randn(3, *v.shape[1:]).double() for n, v in draws.items() if n.startswith(("5.", "6."))}
    found = at_draws(network, draws, x)
    assert counted.rows == len(x)
    assert plan(network, draws, x).way == last
    for s in range(3):
        wanted = functional_call(network, {name: value[s] for name, value in draws.items()}, (x,))
        torch.testing.assert_close(found[s], wanted)


def test_a_layer_used_twice_is_not_parted():
    torch.manual_seed(0)
    twice = nn.Conv1d(1, 1, 3, padding=1)
    network = nn.Sequential(nn.Unflatten(1, (1, 6)), twice, nn.Conv1d(1, 1, 1), twice, nn.Flatten(), nn.Linear(6, 2))
    x = torch.randn(30, 6)
    draws = {n: torch.randn(3, *v.shape) if n.startswith("2") else v.expand(3, *v.shape)
             for n, v in network.named_parameters()}  # fmt: skip
    found = at_draws(network, draws, x)
    for s in range(3):
        wanted = functional_call(network, {name: value[s] for name, value in draws.items()}, (x,))
        torch.testing.assert_close(found[s], wanted)


class Watched(nn.Conv2d):
    """Says how many rows it has seen at once."""

    most = 0

    def forward(self, x):
        self.most = max(self.most, len(x))
        return super().forward(x)


def test_of_big_pictures_few_are_run_at_once():
    """Maps of many at once would not fit into a processor's cache, nor of any number into memory."""
    layer = Watched(3, 1, 3)
    network = nn.Sequential(layer, nn.Flatten(), nn.Linear(126 * 126, 2))
    x = torch.randn(24, 3, 128, 128)
    draws = {name: torch.randn(2, *value.shape) for name, value in network.named_parameters()}
    found = at_draws(network, draws, x)
    assert layer.most == plan(network, draws, x).inputs_at_once == 10
    wanted = functional_call(network, {name: value[1] for name, value in draws.items()}, (x,))
    torch.testing.assert_close(found[1], wanted, rtol=1e-4, atol=1e-4)
