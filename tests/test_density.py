"""The log joint density against Pyro's own potential energy, at the same unconstrained values."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.mcmc.util import initialize_model

from bayesnn import BayesianNeuralNetwork, likelihoods, networks, priors
from bayesnn.density import Layout, LogJoint, TracedJoint, slope_of
from bayesnn.pyro_model import PyroModel


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    return x, 5 + 2 * x.sum(1)


PRIORS = {"normal": priors.normal(0.7), "heavy": priors.student_t(0.5), "fan-in": None}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_differences_are_those_of_pyros_potential(prior):
    x, y = data()
    torch.manual_seed(0)
    network = networks.mlp(3, 1, hidden=(4,)).double()
    model = BayesianNeuralNetwork(network, prior=prior, likelihood=likelihoods.gaussian).for_data(x, y)
    y = model.targets(y)
    joint = LogJoint(model, x, y)
    _, potential, transforms, _ = initialize_model(model, (x, y))
    points = joint.prior_draws(4)
    ours, theirs = [], []
    for z in points:
        values = joint.values(z)
        free = {name: transforms[name](value) if name in transforms else value for name, value in values.items()}
        ours.append(joint.potential(z))
        theirs.append(potential(free))
    ours, theirs = torch.stack(ours), torch.stack(theirs)
    # Equal but for the constant of the change of units.
    torch.testing.assert_close(ours - ours[0], theirs - theirs[0], rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(joint.vector(joint.values(points)), points)


def test_a_users_model_has_pyros_potential():
    x, y = data()

    def model(x, y=None):
        slope = pyro.sample("slope", dist.Normal(torch.zeros(3).double(), 1.0).to_event(1))
        noise = pyro.sample("noise", dist.LogNormal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("y", dist.Normal(x @ slope, noise), obs=y)

    joint = TracedJoint(PyroModel(model).for_data(x, y, len(x)), x, y)
    _, potential, transforms, _ = initialize_model(model, (x, y))
    ours, theirs = [], []
    for z in joint.prior_draws(3):
        values = joint.values(z)
        ours.append(joint.potential(z))
        theirs.append(potential({n: transforms[n](v) if n in transforms else v for n, v in values.items()}))
    ours, theirs = torch.stack(ours), torch.stack(theirs)
    torch.testing.assert_close(ours - ours[0], theirs - theirs[0], rtol=1e-9, atol=1e-7)


def test_a_layout_splits_what_it_joined():
    layout = Layout({"a": torch.Size([2, 3]), "b": torch.Size([])})
    parts = {"a": torch.randn(5, 2, 3), "b": torch.randn(5)}
    torch.testing.assert_close(layout.split(layout.join(parts)), parts)


@pytest.mark.parametrize("together", [True, False, None])
def test_slopes_of_all_data_are_the_potentials_gradients(together):
    x, y = data()
    model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=(4,)).double(), likelihood=likelihoods.gaussian)
    joint = LogJoint(model.for_data(x, y), x, y)
    z, batch = joint.prior_draws(3), [part.expand(3, *part.shape) for part in (x, y)]
    gradients, values = slope_of(joint, z, batch, True, together)(z, batch)
    for at, gradient, value in zip(z, gradients, values, strict=True):
        leaf = at.clone().requires_grad_()
        potential = joint.potential(leaf)
        torch.testing.assert_close(value, potential.detach())
        torch.testing.assert_close(gradient, torch.autograd.grad(potential, leaf)[0])


def test_slopes_of_halves_average_to_those_of_all_data():
    """A minibatch's likelihood counts for all data, the prior once."""
    x, y = data()
    model = BayesianNeuralNetwork(networks.mlp(3, 1, hidden=(4,)).double(), likelihood=likelihoods.gaussian)
    joint = LogJoint(model.for_data(x, y), x, y)
    z = joint.prior_draws(1)
    slope = slope_of(joint, z, [x[None], y[None]], False)
    halves = [slope(z, [x[None, rows], y[None, rows]]) for rows in (slice(0, 6), slice(6, 12))]
    for half_sum, whole in zip(
        (sum(parts) for parts in zip(*halves, strict=True)), slope(z, [x[None], y[None]]), strict=True
    ):
        torch.testing.assert_close(half_sum / 2, whole)
