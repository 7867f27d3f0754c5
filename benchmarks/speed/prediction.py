"""Predictions of S draws against S passes of plain networks, at the block size that suits these best."""

import copy
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import nn

from bayesnn import fit_dropout
from bayesnn.posterior import WeightPosterior
from benchmarks.speed.cases import lenet, perceptron, small
from benchmarks.speed.paired import seconds, table

BLOCKS = (100, 200, 500, 1000, 2000)


@torch.no_grad()
def passes(networks, x):
    """A pass of each network over all inputs, at the best block size of a few tries."""

    def at(block, some):
        with torch.no_grad():
            return [torch.cat([network(part) for part in x.split(block)]) for network in some]

    best = min(BLOCKS, key=lambda block: min(seconds(lambda: at(block, networks[:3])) for _ in range(3)))
    return lambda: at(best, networks)


class Documented(PyroModule):
    """The regression 8-50-1 as Pyro's tutorials declare it."""

    def __init__(self):
        super().__init__()
        self.first, self.last = PyroModule[nn.Linear](8, 50), PyroModule[nn.Linear](50, 1)
        for layer in (self.first, self.last):
            for name, value in list(layer.named_parameters()):
                setattr(layer, name, PyroSample(dist.Normal(0.0, 1.0).expand(value.shape).to_event(value.ndim)))

    def forward(self, x, y=None):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        mean = self.last(torch.relu(self.first(x))).squeeze(-1)
        with pyro.plate("data", len(x)):
            pyro.sample("y", dist.Normal(mean, scale), obs=y)
        return mean


def documented(case, number):
    """Pyro's `Predictive` of that regression and its `AutoNormal`."""
    model = Documented()
    guide = AutoNormal(model)
    guide(case.x, case.y)
    theirs = pyro.infer.Predictive(model, guide=guide, num_samples=number)
    return lambda: theirs(case.x)


def products(case, number, draws=12, inputs=500):
    """The matrix products of 8-50-1 at all draws, in pieces that stay in the cache: the arithmetic alone."""
    first, last, x = torch.randn(number, 50, 8), torch.randn(number, 1, 50), case.x.T.contiguous()

    @torch.no_grad()
    def run():
        for some in x.split(inputs, 1):
            for w, v in zip(first.split(draws), last.split(draws), strict=True):
                torch.bmm(v, (w.flatten(0, 1) @ some).view(len(w), 50, -1))

    return run


def autocast(posterior, x):
    with torch.autocast(x.device.type, torch.bfloat16):
        return posterior(x)


def drawn(case, number):
    """A posterior of so many draws, and the two ways to its predictions that are compared."""
    torch.manual_seed(0)
    model = case.model.for_data(case.x, case.y)
    weights = {n: v + 0.01 * torch.randn(number, *v.shape) for n, v in model.start().items()}
    weights |= {n: p.sample((number,)) for n, p in model.latents().items()}
    networks = [copy.deepcopy(case.network) for _ in range(number)]
    with torch.no_grad():
        for s, network in enumerate(networks):
            for name, parameter in network.named_parameters():
                parameter.copy_(weights[name][s])
    posterior = WeightPosterior(model, weights, "draws")
    contenders = {f"{number} plain passes": passes(networks, case.x), "posterior(x)": lambda: posterior(case.x)}
    return posterior, contenders


def many(rounds):
    """Print a table of 100 draws of 10 000 inputs for each of the larger networks: a quarter of an hour."""
    for case in (perceptron(10_000), lenet(10_000)):
        posterior, contenders = drawn(case, 100)
        print(posterior.plan(case.x), "\n")
        table(f"{case.name}, S = 100, N = {len(case.x)}", contenders, rounds)


def prediction(rounds):
    """Print a table for each network."""
    for case, number in ((perceptron(10_000), 20), (small(10_000), 100), (small(100), 100), (lenet(2000), 20)):
        posterior, contenders = drawn(case, number)
        theirs = pyro.infer.Predictive(posterior.model, posterior_samples=posterior.weights, return_sites=("y",))
        print(posterior.plan(case.x), "\n")
        title = f"{case.name}, S = {number}, N = {len(case.x)}"
        table(title, contenders, rounds)
        roughly = partial(autocast, posterior, case.x)
        classes = case.y.dtype == torch.long
        table(
            f"{case.name}, in bfloat16", {**contenders, "posterior(x), autocast to bfloat16": roughly}, min(rounds, 3)
        )
        off = roughly().probs - posterior(case.x).probs if classes else roughly().mean - posterior(case.x).mean
        what = "a class's probability" if classes else "the mean"
        print(f"bfloat16 changes {what} by {off.square().mean().sqrt():.1e}, {off.abs().max():.1e} at most\n")
        contenders["Pyro's Predictive on our model and draws"] = lambda theirs=theirs, case=case: theirs(case.x)
        if case.name == "8-50-1":
            contenders["Pyro's Predictive, model and guide as in its tutorials"] = documented(case, number)
            contenders["the matrix products alone"] = products(case, number)
        table(f"{title}, the same with Pyro's Predictive", contenders, min(rounds, 3))


def dropout(rounds, number=100):
    """Print a table of MC dropout on the perceptron, dropout behind each hidden layer."""
    case = perceptron(2000, dropout=0.1)
    options = {"num_samples": number, "num_epochs": 1, "progress": False}
    posterior = fit_dropout(case.model, case.x, case.y, **options)

    @torch.no_grad()
    def usual():
        case.network.train()
        return torch.stack([case.network(case.x) for _ in range(number)])

    contenders = {
        f"{number} plain passes": passes([nn.Sequential(*case.network).eval()] * number, case.x),
        "posterior(x)": lambda: posterior(case.x),
        "the usual loop in train mode": lambda: (usual(), case.network.eval()),
    }
    table(f"MC dropout, {case.name}, {number} masks, N = {len(case.x)}", contenders, rounds)
