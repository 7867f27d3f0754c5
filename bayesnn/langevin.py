"""Langevin walks: chains side by side under noisy gradients and friction, and the temperature they kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm.auto import tqdm

from bayesnn.training import Callback, History, Minibatches
from bayesnn.warned import warn

__all__ = ["Slope", "Walk", "steepness", "walk"]

Slope = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Tensor]]
"""``(z, batch) -> (gradients, potentials)`` of C chains: ``(C, P)`` and ``(C,)`` from vectors ``(C, P)``."""

_POWER_STEPS = 30

_SMALLEST_STEP = 1e-3
"""Where a cycle's step size ends, as a fraction of its start: 0 would stop the momentum's noise."""


@dataclass(frozen=True)
class Walk:
    """What chains drew, one draw of each chain a cycle.

    Attributes:
        draws: ``(C, T, P)``, the warm-up left out. Without any, T is 0.
        last: Where the chains are ``(C, P)``.
        temperatures: Kinetic temperature ``(C, P)`` of each number, the mean over all steps since the warm-up.
        num_steps: Steps since the warm-up.
        history: ``loss``, the potential per datum, and ``temperature`` in each cycle, means over chains and steps.
        finite: Whether all chains stayed finite. Draws are from before they did not.
    """

    draws: Tensor
    last: Tensor
    temperatures: Tensor
    num_steps: int
    history: History
    finite: bool


def walk(
    slope: Slope,
    z: Tensor,
    batches: Minibatches,
    mass: Tensor,
    step_size: float,
    *,
    num_cycles: int,
    num_warmup: int,
    steps_per_cycle: int,
    momentum: float,
    temperature: float = 1.0,
    progress: bool = True,
    callback: Callback | None = None,
    label: str = "walk",
) -> Walk:
    r"""Stochastic-gradient Hamiltonian Monte Carlo with friction, in cycles of a falling step size.

    With potential :math:`U`, mass :math:`M` (a diagonal) and momentum :math:`m`, a step of size h is

    .. math:: m &\leftarrow m - h \, \tilde\nabla U(z), \qquad
              z \leftarrow z + \tfrac h2 M^{-1} m, \\
              m &\leftarrow a \, m + \sqrt{(1 - a^2) \, T} \, M^{1/2} \epsilon, \qquad
              z \leftarrow z + \tfrac h2 M^{-1} m,

    with :math:`\epsilon \sim N(0, 1)` and :math:`a` the momentum that remains: ``momentum`` at the full step size, and
    for smaller ones as much as over the same time, :math:`a^{h_0/h}`. Friction and noise are solved exactly, so that
    with exact gradients the only error is of second order in h. The step size falls from its full value along half a
    cosine within each cycle, and the draw is taken at its end.

    Noise in the gradients heats the chains. With all well, :math:`m^2 / M` averages to the temperature T.

    Args:
        slope: Gradients and values of the potential U, in nats, by minibatch.
        z: Where the chains begin ``(C, P)``.
        batches: The data, an order for each chain.
        mass: M ``(P,)``.
        step_size: The full step size :math:`h_0`.
        num_cycles: Cycles, those of the warm-up among them.
        num_warmup: Cycles whose draws are left out.
        steps_per_cycle: Steps in each.
        momentum: What is left of the momentum after a step of full size, between 0 and 1.
        temperature: T; draws are from :math:`\exp(-U / T)`.
        progress: Whether to show a progress bar.
        callback: Called after each cycle with its number and the mean of each term.
        label: What the bar says.

    References:
        Chen et al. (2014), Stochastic Gradient Hamiltonian Monte Carlo, arXiv:1402.4102, section 3.3; Leimkuhler and
        Matthews (2013), Rational Construction of Stochastic Numerical Methods for Molecular Sampling, Applied
        Mathematics Research eXpress 2013(1), for the splitting; Zhang et al. (2020), Cyclical Stochastic Gradient MCMC
        for Bayesian Deep Learning, arXiv:1902.03932, equation 1, for the cycles; Wenzel et al. (2020), How Good is the
        Bayes Posterior in Deep Neural Networks Really?, arXiv:2002.02405, appendix I.1, for the temperature.

    Example:
        >>> def bowl(z, batch):
        ...     return z, z.square().sum(1) / 2
        >>> starts, rows = torch.zeros(4, 2), Minibatches([torch.zeros(1)], 1, range(4))
        >>> cycles = {"num_cycles": 30, "num_warmup": 5, "steps_per_cycle": 50}
        >>> walked = walk(bowl, starts, rows, torch.ones(2), 0.3, momentum=0.9, progress=False, **cycles)
        >>> walked.draws.shape
        torch.Size([4, 25, 2])
    """
    root = mass.sqrt()
    velocity = math.sqrt(temperature) * torch.randn_like(z) / root
    heat, counted = torch.zeros_like(z), 0
    draws: list[Tensor] = []
    cycles: list[dict[str, float]] = []
    started, interrupted, finite = time.perf_counter(), False, True
    stream = _endless(batches)
    bar = tqdm(total=num_cycles * steps_per_cycle, disable=not progress, leave=False, unit="step", mininterval=0.3)
    try:
        for cycle in range(num_cycles):
            bar.set_description(f"{label}, {'warm-up' if cycle < num_warmup else 'drawing'}", refresh=False)
            energy, potential = torch.zeros_like(z), z.new_zeros(len(z))
            for step in range(steps_per_cycle):
                share = max(_SMALLEST_STEP, (1 + math.cos(math.pi * (step + 0.5) / steps_per_cycle)) / 2)
                h, kept = step_size * share, momentum**share
                gradient, value = slope(z, next(stream))
                velocity = velocity - h * gradient / mass
                z = z + h / 2 * velocity
                velocity = kept * velocity + math.sqrt((1 - kept**2) * temperature) * torch.randn_like(z) / root
                z = z + h / 2 * velocity
                energy += velocity.square() * mass
                potential += value
                bar.update()
            finite = bool(z.isfinite().all())
            if not finite:
                break
            if cycle >= num_warmup:
                draws.append(z)
                heat += energy
                counted += steps_per_cycle
            loss = float(potential.mean()) / steps_per_cycle / batches.num_rows
            cycles.append({"loss": loss, "temperature": float(energy.mean()) / steps_per_cycle})
            bar.set_postfix({name: f"{number:.3f}" for name, number in cycles[-1].items()}, refresh=False)
            if callback is not None:
                callback(cycle, cycles[-1])
    except KeyboardInterrupt:
        interrupted = True
        reached = "the draws reached are kept"
        if not draws:
            reached = "that was within the warm-up, so what is kept is where the chains were, no draws of the posterior"
        warn(f"stopped by hand after {len(cycles)} of {num_cycles} cycles; {reached}.")
    finally:
        bar.close()
    return Walk(
        torch.stack(draws, dim=1) if draws else z[:, None][:, :0],
        z,
        heat / max(1, counted),
        counted,
        History(cycles, time.perf_counter() - started, interrupted),
        finite,
    )


def steepness(slope: Slope, z: Tensor, batch: Sequence[Tensor], mass: Tensor) -> float:
    r"""The largest eigenvalue of :math:`M^{-1/2} H M^{-1/2}` in absolute value over all chains, by power iteration.

    H is the potential's Hessian. A step of size h is stable in a quadratic bowl where h squared times this is below 4.

    Args:
        slope: Gradients of the potential.
        z: Where the chains are ``(C, P)``.
        batch: The data to take it of.
        mass: M ``(P,)``.
    """
    root = mass.sqrt()
    place = z.detach().requires_grad_()
    with torch.enable_grad():
        gradient, _ = slope(place, batch)
        direction = torch.randn_like(z)
        for _ in range(_POWER_STEPS):
            direction = direction / direction.norm(dim=1, keepdim=True).clamp_min(torch.finfo(z.dtype).tiny)
            (along,) = torch.autograd.grad(gradient, place, direction / root, retain_graph=True)
            direction = along / root
    return float(direction.norm(dim=1).max())


def _endless(batches: Minibatches) -> Iterator[list[Tensor]]:
    while True:
        yield from batches
