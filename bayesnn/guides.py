"""AutoNormal: the mean-field normal guide, with every real site sampled from a plain Normal."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from pyro.infer.autoguide import AutoNormal as PyroAutoNormal
from pyro.infer.autoguide.initialization import InitMessenger, init_to_median, init_to_sample, init_to_value
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import ExpTransform, IndependentTransform, Transform, identity_transform

from bayesnn.axes import Rotation
from bayesnn.priors import center
from bayesnn.reparameterisation import Noise
from bayesnn.seeding import seeded

__all__ = ["AutoNormal", "built", "elementwise", "give_local_parameters", "guide_draws", "leaf"]


class AutoNormal(PyroAutoNormal):
    r"""Independent normals over all latent sites of a Pyro model.

    .. math:: q(\theta) = \prod_i N(\theta_i; \mu_i, \sigma_i^2)

    A subclass of Pyro's ``AutoNormal`` with the same ``locs`` and ``scales``. Three things are different. A site of
    real support is sampled from its ``Normal`` itself (Pyro's own samples a helper site and puts a Delta on the named
    one, which hides the closed-form Kullback-Leibler divergence); a site of other support from the normal pushed
    through ``biject_to``. The guide is built at once, so that ``state_dict()`` and an optimiser find its parameters.
    And each site may start from its own values and scale.

    Args:
        model: A Pyro model.
        *args: What the model is called with, observations included: ``x, y``.
        start: Values by site name to start the means from, in the model's own space. A `BayesianNeuralNetwork` brings
            the values of its network. Other sites start from the median of their prior, matrices (weights, which must
            not all start alike) from a draw.
        init_scale: Initial standard deviation, in the unconstrained space: one number, or one for each site name.
        axes: For matrices by site name, an orthogonal matrix whose columns are the axes along which the rows' entries
            are independent (see `bayesnn.axes`); ``locs`` and ``scales`` are then along these axes.

    Raises:
        ValueError: If an initial scale is not positive.

    References:
        Kucukelbir et al. (2017), Automatic Differentiation Variational Inference, JMLR 18(14).

    Example:
        >>> def model(x, y=None):
        ...     slope = pyro.sample("slope", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         return pyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)
        >>> guide = AutoNormal(model, torch.ones(3), torch.ones(3), start={"slope": torch.tensor(0.5)})
        >>> guide.median()["slope"]
        tensor(0.5000)
    """

    scale_constraint = constraints.positive

    def __init__(
        self,
        model: Callable,
        *args: Any,
        start: Mapping[str, Tensor] | None = None,
        init_scale: float | Mapping[str, float] = 0.05,
        axes: Mapping[str, Tensor] | None = None,
        **kwargs: Any,
    ) -> None:
        scales = init_scale if isinstance(init_scale, Mapping) else {}
        default = 0.05 if isinstance(init_scale, Mapping) else float(init_scale)
        for scale in (default, *scales.values()):
            if not scale > 0:
                raise ValueError(f"an initial scale must be positive; got {scale}. Write init_scale=0.05, say.")
        super().__init__(model, init_loc_fn=_start_at(model, start), init_scale=default)
        self._scale_of_site = dict(scales)
        self._buffer_of_axes = {name: f"axes_of_{name.replace('.', '_')}" for name in axes or {}}
        for name, matrix in (axes or {}).items():
            self.register_buffer(self._buffer_of_axes[name], matrix)
        if args or kwargs:
            with seeded(None), pyro.settings.context(module_local_params=True):
                self._setup_prototype(*args, **kwargs)

    def _setup_prototype(self, *args: Any, **kwargs: Any) -> None:
        super()._setup_prototype(*args, **kwargs)
        self.supports = {name: site["fn"].support for name, site in self.prototype_trace.iter_stochastic_nodes()}
        for name, scale in self._scale_of_site.items():
            if name not in self.supports:
                raise ValueError(f"init_scale names no latent site {name!r}; the sites are {', '.join(self.supports)}.")
            leaf(self.scales, name).data.fill_(math.log(scale))
        for name, matrix in self.axes.items():
            loc = leaf(self.locs, name)
            loc.data = loc.data @ matrix

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Sample every latent site, as Pyro calls a guide."""
        if self.prototype_trace is None:
            self._setup_prototype(*args, **kwargs)
        plates = self._create_plates(*args, **kwargs)
        result = {}
        for name, site in self.prototype_trace.iter_stochastic_nodes():
            with ExitStack() as stack:
                for frame in site["cond_indep_stack"]:
                    stack.enter_context(plates[frame.name])
                result[name] = pyro.sample(name, self.site(name), infer={"mean_field": True})
        return result

    @property
    def axes(self) -> dict[str, Tensor]:
        """The axes of the sites that have any."""
        return {name: getattr(self, buffer) for name, buffer in self._buffer_of_axes.items()}

    def site(self, name: str) -> Distribution:
        """The distribution of one latent site."""
        base = dist.Normal(*self._get_loc_and_scale(name))
        if name in self._buffer_of_axes:
            return dist.TransformedDistribution(base.to_event(self._event_dims[name]), Rotation(self.axes[name]))
        transform, event_dim = elementwise(self.supports[name]), self._event_dims[name]
        if transform is None:  # several numbers constrained together, as on a simplex
            return dist.TransformedDistribution(base.to_event(event_dim), biject_to(self.supports[name]))
        if transform == identity_transform:
            return base.to_event(event_dim)
        return dist.TransformedDistribution(base, transform).to_event(event_dim)

    def sites(self) -> dict[str, Distribution]:
        """The distribution of every latent site by name."""
        return {name: self.site(name) for name in self.supports}

    def real_moments(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean and standard deviation of every site of real support by name, shaped like the site."""
        moments = {}
        for name, support in self.supports.items():
            if elementwise(support) == identity_transform:
                loc, scale = self._get_loc_and_scale(name)
                if name in self.axes:
                    axes = self.axes[name]
                    loc, scale = loc @ axes.T, (scale.square() @ axes.square().T).sqrt()
                moments[name] = (loc, scale)
        return moments

    def noise(self, names: Iterable[str]) -> dict[str, Noise]:
        """Mean, standard deviation and axes of sites of real support, as `bayesnn.reparameterisation` wants them."""
        axes = self.axes
        moments = {name: self._get_loc_and_scale(name) for name in names}
        return {name: Noise(loc, scale, axes.get(name)) for name, (loc, scale) in moments.items()}

    @torch.no_grad()
    def median(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """The median of every site."""
        return super().median(*args, **kwargs) | {name: self.real_moments()[name][0] for name in self.axes}

    @torch.no_grad()
    def quantiles(self, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Quantiles of every number of every site for itself."""
        levels = torch.as_tensor(quantiles).view(-1, 1, 1)
        rotated = {name: dist.Normal(*self.real_moments()[name]) for name in self.axes}
        return super().quantiles(quantiles, *args, **kwargs) | {
            name: normal.icdf(levels.to(normal.loc)) for name, normal in rotated.items()
        }

    @torch.no_grad()
    def draws(self, num_samples: int, seed: int) -> dict[str, Tensor]:
        """Draws of every latent site ``(S, *shape)``; the global random state is left alone."""
        result = {}
        generator: torch.Generator | None = None
        for name, support in self.supports.items():
            loc, scale = self._get_loc_and_scale(name)
            if generator is None:
                generator = torch.Generator(loc.device).manual_seed(int(seed))
            noise = torch.randn((num_samples, *loc.shape), dtype=loc.dtype, device=loc.device, generator=generator)
            value = loc + scale * noise
            result[name] = value @ self.axes[name].T if name in self.axes else biject_to(support)(value)
        return result


def built(
    guide: Callable,
    model: Callable,
    args: Sequence[Tensor],
    *,
    start: Mapping[str, Tensor] | None,
    init_scale: float | Mapping[str, float],
    axes: Mapping[str, Tensor] | None = None,
) -> torch.nn.Module:
    """A guide of a model, its parameters there.

    Args:
        guide: `AutoNormal`, any Pyro guide class, a function that makes a guide of a model, or a guide.
        model: The model.
        args: What both are called with.
        start: See `AutoNormal`; any automatic guide starts there too.
        init_scale: See `AutoNormal`.
        axes: See `AutoNormal`.

    Raises:
        TypeError: If no guide comes of it.
    """
    if not callable(guide):
        raise TypeError(
            f"guide must be a Pyro guide class, or a function that makes a guide of the model; got {guide!r}. Write "
            "guide=pyro.infer.autoguide.AutoLowRankMultivariateNormal, say, or leave guide out."
        )
    made: Any
    if isinstance(guide, torch.nn.Module):
        made = give_local_parameters(copy.deepcopy(guide))
    elif isinstance(guide, type) and issubclass(guide, AutoNormal):
        made = guide(model, *args, start=start, init_scale=init_scale, axes=axes)
    else:
        make: Callable = guide
        made = make(InitMessenger(_start_at(model, start))(model))
    if not isinstance(made, torch.nn.Module):
        raise TypeError(
            f"guide must be a Pyro guide class or a function that makes a guide module of the model; it gave "
            f"{type(made).__name__}. Put a hand-written guide's parameters in a PyroModule as PyroParam."
        )
    with torch.no_grad():
        made(*args)  # Pyro's own guides make their parameters at the first call
    return made


def give_local_parameters(module: torch.nn.Module) -> torch.nn.Module:
    """Let a PyroModule made under Pyro's global settings hold its parameters itself, in place."""
    for part in module.modules():
        context = getattr(part, "_pyro_context", None)
        if context is not None and not hasattr(context, "param_state"):
            context.param_state = {"params": {}, "constraints": {}}
    return module


@torch.no_grad()
def guide_draws(guide: Callable, args: Sequence[Tensor], num_samples: int, seed: int) -> dict[str, Tensor]:
    """Draws of every latent site from any guide ``(S, *shape)``; the global random state is left alone."""
    if isinstance(guide, AutoNormal):
        return guide.draws(num_samples, seed)
    with seeded(seed, args[0].device), pyro.settings.context(module_local_params=True):
        traces = [poutine.trace(guide).get_trace(*args) for _ in range(num_samples)]
    names = [
        name
        for name in traces[0].stochastic_nodes
        if not traces[0].nodes[name]["infer"].get("is_auxiliary")
        and type(traces[0].nodes[name]["fn"]).__name__ != "_Subsample"  # a plate's indices
    ]
    return {name: torch.stack([trace.nodes[name]["value"] for trace in traces]) for name in names}


def _start_at(model: Callable, start: Mapping[str, Tensor] | None) -> Callable:
    """An initialisation for Pyro's guides: given values, a draw for matrices, the prior's median for the rest."""
    given = start if start is not None else model.start() if hasattr(model, "start") else {}
    values = {name: value.detach().clone() for name, value in given.items()}  # or the fit would change the caller's
    return init_to_value(values=values, fallback=_first_value)


def _first_value(site: dict[str, Any]) -> Tensor:
    if len(site["fn"].batch_shape + site["fn"].event_shape) > 1:
        return init_to_sample(site)
    return center(site["fn"]) if site["fn"].has_rsample else init_to_median(site)


def leaf(holder: torch.nn.Module, name: str) -> torch.nn.Parameter:
    """The unconstrained parameter behind ``holder.<name>``."""
    path, _, last = name.rpartition(".")
    return getattr(holder.get_submodule(path), last + "_unconstrained")


def elementwise(support: constraints.Constraint) -> Transform | None:
    """The map from the real line to the support, where it works on each number for itself."""
    inner = support.base_constraint if isinstance(support, constraints.independent) else support
    if isinstance(inner, type(constraints.positive)) and inner.lower_bound == 0:
        return ExpTransform()  # biject_to adds a shift by 0, and torch then knows no divergence from a log-normal
    transform = biject_to(support)
    transform = transform.base_transform if isinstance(transform, IndependentTransform) else transform
    return transform if transform.domain.event_dim == 0 else None
