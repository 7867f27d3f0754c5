"""Curvature: the Fisher information of weights through a likelihood, and the precision of their priors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor
from torch.distributions import Independent
from torch.func import vjp, vmap

from bayesnn.model import BayesianNeuralNetwork

__all__ = ["diagonal_information", "fisher_of_outputs", "linear_information", "prior_precision"]

_DRAWS = 64
"""Draws of a target that stand for its distribution, where nothing exact is known."""

_NUMBERS_AT_ONCE = 2**24
_ROWS_AT_ONCE = 1000


def fisher_of_outputs(model: BayesianNeuralNetwork, outputs: Tensor, latents: Mapping[str, Tensor]) -> Tensor:
    r"""Fisher information of the outputs of each input.

    .. math:: F_n = \mathbb{E}_{y \sim p(y \mid f_n)}\bigl[ g g^T \bigr], \qquad g = \nabla_f \log p(y \mid f_n).

    It is never indefinite, and where the outputs are natural parameters (categorical, Bernoulli, Poisson, a Gaussian's
    mean) it is minus the Hessian of the log-likelihood, whatever the target. The expectation is a sum over classes,
    exact by three nodes for normals (scores are polynomials of degree two at most), and over 64 draws for other
    families, from the global random state.

    Args:
        model: The model, for its likelihood.
        outputs: ``(N, K)``.
        latents: The likelihood's unknowns by name.

    Returns:
        ``(N, K, K)``, in double precision.

    References:
        Martens (2020), New Insights and Perspectives on the Natural Gradient Method, arXiv:1412.1193, section 9.2, for
        when the Fisher information is the generalised Gauss-Newton matrix.
    """
    here = _marginal(model.members(outputs[None], {name: value[None] for name, value in latents.items()}))
    values, probabilities = _targets(here)
    many = len(values)
    each = {name: value.expand(many, *value.shape) for name, value in latents.items()}
    fisher = torch.zeros(*outputs.shape, outputs.shape[-1], dtype=torch.float64, device=outputs.device)
    with torch.enable_grad():
        at = outputs.detach().expand(many, *outputs.shape).clone().requires_grad_()
        log_probs = _marginal(model.members(at, each)).log_prob(values)
        # Target dimensions are independent given the outputs: their informations add.
        for log_prob, probability in zip(
            _columns(log_probs), _columns(probabilities.expand_as(log_probs)), strict=True
        ):
            (score,) = torch.autograd.grad(log_prob.sum(), at, retain_graph=True)
            score = score.double()
            fisher += torch.einsum("mn,mnk,mnj->nkj", probability.double(), score, score)
    return fisher


def diagonal_information(
    model: BayesianNeuralNetwork, weights: Mapping[str, Tensor], latents: Mapping[str, Tensor], x: Tensor
) -> dict[str, Tensor]:
    r"""Diagonal of the weights' information :math:`\sum_n J_n^T F_n J_n` by name, in double precision.

    Args:
        model: A model that knows its data.
        weights: Parameters of its network by name.
        latents: The likelihood's unknowns by name.
        x: Training inputs.
    """
    outputs = torch.cat([model.outputs(weights, part) for part in x.split(_ROWS_AT_ONCE)])
    numbers = outputs.shape[1] * sum(value.numel() for value in weights.values())
    total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in weights.items()}

    def squares(one: Tensor, root: Tensor) -> dict[str, Tensor]:
        pull: Any = vjp(lambda at: model.outputs(at, one[None])[0], dict(weights))[1]
        (gradients,) = vmap(pull)(root.mT)
        return {name: gradient.square().sum(0) for name, gradient in gradients.items()}

    rows = max(1, _NUMBERS_AT_ONCE // numbers)
    for part, at in zip(x.split(rows), outputs.split(rows), strict=True):
        root = _root(fisher_of_outputs(model, at, latents)).to(model.dtype)
        for name, found in vmap(squares)(part, root).items():
            total[name] += found.double().sum(0)
    return total


def linear_information(
    model: BayesianNeuralNetwork, design: Tensor, outputs: Tensor, latents: Mapping[str, Tensor]
) -> Tensor:
    r"""Information :math:`\sum_n F_n \otimes \phi_n \phi_n^T` of the coefficients of a linear layer.

    Args:
        model: The model, for its likelihood.
        design: What the layer reads, ``(N, P)``, with a column of ones for a bias.
        outputs: What it gives, ``(N, K)``.
        latents: The likelihood's unknowns by name.

    Returns:
        ``(K, P, K, P)``, in double precision.
    """
    k, p = outputs.shape[1], design.shape[1]
    total = torch.zeros(k, p, k, p, dtype=torch.float64, device=design.device)
    for part, at in zip(design.split(_ROWS_AT_ONCE), outputs.split(_ROWS_AT_ONCE), strict=True):
        fisher, phi = fisher_of_outputs(model, at, latents), part.double()
        for i in range(k):
            for j in range(i + 1):
                total[i, :, j] += phi.T @ (fisher[:, i, j, None] * phi)
    for i in range(k):
        for j in range(i):
            total[j, :, i] = total[i, :, j].T
    return total


def prior_precision(prior: Distribution, value: Tensor) -> Tensor:
    """Precision of the normal that stands for a prior about a value, number by number, in double precision.

    It is minus the second derivative of the log-density, exact for a normal prior. Where that is not positive (a
    Laplace has none, a Student-t far out bends the other way), it is one over the prior's variance.
    """
    at = value.detach().double().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(prior.log_prob(at).sum(), at, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), at, materialize_grads=True)
    return torch.where(bend < 0, -bend, 1 / prior.variance.double()).detach()


def _targets(here: Distribution) -> tuple[Tensor, Tensor]:
    """Values of the targets ``(M, N)`` or ``(M, N, D)`` and their probabilities: a stand-in for their distribution."""
    if here.has_enumerate_support:
        values = here.enumerate_support(expand=True)[:, 0]
        return values, here.log_prob(values[:, None])[:, 0].exp()
    loc = here.mean[0]
    if isinstance(here, dist.Normal):  # Gauss-Hermite
        nodes, weights = loc.new_tensor([-math.sqrt(3), 0.0, math.sqrt(3)]), loc.new_tensor([1, 4, 1]) / 6
        shape = (3, *[1] * loc.ndim)
        return loc + nodes.view(shape) * here.stddev[0], weights.view(shape)
    values = here.sample(torch.Size([_DRAWS]))[:, 0]
    return values, loc.new_tensor(1 / _DRAWS)


def _marginal(members: Distribution) -> Distribution:
    """Each target dimension for itself."""
    return members.base_dist if isinstance(members, Independent) else members


def _columns(values: Tensor) -> list[Tensor]:
    """``(M, N)`` of each target dimension."""
    return [values] if values.ndim == 2 else list(values.unbind(-1))


def _root(fisher: Tensor) -> Tensor:
    """Roots ``R R' = F``; rounding may leave an eigenvalue just below 0."""
    values, vectors = torch.linalg.eigh(fisher)
    return vectors * values.clamp_min(0).sqrt().unsqueeze(-2)
