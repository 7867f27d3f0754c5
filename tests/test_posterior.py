"""Draws of weights as a function from inputs to a predictive."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal
from torch.func import functional_call
from torch.testing import assert_close
from torch.utils.data import DataLoader, TensorDataset

from bayesnn import BayesianNeuralNetwork, Predictive, fit_ensemble, likelihoods, networks, priors
from bayesnn.guides import AutoNormal
from bayesnn.posterior import WeightPosterior
from bayesnn.streamed import Streamed

N, S = 12, 4


def fitted(network, x, y, likelihood=likelihoods.gaussian):
    """A posterior that was never fitted: draws of a guide as it starts."""
    model = BayesianNeuralNetwork(network, priors.normal(1.0), likelihood).for_data(x, y)
    guide = AutoNormal(model, x, y, init_scale=0.3)
    return WeightPosterior(model, guide.draws(S, 0), "svi", draws=guide.draws, guide=guide)


@pytest.fixture
def x():
    return 50 + 9 * torch.randn(N, 2).double()


@pytest.fixture
def posterior(x):
    return fitted(networks.mlp(2, 1, hidden=(4,)).double(), x, 1000 + 100 * torch.randn(N).double())


def moments(predictive):
    return predictive.members.mean, predictive.members.stddev


class Last(nn.Module):
    """A recurrent network's output at the last step."""

    def __init__(self, recurrent):
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(2, 1, batch_first=True), nn.Linear(2, 1)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0].mean(1))


