"""The passes that are written out against autograd through the network itself."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from bayesnn import BayesianNeuralNetwork, likelihoods, networks
from bayesnn.flat_elbo import FlatELBO
from bayesnn.flat_points import FlatPoints
from bayesnn.guides import AutoNormal
from bayesnn.masks import with_masks
from bayesnn.points import Objective
from bayesnn.reparameterisation import Noise, PerDatumNoise
from bayesnn.written_out import Variances, WrittenOut

ROWS = 7


def layers(*modules):
    return nn.Sequential(*modules).double()


def one_activation():
    twice = nn.Tanh()
    return layers(nn.Linear(3, 5), twice, nn.Linear(5, 4), twice, nn.Linear(4, 1))


NETWORKS = {
    "one activation twice": (one_activation, (3,)),
    "relu": (lambda: networks.mlp(3, 2, hidden=(5, 4)), (3,)),
    "tanh": (lambda: networks.mlp(3, 2, hidden=5, activation="tanh"), (3,)),
    "silu": (lambda: networks.mlp(3, 2, hidden=5, activation="silu"), (3,)),
    "gelu": (lambda: networks.mlp(3, 2, hidden=5, activation="gelu"), (3,)),
    "gelu by tanh": (lambda: layers(nn.Linear(3, 5), nn.GELU("tanh"), nn.Linear(5, 1)), (3,)),
    "sigmoid at the end": (lambda: layers(nn.Linear(3, 5), nn.Identity(), nn.Sigmoid()), (3,)),
    "no biases": (lambda: layers(nn.Linear(3, 5, bias=False), nn.ReLU(), nn.Linear(5, 1, bias=False)), (3,)),
    "no activation": (lambda: layers(nn.Linear(3, 5), nn.Linear(5, 1)), (3,)),
    "pictures": (lambda: networks.mlp((2, 3), 2, hidden=5), (2, 3)),
    "silu in place": (lambda: layers(nn.Linear(3, 5), nn.SiLU(inplace=True), nn.Linear(5, 1)), (3,)),
    "relu in place": (lambda: layers(nn.Linear(3, 5), nn.ReLU(inplace=True), nn.Linear(5, 1)), (3,)),
}


def made(name, number=0):
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    network, lead = make().double(), (number,) if number else ()
    values = {
        n: torch.randn(*lead, *value.shape, dtype=torch.float64, requires_grad=True)
        for n, value in network.named_parameters()
    }
    x = torch.randn(*lead, ROWS, *shape, dtype=torch.float64)
    slopes = {n: torch.full_like(value, 0.5) for n, value in values.items()}  # what is there is added to
    return network, values, x, slopes


@pytest.mark.parametrize("number", [0, 3], ids=["one", "three"])
@pytest.mark.parametrize("name", NETWORKS)
def test_passes_are_those_of_autograd(name, number):
    network, values, x, slopes = made(name, number)
    run = vmap(lambda at, rows: functional_call(network, at, (rows,))) if number else None
    expected = run(values, x) if run else functional_call(network, values, (x,))
    slope = torch.randn_like(expected)
    expected.backward(slope)
    with torch.no_grad():
        passes = WrittenOut.of(network, x[0] if number else x, values, slopes)
        for _ in range(2):
            outputs = passes(x)
        passes.backward(slope)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    for n, value in values.items():
        torch.testing.assert_close(slopes[n] - 0.5, value.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", NETWORKS)
def test_passes_with_noise_are_those_of_local_reparameterisation(name):
    network, values, x, slopes = made(name)
    scales = {n: (0.1 + torch.rand_like(value)).requires_grad_() for n, value in values.items()}
    torch.manual_seed(1)
    with PerDatumNoise(values, {n: Noise(values[n], scale) for n, scale in scales.items()}):
        expected = functional_call(network, values, (x,))
    slope = torch.randn_like(expected)
    expected.backward(slope)
    squares = {n: scale.detach().square() for n, scale in scales.items()}
    by_variance = {n: torch.zeros_like(value) for n, value in squares.items()}
    torch.manual_seed(1)
    with torch.no_grad():
        passes = WrittenOut.of(network, x, values, slopes, Variances(squares, by_variance))
        outputs = passes(x)
        passes.backward(slope)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    for n, value in values.items():
        torch.testing.assert_close(slopes[n] - 0.5, value.grad, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(by_variance[n] * scales[n], scales[n].grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (2, 3)], ids=["columns", "pictures"])
def test_passes_with_dropout_are_those_of_autograd(shape):
    torch.manual_seed(0)
    network = with_masks(networks.mlp(shape if len(shape) > 1 else 3, 2, hidden=(5, 4), dropout=0.4), None).double()
    values = {n: torch.randn_like(value).requires_grad_() for n, value in network.named_parameters()}
    x, slopes = torch.randn(ROWS, *shape).double(), {n: torch.zeros_like(value) for n, value in values.items()}
    torch.manual_seed(1)
    expected = functional_call(network.train(), values, (x,))
    slope = torch.randn_like(expected)
    expected.backward(slope)
    torch.manual_seed(1)
    with torch.no_grad():
        passes = WrittenOut.of(network, x, values, slopes)
        outputs = passes(x)
        passes.backward(slope)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    for n, value in values.items():
        torch.testing.assert_close(slopes[n], value.grad, rtol=1e-10, atol=1e-12)
    held = {n: value.detach() for n, value in values.items()}
    assert WrittenOut.of(network.eval(), x, held, slopes) is None  # masks held still are not drawn


def hooked():
    network = networks.mlp(3, 1)
    network[1].register_forward_hook(lambda module, given, out: 2 * out)
    return network


def own_forward():
    network = networks.mlp(3, 1, activation="tanh")
    network[1].forward = torch.sin
    return network


class Backwards(nn.Flatten):
    """Flattens in an order of its own."""

    def forward(self, x):
        return super().forward(x).flip(1)


def held(*names):
    """With parameters that are buffers: frozen."""
    network = networks.mlp(3, 1)
    for name in names:
        value = getattr(network[2], name).detach()
        delattr(network[2], name)
        network[2].register_buffer(name, value)
    return network


def twice():
    layer = nn.Linear(3, 3)
    return nn.Sequential(layer, nn.Tanh(), layer)


class Doubled(nn.Linear):
    """A linear layer of one's own."""

    def forward(self, x):
        return 2 * super().forward(x)


