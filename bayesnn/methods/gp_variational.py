"""Variational Gaussian processes with inducing points: minibatches, and any likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import gpytorch
import numpy as np
import torch
from gpytorch.variational import CholeskyVariationalDistribution, VariationalStrategy
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor, nn
from torch.distributions import biject_to

from bayesnn.likelihoods import Affine, Likelihood
from bayesnn.methods.gp_inputs import kernel_words
from bayesnn.priors import center
from bayesnn.seeding import seeded
from bayesnn.training import Callback, History, Minibatches, optimise
from bayesnn.warned import warn

__all__ = ["VariationalProcess", "ascend_best"]

_NODES = 20
"""Gauss-Hermite nodes of the expectation over one latent function."""

_PAIRS = 4
"""Antithetic pairs of draws of the expectation over several."""

_FINAL_ROWS = 1000


class _Latents(gpytorch.models.ApproximateGP):
    """K independent functions with one kernel and one set of inducing points."""

    def __init__(self, inducing: Tensor, kernel: nn.Module, num_latents: int) -> None:
        batch = torch.Size([num_latents])
        distribution = CholeskyVariationalDistribution(len(inducing), batch_shape=batch, mean_init_std=0.0)
        points = inducing.expand(num_latents, *inducing.shape).clone() if num_latents == 1 else inducing.clone()
        super().__init__(VariationalStrategy(self, points, distribution, learn_inducing_locations=True))
        self.mean_module = gpytorch.means.ConstantMean(batch_shape=batch)
        self.covar_module = kernel

    def forward(self, x: Tensor) -> Any:
        """Their prior."""
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


class VariationalProcess(nn.Module):
    r"""K independent latent functions, known through their values at inducing points.

    .. math:: q(f) = \int p(f \mid u) N(u; m, S) \, du, \qquad
              \mathrm{ELBO} = \sum_n \mathbb{E}_{q(f_n)}[\log p(y_n \mid f_n)] - \mathrm{KL}(q(u) \,\|\, p(u)).

    Args:
        inputs: Raw inputs to features, see `Inputs`.
        kernel: A gpytorch kernel.
        inducing: Where the inducing points start, as features ``(M, d)``.
        num_latents: Number of functions K: the likelihood's outputs.

    References:
        Hensman et al. (2015), Scalable Variational Gaussian Process Classification, arXiv:1411.2005, equation 17.
    """

    def __init__(self, inputs: nn.Module, kernel: nn.Module, inducing: Tensor, num_latents: int) -> None:
        super().__init__()
        self.inputs: Any = inputs
        self.latents = _Latents(inducing, kernel, num_latents).double().to(inducing.device)

    @property
    def words(self) -> str:
        """What kind of process it is."""
        return f"variational, {self.latents.variational_strategy.inducing_points.shape[-2]} inducing points"

    def latent(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the functions at raw inputs, each ``(K, N)``."""
        found = self.latents(self.inputs(x))
        return found.mean, found.variance.clamp_min(1e-12)

    @torch.no_grad()
    def joint(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(K, N)`` and covariance ``(K, N, N)`` of the functions at raw inputs."""
        found = self.latents(self.inputs(x))
        return found.mean, found.covariance_matrix

    @torch.no_grad()
    def prior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same before any data."""
        found = self.latents(self.inputs(x), prior=True)
        return found.mean, found.covariance_matrix

    def divergence(self) -> Tensor:
        """Divergence of the inducing values from their prior, over all functions, in nats."""
        return self.latents.variational_strategy.kl_divergence().sum()


def ascend(
    process: VariationalProcess,
    likelihood: Likelihood,
    target: Affine,
    x: Tensor,
    y: Tensor,
    *,
    num_epochs: int,
    batch_size: int,
    learning_rate: float,
    progress: bool,
    callback: Callback | None,
) -> tuple[dict[str, Tensor], float, History]:
    """Maximise the ELBO in place, the likelihood's unknowns as points under their prior.

    Returns:
        The likelihood's unknowns, the ELBO per datum at the end, and what happened.
    """
    priors = likelihood.latents(target)
    transforms = {name: biject_to(prior.support) for name, prior in priors.items()}
    free = {n: transforms[n].inv(center(p)).detach().clone().requires_grad_() for n, p in priors.items()}
    size = len(x)

    def values() -> dict[str, Tensor]:
        return {name: transforms[name](value) for name, value in free.items()}

    def loss(step: int, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        named = values()
        try:
            misfit = -_expected(process, likelihood, target, named, *batch).mean()
            divergence = process.divergence() / size
        except (NanError, NotPSDError):  # to the optimiser a loss that is not finite
            return {name: leaves[0].sum() * math.nan for name in ("loss", "misfit", "kl")}
        log_prior = sum(prior.log_prob(named[name]).sum() for name, prior in priors.items())
        return {"loss": misfit + divergence - log_prior / size, "misfit": misfit, "kl": divergence}

    skip = {f"inputs.{name}" for name in process.inputs.head_names()}
    own = [p for name, p in process.named_parameters() if p.requires_grad and name not in skip]
    leaves = [*own, *free.values()]
    history = optimise(
        loss,
        leaves,
        Minibatches([x, y], batch_size),
        num_epochs=num_epochs,
        learning_rate=learning_rate,
        progress=progress,
        callback=callback,
        label="gp",
    )
    process.eval()
    named = {name: value.detach() for name, value in values().items()}
    with torch.no_grad():
        fit = torch.zeros((), dtype=torch.float64, device=x.device)
        for part in zip(x.split(_FINAL_ROWS), y.split(_FINAL_ROWS), strict=True):
            fit = fit + _expected(process, likelihood, target, named, *part).sum()
        elbo = float((fit - process.divergence()) / size)
    return named, elbo, history


def ascend_best(
    processes: Sequence[VariationalProcess],
    likelihood: Likelihood,
    target: Affine,
    x: Tensor,
    y: Tensor,
    *,
    callback: Callback | None,
    **settings: Any,
) -> tuple[VariationalProcess, dict[str, Tensor], float, History]:
    """Fit every process from the same random state, and keep the one whose ELBO is highest.

    One that cannot be fitted is passed over with a warning, unless there is no other.

    Returns:
        The process, the likelihood's unknowns, its ELBO per datum, and what happened: its epochs, the time of all.
    """
    best: tuple[VariationalProcess, dict[str, Tensor], float, History] | None = None
    done, seconds, interrupted, failure = 0, 0.0, False, None

    def tell(epoch: int, means: dict[str, float]) -> None:
        if callback is not None:
            callback(done + epoch, means)

    for process in processes:
        try:
            with seeded(None, x.device):
                latents, elbo, history = ascend(process, likelihood, target, x, y, callback=tell, **settings)
        except ValueError as error:
            if len(processes) > 1:
                words = kernel_words(process.latents.covar_module)
                warn(f"the kernel {words} is passed over: {error}")
            failure = error
            continue
        done, seconds = done + len(history.epochs), seconds + history.seconds
        interrupted = history.interrupted
        if best is None or elbo > best[2]:
            best = process, latents, elbo, history
        if interrupted:
            break
    if best is None:
        assert failure is not None
        raise failure
    return (*best[:3], replace(best[3], seconds=seconds, interrupted=interrupted))


def _expected(
    process: VariationalProcess,
    likelihood: Likelihood,
    target: Affine,
    named: Mapping[str, Tensor],
    x: Tensor,
    y: Tensor,
) -> Tensor:
    """Expected log-likelihood of each datum ``(N,)``: by quadrature for one function, by pairs of draws for several."""
    mean, variance = process.latent(x)
    deviation = variance.sqrt()
    if len(mean) == 1:
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        z = torch.as_tensor(nodes, device=mean.device)[:, None, None]
        share = torch.as_tensor(weights / math.sqrt(2 * math.pi), device=mean.device)[:, None]
    else:
        half = torch.randn(_PAIRS, *mean.shape, dtype=mean.dtype, device=mean.device)
        z = torch.cat([half, -half])
        share = torch.full((len(z), 1), 1 / len(z), dtype=mean.dtype, device=mean.device)
    outputs = (mean + deviation * z).movedim(1, 2)
    repeated = {name: value.expand(len(outputs), *value.shape) for name, value in named.items()}
    return (share * likelihood(outputs, repeated, target).log_prob(y)).sum(0)