NETWORKS = {
    "mlp": (lambda: networks.mlp(2, 1), (2,)),
    "dropout layer": (lambda: nn.Sequential(nn.Linear(2, 9), nn.Dropout(), nn.LayerNorm(9), nn.Linear(9, 1)), (2,)),
    "conv": (lambda: networks.conv_net((4, 4), 1, channels=(2,)), (4, 4)),
    "lstm": (lambda: Last(nn.LSTM(2, 4, batch_first=True)), (3, 2)),
    "gru": (lambda: Last(nn.GRU(2, 4, batch_first=True)), (3, 2)),
    "attention": (Attention, (3, 2)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_equal_a_loop_written_by_hand(name):
    make, shape = NETWORKS[name]
    network, x, y = make().double().eval(), torch.randn(N, *shape).double(), 5 + 3 * torch.randn(N).double()
    posterior = fitted(network, x, y)
    z = x / x.square().mean().sqrt() if len(shape) > 1 else (x - x.mean(0)) / x.std(0, correction=0)
    with torch.no_grad():
        for s, member in enumerate(moments_by_draw(posterior(x))):
            weights = {name: posterior.weights[name][s] for name, _ in network.named_parameters()}
            f = functional_call(network, weights, (z,)).squeeze(1)
            expected = Normal(y.mean() + y.std(correction=0) * f, posterior.weights["noise_scale"][s])
            assert_close(member, (expected.mean, expected.stddev))


def moments_by_draw(predictive):
    return list(zip(*moments(predictive), strict=True))


def test_classes_equal_a_loop_written_by_hand():
    network = nn.Sequential(nn.Embedding(6, 3), nn.Flatten(), nn.Linear(6, 3)).double()
    x = torch.randint(0, 6, (N, 2))
    posterior = fitted(network, x, torch.arange(N) % 3, likelihoods.categorical)
    predictive = posterior(x)
    for s in range(S):
        logits = functional_call(network, {name: value[s] for name, value in posterior.weights.items()}, (x,))
        assert_close(predictive.members.probs[s], Categorical(logits=logits.detach()).probs)


# Inputs


@pytest.mark.parametrize("at_once", [1, 5, N])
def test_inputs_in_chunks_equal_the_whole(monkeypatch, posterior, x, at_once):
    whole = moments(posterior(x))
    monkeypatch.setattr("bayesnn.streamed._FEW", 1)
    monkeypatch.setattr("bayesnn.streamed._AT_ONCE_OF_ITS_OWN", at_once)
    assert_close(moments(posterior(x)), whole)


@pytest.mark.parametrize(
    "batched",
    [
        lambda x: list(x.split(5)),
        lambda x: tuple(x.split(5)),
        lambda x: iter(x.split(5)),
        lambda x: (part.numpy() for part in x.split(5)),
        lambda x: DataLoader(TensorDataset(x, torch.zeros(N)), batch_size=5),
        lambda x: [(part, None) for part in x.split(5)],
        lambda x: x.numpy(),
        lambda x: x.tolist(),
    ],
    ids=["list", "tuple", "iterator", "arrays", "loader of pairs", "pairs", "array", "nested lists"],
)
def test_batches_arrays_and_lists_equal_the_whole(posterior, x, batched):
    predictive = posterior(batched(x))
    assert isinstance(predictive, Predictive)
    assert (predictive.num_samples, len(predictive)) == (S, N)
    assert_close(moments(predictive), moments(posterior(x)))


def test_inputs_of_another_type_are_taken(posterior, x):
    assert_close(moments(posterior(x.round().int())), moments(posterior(x.round())))


def test_calls_agree_and_change_nothing(posterior, x):
    state = torch.random.get_rng_state()
    before = {name: value.clone() for name, value in posterior.weights.items()}
    assert_close(moments(posterior(x)), moments(posterior(x)), rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert_close(posterior.weights, before, rtol=0, atol=0)


# Draws


def test_resampling_makes_other_draws_of_the_same_fit(posterior, x):
    more = posterior.resample(7, seed=3)
    assert (more.num_samples, posterior.num_samples) == (7, S)
    assert_close(more.weights, posterior.guide.draws(7, 3), rtol=0, atol=0)
    assert_close(posterior.resample(S, seed=0).weights, posterior.weights, rtol=0, atol=0)
    assert not torch.equal(posterior.resample(S, seed=1).weights["0.weight"], posterior.weights["0.weight"])
    assert posterior(x).num_samples == S
    assert more(x).num_samples == 7


def test_moving_is_a_copy_that_predicts_and_resamples_the_same(posterior, x):
    moved = posterior.to("cpu")
    assert moved is not posterior
    assert moved.model is not posterior.model
    assert moved.device == torch.device("cpu")
    assert_close(moments(moved(x)), moments(posterior(x)), rtol=0, atol=0)
    assert_close(moved.resample(3, seed=5).weights, posterior.resample(3, seed=5).weights, rtol=0, atol=0)
    alone = WeightPosterior(posterior.model, posterior.weights, "ensemble").to("cpu")
    assert_close(moments(alone(x)), moments(posterior(x)), rtol=0, atol=0)


def test_what_all_draws_share_is_moved_once(posterior):
    shared = {n: v[:1].expand_as(v) if n.startswith("0") else v for n, v in posterior.weights.items()}
    moved = replace(posterior, weights=shared).to("cpu").weights
    assert {name for name, value in moved.items() if value.stride(0) == 0} == {"0.weight", "0.bias"}
    assert_close(moved, shared, rtol=0, atol=0)
    assert replace(posterior, weights=shared).to("meta").weights["0.weight"].stride(0) == 0


def test_densities_and_new_draws_are_made_where_the_fit_is(posterior):
    """On a device without numbers: what is computed there is seen by its device alone."""
    seen = []

    def density(weights):
        seen.extend(value.device.type for value in weights.values())
        return torch.zeros(S)

    moved = replace(posterior, density=density, draws=posterior.guide.draws).to("meta")
    assert moved.density(posterior.weights).device.type == "meta"
    assert set(seen) == {"cpu"}
    assert {value.device.type for value in moved.draws(2, 0).values()} == {"meta"}


def test_repr_tells_method_draws_and_figures(posterior):
    shown = WeightPosterior(posterior.model, posterior.weights, "svi", summary={"elbo_per_datum": -1.23456})
    assert repr(shown) == "WeightPosterior(svi, Gaussian network, S=4, device=cpu, elbo_per_datum=-1.235)"


# Refusals


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (torch.zeros(2), ValueError, r"x must have shape \(N, features\).*got \(2,\).*One input\? Pass x\[None\]"),
        (torch.zeros(5, 3), ValueError, r"like the training inputs, \(N, 2\); got \(N, 3\)"),
        (torch.zeros(5, 2, 2, 2), ValueError, r"like the training inputs|\(N, K\) outputs"),
        (torch.full((3, 2), float("nan")), ValueError, r"x must be finite; got NaN or infinity in 3 row\(s\)"),
        ([[1.0, 2.0], [3.0]], TypeError, "x must be a tensor, array or frame of numbers; got list"),
        (3.0, ValueError, r"x must have shape \(N, features\)"),
        (None, TypeError, "x must be a tensor, array or frame of numbers; got NoneType"),
        (torch.zeros(0, 2), ValueError, "one row|no rows|empty"),
        ([], ValueError, r"x must have shape \(N, features\)"),
        (iter([]), ValueError, "one row|no rows|empty|no batch"),
    ],
    ids=["vector", "columns", "axes", "nan", "ragged", "number", "none", "no rows", "empty list", "no batches"],
)
def test_bad_inputs_get_a_sentence(posterior, bad, error, words):
    with pytest.raises(error, match=words):
        posterior(bad)


def test_indices_outside_of_an_embedding_get_a_sentence():
    x = torch.randint(0, 4, (N, 1))
    network = nn.Sequential(nn.Embedding(4, 3), nn.Flatten(), nn.Linear(3, 1))
    posterior = fitted(network, x, torch.randn(N))
    with pytest.raises(ValueError, match="like the training inputs"):
        posterior(x + 4)


@pytest.mark.parametrize("num_samples", [0, -1, 2.0, True, "3"])
def test_resampling_needs_a_whole_number(posterior, num_samples):
    with pytest.raises(ValueError, match="num_samples must be a whole number, 1 or more; got"):
        posterior.resample(num_samples)


def test_a_method_without_other_draws_says_so(posterior):
    alone = WeightPosterior(posterior.model, posterior.weights, "ensemble")
    with pytest.raises(NotImplementedError, match="ensemble has no other draws than the 4 it was made of"):
        alone.resample(10)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_devices_that_are_not_there_are_refused(posterior, device):
    with pytest.raises(ValueError, match=r"device must be one that is here \(cpu.*\); got '"):
        posterior.to(device)


def test_other_draws_are_by_a_number_and_a_seed(posterior):
    with pytest.raises(TypeError, match=r"seed must be a whole number; got 'one'. Write seed=0"):
        posterior.resample(3, seed="one")
    with pytest.raises(ValueError, match="num_samples must be a whole number"):
        posterior.resample("three")


# Memory


def test_predictions_beyond_the_memory_are_made_block_by_block(posterior, x):
    held = posterior(x)
    streamed = posterior(x, memory=300)
    assert isinstance(streamed, Streamed)
    assert_close((streamed.mean, streamed.stddev), (held.mean, held.stddev))
    plan = posterior.plan(x, memory=300)
    assert not plan.held
    assert plan.block == streamed._block
    assert "the network runs stacked, " in str(posterior.plan(x))
    with pytest.raises(ValueError, match="memory must be a number of bytes"):
        posterior(x, memory="lots")


@pytest.mark.parametrize("shape", [(2,), (6, 6)], ids=["mlp", "conv_net"])
def test_autocast_is_for_the_network_alone(shape):
    torch.manual_seed(0)
    network = networks.mlp(2, 3, hidden=200) if shape == (2,) else networks.conv_net(shape, 3)
    x, y = torch.randn(N, *shape), torch.randint(3, (N,))
    posterior = fitted(network, x, y, likelihoods.categorical)
    exact = posterior(x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = posterior(x)
    assert rough.probs.dtype == torch.float32
    assert_close(rough.probs.sum(-1), torch.ones(N))
    off = (rough.probs - exact.probs).abs().max()
    assert 1e-6 < off < 0.05  # 8 bits of mantissa, some layers deep


@pytest.mark.parametrize("shape", [(8, 8), (12, 4, 8), (16, 32), (4, 8, 8, 1, 2)])
def test_inputs_that_only_have_as_many_numbers_are_refused(shape):
    """As many numbers as so many pictures of 8 x 8, row by row, are no such pictures."""
    network = networks.mlp((8, 8), 3, hidden=(5,))
    model = BayesianNeuralNetwork(network, likelihood=likelihoods.categorical, standardise=False)
    x, y = torch.randn(20, 8, 8), torch.arange(20) % 3
    posterior = fit_ensemble(model, x, y, num_members=2, num_epochs=1, progress=False)
    with pytest.raises(ValueError, match=r"x must look like the training inputs, \(N, 8, 8\)"):
        posterior(torch.randn(shape))
    with pytest.raises(ValueError, match=r"got \(N, 8\). One input\? Write x\[None\]"):
        posterior(x[0])
