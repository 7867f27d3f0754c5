"""LastLayer: draws of the last layer predict what the whole network at these draws predicts."""

import torch

from bayesnn import BayesianNeuralNetwork, Predictive, likelihoods, networks
from bayesnn.conjugate import Posterior
from bayesnn.heads import LastLayer


def known(likelihood=likelihoods.gaussian, num_outputs=1, y=None):
    x = 5 + 3 * torch.randn(20, 3)
    y = 100 + 20 * torch.randn(20) if y is None else y
    return BayesianNeuralNetwork(networks.mlp(3, num_outputs), likelihood=likelihood).for_data(x, y), x


def draws(number, num_outputs=1):
    noise = {"noise_scale": torch.full((number,) if num_outputs == 1 else (number, num_outputs), 0.7)}
    return {"2.weight": torch.randn(number, num_outputs, 50), "2.bias": torch.randn(number, num_outputs)} | noise


def test_predicts_what_the_whole_network_predicts():
    model, x = known()
    head = LastLayer.of(model, model.start(), x[:5])
    some = draws(4)
    body = {name: value.expand(4, *value.shape) for name, value in model.start().items() if name.startswith("0")}
    wanted = model.predict(body | some, x)
    for found in (head.predict(some, x), head.predictive(some, x).members):
        torch.testing.assert_close(found.mean, wanted.mean)
        torch.testing.assert_close(found.stddev, wanted.stddev)
    assert head.predictive(some, x).mixture is None
    assert (head.name, head.input_words) == ("last layer of a Gaussian network", "(N, 3)")


def test_coefficients_and_parameters_are_inverse():
    model, x = known(num_outputs=2, y=torch.randn(20, 2))
    head = LastLayer.of(model, model.start(), x)
    some = draws(4, 2)
    coefficients = head.joined(some)
    assert coefficients.shape == (4, 2, 51)
    back = head.split(coefficients)
    assert list(back) == ["2.weight", "2.bias"]
    assert all(torch.equal(value, some[name]) for name, value in back.items())
    outputs = head.design(head.features(x)) @ coefficients.mT
    torch.testing.assert_close(outputs, head.body.outputs(head.features(x), some))


def test_mixture_is_the_limit_of_many_draws():
    """80 moments over 4000 draws, each within 6 standard errors: right code fails with a chance of 2e-7."""
    model, x = known(num_outputs=2, y=torch.randn(20, 2))
    model, x = model.double(), x.double()
    torch.manual_seed(1)
    posterior = Posterior(torch.randn(2, 51).double(), 0.1 * torch.randn(2, 51, 51).double())
    head = LastLayer.of(model, model.start(), x)
    head = LastLayer(head.model, head.body, posterior)
    some = head.split(posterior.draws(4000, seed=2)) | {"noise_scale": torch.full((4000, 2), 0.7).double()}
    closed = head.predictive(some, x)
    sampled = Predictive(closed.members)
    assert closed.mixture is not None
    spread = closed.variance - 0.7**2
    assert ((closed.mean - sampled.mean).abs() < 6 * (spread / 4000).sqrt()).all()
    assert ((closed.variance - sampled.variance).abs() < 6 * spread * (2 / 4000) ** 0.5).all()
    assert not ((spread - sampled.variance).abs() < 6 * spread * (2 / 4000) ** 0.5).all()


def test_moves_with_everything():
    model, x = known()
    head = LastLayer.of(model, model.start(), x)
    head = LastLayer(head.model, head.body, Posterior(torch.zeros(1, 51).double(), torch.eye(51)[None].double()))
    moved = head.to(torch.device("cpu"))
    some = draws(3)
    assert torch.equal(moved.predictive(some, x).mean, head.predictive(some, x).mean)
    assert moved.model is not head.model
    assert moved.body.network is not head.body.network
