"""LogJoint: the log joint density of a model's unknowns and its data, over one vector without constraints."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import ExpTransform, Transform, identity_transform
from torch.func import grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from bayesnn.langevin import Slope
from bayesnn.model import BayesianNeuralNetwork
from bayesnn.priors import center
from bayesnn.pyro_model import PyroModel

__all__ = ["Layout", "LogJoint", "TracedJoint", "slope_of"]


@dataclass(frozen=True)
class Layout:
    """How named tensors lie in one vector, one behind the other. Leading axes pass through.

    Attributes:
        shapes: Shape of each tensor by name.

    Example:
        >>> layout = Layout({"a": torch.Size([2]), "b": torch.Size([])})
        >>> layout.join({"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3.0)})
        tensor([1., 2., 3.])
    """

    shapes: dict[str, torch.Size]

    def join(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The vector ``(..., P)`` of tensors ``(..., *shape)``."""
        sizes = [(parts[name], len(shape)) for name, shape in self.shapes.items()]
        return torch.cat([part.reshape(*part.shape[: part.ndim - own], -1) for part, own in sizes], dim=-1)

    def split(self, vector: Tensor) -> dict[str, Tensor]:
        """The tensors ``(..., *shape)`` of a vector ``(..., P)``."""
        pieces = vector.split([shape.numel() for shape in self.shapes.values()], dim=-1)
        lead = vector.shape[:-1]
        return {name: part.view(lead + shape) for (name, shape), part in zip(self.shapes.items(), pieces, strict=True)}


class LogJoint:
    r"""The density that samplers walk on: all sites of a model as one vector :math:`z` of real numbers.

    A site's unconstrained value :math:`u` is the site itself where its support is real, and is mapped to the support by
    ``biject_to`` elsewhere; :math:`z` is :math:`u` less the middle of its prior, in units of the prior's spread:

    .. math:: \log p(u) + \log p(y \mid x, \theta), \qquad
              u = m + s z, \quad p(u) = p(\theta) \left|\frac{d\theta}{du}\right|.

    Under normal and log-normal priors, :math:`z` is standard normal before the data. This is the density of Pyro's own
    ``initialize_model`` at the same :math:`u`, computed without a trace.

    Args:
        model: A model that knows its data.
        x: All training inputs.
        y: Their targets, as the model has them.

    Example:
        >>> from bayesnn import likelihoods, networks, priors
        >>> model = BayesianNeuralNetwork(networks.mlp(2, 2, hidden=()), priors.normal(3.0), likelihoods.categorical)
        >>> joint = LogJoint(model, torch.zeros(5, 2), torch.zeros(5).long())
        >>> z = joint.vector({"0.weight": torch.zeros(2, 2), "0.bias": torch.zeros(2)})
        >>> joint.log_likelihood(z, joint.x, joint.y).exp()
        tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """

    def __init__(self, model: BayesianNeuralNetwork, x: Tensor, y: Tensor) -> None:
        self.model, self.x, self.y = model, x, y
        self.priors = model.priors() | model.latents()
        sites = {name: _site(prior) for name, prior in self.priors.items()}
        self.layout = Layout({name: site.loc.shape for name, site in sites.items()})
        self.loc = self.layout.join({name: site.loc for name, site in sites.items()})
        self.scale = self.layout.join({name: site.scale for name, site in sites.items()})
        self._bijections = {name: site.bijection for name, site in sites.items() if site.bijection is not None}
        self._others = [name for name, site in sites.items() if not site.is_normal]
        normal = {name: torch.full_like(site.loc, float(site.is_normal)) for name, site in sites.items()}
        self._normal = self.layout.join(normal)
        self._constant = -float((self._normal * (self.scale.log() + 0.5 * math.log(2 * math.pi))).sum())

    def values(self, z: Tensor) -> dict[str, Tensor]:
        """Values of all sites ``(..., *shape)`` at vectors ``(..., P)``."""
        return self._constrained(self.layout.split(self.loc + self.scale * z))

    def vector(self, values: Mapping[str, Tensor]) -> Tensor:
        """The vector ``(..., P)`` of values of all sites, the inverse of `values`."""
        free = {name: self._bijections[name].inv(v) if name in self._bijections else v for name, v in values.items()}
        return (self.layout.join(free) - self.loc) / self.scale

    def prior_draws(self, number: int) -> Tensor:
        """Draws from the prior ``(number, P)``, by the global random state."""
        return self.vector({name: prior.sample(torch.Size([number])) for name, prior in self.priors.items()})

    def log_prior(self, z: Tensor) -> Tensor:
        """Log-prior density of the unconstrained values at one vector, in nats."""
        normal = z * z if not self._others else z * z * self._normal
        log_prior = self._constant - 0.5 * normal.sum()
        if self._others:
            free = self.layout.split(self.loc + self.scale * z)
            values = self._constrained(free)
            for name in self._others:
                log_prior = log_prior + self.priors[name].log_prob(values[name]).sum()
                if name in self._bijections:
                    jacobian = self._bijections[name].log_abs_det_jacobian(free[name], values[name])
                    log_prior = log_prior + jacobian.sum()
        return log_prior

    def log_likelihood(self, z: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Log-likelihood of each datum ``(N,)`` at one vector, in nats."""
        return self.model.log_likelihood(self.values(z), x, y)

    def potential(self, z: Tensor) -> Tensor:
        """Minus the log joint density of the unconstrained values and all the data, in nats."""
        return -self.log_likelihood(z, self.x, self.y).sum() - self.log_prior(z)

    def latents(self) -> list[str]:
        """Names of the sites that mean something by themselves: the likelihood's unknowns."""
        return list(self.model.latents())

    def start(self) -> dict[str, Tensor]:
        """The network's own weights."""
        return self.model.start()

    def _constrained(self, free: dict[str, Tensor]) -> dict[str, Tensor]:
        return free | {name: bijection(free[name]) for name, bijection in self._bijections.items()}


class _Site(NamedTuple):
    """Middle and spread of a site's unconstrained value, the way to its support, and if it is normal by its prior."""

    loc: Tensor
    scale: Tensor
    bijection: Transform | None
    is_normal: bool


@torch.no_grad()
def _site(prior: Distribution) -> _Site:
    match prior.base_dist if hasattr(prior, "reinterpreted_batch_ndims") else prior:
        case dist.Normal() as normal:
            return _Site(normal.loc, normal.scale, None, True)
        case dist.LogNormal() as positive:
            return _Site(positive.loc, positive.scale, ExpTransform(), True)
        case other:
            bijection = biject_to(prior.support)
            middle = bijection.inv(center(prior))
            if bijection != identity_transform:
                return _Site(torch.zeros_like(middle), torch.ones_like(middle), bijection, False)
            spread = other.stddev
            usable = spread.isfinite() & (spread > 0)
            return _Site(middle, torch.where(usable, spread, torch.ones_like(spread)), None, False)


class TracedJoint:
    r"""The same of a Pyro model of the user's own: Pyro traces it, and :math:`z` is the unconstrained value itself.

    Args:
        model: A model that knows its data.
        x: All training inputs.
        y: Their targets.

    Raises:
        NotImplementedError: If a latent site is discrete, or the model chooses a part of its data itself.
    """

    def __init__(self, model: PyroModel, x: Tensor, y: Tensor) -> None:
        self.model, self.x, self.y = model, x, y
        for name, fn in self._latent_sites():
            if fn[0].support.is_discrete:
                raise NotImplementedError(
                    f"latent sites must be continuous; {name!r} is a {type(fn[0]).__name__}. Sum it out in the model: "
                    "observe a MixtureSameFamily, say."
                )
        middle, self._potential, self._to_free, _ = initialize_model(model, (x, y))
        self.layout = Layout({name: value.shape for name, value in middle.items()})

    def values(self, z: Tensor) -> dict[str, Tensor]:
        """Values of all sites ``(..., *shape)`` at vectors ``(..., P)``."""
        return {name: self._to_free[name].inv(free) for name, free in self.layout.split(z).items()}

    def vector(self, values: Mapping[str, Tensor]) -> Tensor:
        """The vector ``(..., P)`` of values of all sites, the inverse of `values`."""
        return self.layout.join({name: self._to_free[name](value) for name, value in values.items()})

    def prior_draws(self, number: int) -> Tensor:
        """Draws from the prior ``(number, P)``, by the global random state."""
        draws = [{name: value for name, (_, value) in self._latent_sites()} for _ in range(number)]
        return self.vector({name: torch.stack([draw[name] for draw in draws]) for name in draws[0]})

    def potential(self, z: Tensor) -> Tensor:
        """Minus the log joint density of the unconstrained values and all the data, in nats."""
        return self._potential(self.layout.split(z))

    def latents(self) -> list[str]:
        """None: which of the sites are weights is not known."""
        return []

    def start(self) -> dict[str, Tensor]:
        """There are no weights to begin with."""
        raise TypeError(
            'start="network" needs a BayesianNeuralNetwork; pass the values of your own model\'s sites instead.'
        )

    def _latent_sites(self) -> Iterator[tuple[str, tuple[Distribution, Tensor]]]:
        for name, site in poutine.trace(self.model).get_trace(self.x, self.y).iter_stochastic_nodes():
            if type(site["fn"]).__name__ != "_Subsample":  # a plate's indices
                yield name, (site["fn"], site["value"].detach())


def slope_of(
    joint: LogJoint, z: Tensor, batch: Sequence[Tensor], pays_together: bool, together: bool | None = None
) -> Slope:
    """The gradient of the potential that minibatches estimate, for all chains side by side or one after another.

    Args:
        joint: The density.
        z: Where the chains are ``(C, P)``, to try whether torch can vectorise them.
        batch: Inputs and targets to try it on, each with an axis of chains in front.
        pays_together: Whether side by side is faster.
        together: Whether it must be side by side; if ``None``, where it pays and torch can.

    Raises:
        ValueError: If it must be and torch cannot.
    """

    def potential(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return -joint.log_likelihood(z, x, y).sum() * (len(joint.x) / len(x)) - joint.log_prior(z)

    of_one = grad_and_value(potential)
    of_all = vmap(of_one, randomness="error")

    def side_by_side(z: Tensor, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative, and none under vmap
            gradients, values = of_all(z, *batch)
        return gradients, values

    def in_turn(z: Tensor, batch: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        with sdpa_kernel(SDPBackend.MATH):
            found = [of_one(*parts) for parts in zip(z, *batch, strict=True)]
        return torch.stack([part[0] for part in found]), torch.stack([part[1] for part in found])

    if pays_together if together is None else together:
        try:
            side_by_side(z, batch)
        except RuntimeError as error:  # branches on values and the like
            if together:
                raise ValueError(
                    "vectorised=True needs a network that torch can vectorise; it said: "
                    f"{str(error).splitlines()[0]} Leave vectorised out, and chains take their steps one after another."
                ) from error
        else:
            return side_by_side
    return in_turn
