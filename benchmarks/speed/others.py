"""A step of other packages for variational networks, of those that are installed, as their own examples write it.

TyXe, bayesian-torch and BLiTZ ask pip for torchvision, which they do not import: `pip install --no-deps`.
"""

import copy
import importlib.util
import warnings

import pyro
import torch
from pyro.distributions import Normal
from pyro.infer.autoguide import AutoNormal
from torch import nn

from benchmarks.speed.paired import seconds


def batches(case):
    return list(zip(case.x.split(case.batch), case.y.split(case.batch), strict=True))


def module_loop(case, network, divergence):
    """A network whose layers draw their own weights, in a plain loop."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

    def run():
        for _ in range(case.epochs):
            for x, y in batches(case):
                loss = case.loss(network(x), y) + divergence(network) / len(case.x)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    return lambda: seconds(run)


def bayesian_torch(case):
    from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss

    network = nn.Sequential(copy.deepcopy(case.network))
    settings = {"prior_mu": 0.0, "prior_sigma": 1.0, "posterior_mu_init": 0.0, "posterior_rho_init": -3.0}
    dnn_to_bnn(network, {**settings, "type": "Reparameterization", "moped_enable": False, "moped_delta": 0.5})
    return module_loop(case, network, get_kl_loss)


def blitz(case):
    from blitz.losses import kl_divergence_from_nn
    from blitz.modules import BayesianConv2d, BayesianLinear

    def bayesian(layer):
        if type(layer) is nn.Linear:
            return BayesianLinear(layer.in_features, layer.out_features)
        if type(layer) is nn.Conv2d:
            return BayesianConv2d(layer.in_channels, layer.out_channels, layer.kernel_size)
        return copy.deepcopy(layer)

    network = nn.Sequential(*(bayesian(layer) for layer in case.network))
    return module_loop(case, network, kl_divergence_from_nn)


def posteriors(case):
    import posteriors
    import torchopt
    from torch.func import functional_call

    network = copy.deepcopy(case.network)
    number = len(case.x)

    def log_posterior(parameters, batch):
        x, y = batch
        fit = case.loss(functional_call(network, parameters, (x,)), y)
        return -fit + posteriors.diag_normal_log_prob(parameters) / number, torch.tensor([])

    transform = posteriors.vi.diag.build(log_posterior, torchopt.adam(lr=1e-3), temperature=1 / number, init_log_sds=-3)
    state = [transform.init(dict(network.named_parameters()))]

    def run():
        for _ in range(case.epochs):
            for batch in batches(case):
                state[0], _ = transform.update(state[0], batch)

    return lambda: seconds(run)


def tyxe(case):
    """With Pyro's own guide: TyXe's ask for a function that Pyro no longer has (1.9)."""
    import tyxe

    pyro.clear_param_store()
    real = case.y.is_floating_point()
    likelihood = tyxe.likelihoods.HomoskedasticGaussian(len(case.x), scale=1.0)
    likelihood = likelihood if real else tyxe.likelihoods.Categorical(len(case.x))
    prior = tyxe.priors.IIDPrior(Normal(0.0, 1.0))
    network = tyxe.VariationalBNN(copy.deepcopy(case.network), prior, likelihood, AutoNormal)
    optimiser = pyro.optim.Adam({"lr": 1e-3})
    loader = [(x, y[:, None] if real else y) for x, y in batches(case)]
    return lambda: seconds(lambda: network.fit(loader, optimiser, case.epochs))


PACKAGES = {"bayesian_torch": bayesian_torch, "blitz": blitz, "posteriors": posteriors, "tyxe": tyxe}


def installed(case):
    """A contender for each package that is there."""
    warnings.filterwarnings("ignore", module="bayesian_torch|blitz|posteriors|tyxe|torchopt|optree|tensordict")
    return {name: make(case) for name, make in PACKAGES.items() if importlib.util.find_spec(name) is not None}
