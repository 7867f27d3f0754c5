"""A training step against one of the same plain network, with fused Adam and nothing else."""

import copy
import math
import warnings

import pyro
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

from bayesnn import fit_map, fit_svi
from benchmarks.speed.cases import lenet, perceptron, small
from benchmarks.speed.others import installed
from benchmarks.speed.paired import seconds, table


def plain(case):
    """Some epochs of the network alone."""
    network = copy.deepcopy(case.network)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)

    def run():
        for _ in range(case.epochs):
            for x, y in zip(case.x.split(case.batch), case.y.split(case.batch), strict=True):
                loss = case.loss(network(x), y)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()

    return lambda: seconds(run)


def ours(case, fit, **settings):
    """As many epochs of a fit: its own loop, with shuffling, history and all."""
    model = case.model
    options = {"num_epochs": case.epochs, "batch_size": case.batch, "learning_rate": 1e-3, "progress": False}

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # so few epochs do not fit anything
            return fit(model, case.x, case.y, **options, **settings).history.seconds

    return run


def by_hand(case):
    """Bayes by backprop as it is often written: every layer draws its weights and adds its divergence."""
    network = copy.deepcopy(case.network)
    leaves = [
        (module, name, nn.Parameter(value.detach().clone()), nn.Parameter(torch.full_like(value, -3.0)))
        for module in network.modules()
        for name, value in list(module.named_parameters(recurse=False))
    ]
    for module, name, _, _ in leaves:
        del module._parameters[name]
    optimiser = torch.optim.Adam([leaf for _, _, *both in leaves for leaf in both], lr=1e-3, fused=True)

    def run():
        for _ in range(case.epochs):
            for x, y in zip(case.x.split(case.batch), case.y.split(case.batch), strict=True):
                divergence = 0.0
                for module, name, loc, raw in leaves:
                    scale = nn.functional.softplus(raw)
                    setattr(module, name, loc + scale * torch.randn_like(loc))
                    divergence = divergence + (0.5 * (loc**2 + scale**2 - 1) - scale.log()).sum()
                loss = case.loss(network(x), y) + divergence / len(case.x)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()

    return lambda: seconds(run)


def pyro_as_documented(case, **settings):
    """Pyro's own guide, objective and optimiser on our model, as its tutorials write it."""
    pyro.clear_param_store()
    model = case.model.for_data(case.x, case.y)
    loop = SVI(model, AutoNormal(model), pyro.optim.Adam({"lr": 1e-3}), Trace_ELBO(**settings))
    epochs = max(1, math.ceil(case.epochs / 10))

    def run():
        for _ in range(epochs):
            for x, y in zip(case.x.split(case.batch), case.y.split(case.batch), strict=True):
                loop.step(x, y)

    return lambda: seconds(run) * case.epochs / epochs


def step(rounds):
    """Print a table for each network."""
    for make in (perceptron, small, lenet):
        case = make()
        torch.manual_seed(0)
        contenders = {
            "plain network": plain(case),
            "fit_map": ours(case, fit_map),
            "fit_svi at its defaults": ours(case, fit_svi, num_samples=1),
            "fit_svi, noise for each datum": ours(case, fit_svi, num_samples=1, per_datum_noise=True),
            "fit_svi, one draw for a minibatch": ours(case, fit_svi, num_samples=1, per_datum_noise=False),
            "Bayes by backprop by hand": by_hand(case),
            "Pyro's SVI, AutoNormal, Trace_ELBO, Adam": pyro_as_documented(case),
        } | installed(case)
        table(f"step of {case.name}, batch {case.batch}", contenders, rounds, timed=lambda run: run())


def draws(rounds):
    """Print what several draws a step cost, of each network."""
    for make in (perceptron, small, lenet):
        case = make()
        torch.manual_seed(0)
        contenders = {"plain network": plain(case)}
        contenders |= {f"fit_svi, {n} draws": ours(case, fit_svi, num_samples=1, num_particles=n) for n in (1, 4, 16)}
        if case.name == "8-50-1":
            contenders["Pyro's SVI, 16 draws in a loop"] = pyro_as_documented(case, num_particles=16)
        table(f"several draws a step of {case.name}", contenders, rounds, timed=lambda run: run())