@pytest.mark.parametrize(
    "make",
    [
        hooked,
        own_forward,
        lambda: nn.Sequential(Backwards(), nn.Linear(3, 1)),
        partial(held, "weight"),
        partial(held, "bias"),
        partial(held, "weight", "bias"),
        twice,
        lambda: nn.Linear(3, 1),
        lambda: nn.Sequential(Doubled(3, 1)),
        lambda: nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1)),
        lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1)),
        lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Tanh()),
        lambda: nn.Sequential(nn.Tanh(), nn.Linear(3, 1)),
        lambda: nn.Sequential(nn.Sequential(nn.Linear(3, 1))),
        lambda: nn.Sequential(nn.Identity()),
    ],
    ids=["hook", "own forward", "own flatten", "weight held", "bias held", "layer held",
         "shared layer", "no sequence", "own layer", "norm", "dropout", "two activations", "activation first",
         "nested", "no layer"],
)  # fmt: skip
def test_other_networks_are_left_to_autograd(make):
    network = make()
    values = {name: value.detach() for name, value in network.named_parameters()}
    assert WrittenOut.of(network, torch.zeros(2, 3), values, values) is None


def test_other_inputs_are_left_to_autograd():
    network = networks.mlp(3, 1)
    values = {name: value.detach() for name, value in network.named_parameters()}
    assert WrittenOut.of(network, torch.zeros(2, 3), values, values) is not None
    assert WrittenOut.of(network, torch.zeros(2, 3).long(), values, values) is None
    assert WrittenOut.of(network, torch.zeros(2, 4, 3), values, values) is None  # an axis of the network's own
    with torch.autocast("cpu", torch.bfloat16):
        assert WrittenOut.of(network, torch.zeros(2, 3), values, values) is None
    some = Variances({"0.weight": values["0.weight"]}, values)
    assert WrittenOut.of(network, torch.zeros(2, 3), values, values, some) is None


def test_fits_of_perceptrons_take_these_passes():
    """So that the tests of `FlatELBO` and `FlatPoints` against their references are tests of these passes too."""
    x = torch.randn(20, 3)
    model = BayesianNeuralNetwork(networks.mlp(3, 1), likelihood=likelihoods.gaussian).for_data(x, x.sum(1))
    guide = AutoNormal(model, x, x.sum(1))
    for sites in ([], list(model.priors())):
        assert FlatELBO(model, guide, x, x.sum(1), per_datum=sites)._passes is not None
    free = Objective(model, x).free(model.start())
    assert all(FlatPoints(model, x, x.sum(1), [free] * number)._passes is not None for number in (1, 2))
