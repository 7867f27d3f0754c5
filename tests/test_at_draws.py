"""A network at every draw, beside the network itself with each draw put in."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from bayesnn import networks
from bayesnn.at_draws import at_draws


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
