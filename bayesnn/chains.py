"""Chain: one Markov chain of Pyro's No-U-Turn kernel over a vector; several take their steps in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pyro.infer import NUTS
from torch import Tensor
from tqdm.auto import tqdm

from bayesnn.training import Callback, History
from bayesnn.warned import warn

__all__ = ["BEFORE_THE_CHAINS", "Chain", "Potential", "chain_lengths", "run_chains"]

BEFORE_THE_CHAINS = (
    "that was before the chains began, so what is kept is where they were to begin, no draws of the posterior"
)
"""What is said where a fit by chains was stopped in what prepares it."""

Potential = Callable[[Tensor], Tensor]
"""Minus a log density, in nats, of a vector ``(P,)``."""


class Chain:
    """One chain: where it is, and what it has drawn since its warm-up.

    Args:
        potential: Minus the log density to draw from, up to a constant.
        z: Where it begins ``(P,)``.
        num_warmup: Steps in which Pyro's kernel adapts its step size and mass.
        max_tree_depth: A step takes at most ``2 ** max_tree_depth - 1`` gradients.
        **settings: Handed on to ``pyro.infer.NUTS``.

    Attributes:
        z: Where it is.
        draws: Where it was after each step since the warm-up.
        log_densities: The log density there.
        num_gradients: Gradients that each of these steps took.
        diverging: Whether each ended where the energy was off by more than 1000 nats.
        num_deepest: How many of these steps were cut off by ``max_tree_depth``.

    Example:
        >>> with torch.random.fork_rng():
        ...     chain = Chain(lambda z: z.dot(z) / 2, torch.zeros(2), num_warmup=50)
        ...     history = run_chains([chain], 60, progress=False)
        >>> len(chain.draws), len(history.epochs)
        (10, 60)
    """

    def __init__(
        self, potential: Potential, z: Tensor, *, num_warmup: int, max_tree_depth: int = 10, **settings: Any
    ) -> None:
        self.z = z
        self.num_warmup = num_warmup
        self.draws: list[Tensor] = []
        self.log_densities: list[float] = []
        self.num_gradients: list[int] = []
        self.diverging: list[bool] = []
        self.num_deepest = 0
        self._potential = potential
        self._most = 2**max_tree_depth - 1
        self._steps = self._gradients = self._diverged = 0
        self._kernel = NUTS(potential_fn=self._counted, max_tree_depth=max_tree_depth, **settings)
        self._kernel.initial_params = {"z": z}
        self._kernel.setup(num_warmup)

    def advance(self) -> dict[str, float]:
        """Take one step.

        Returns:
            ``loss``, minus the log density there in nats, and ``gradients``, how many were taken.
        """
        self._gradients = 0
        self.z = self._kernel.sample({"z": self.z})["z"]
        gradients = self._gradients
        with torch.no_grad():
            loss = float(self._potential(self.z))
        self._steps += 1
        if self._steps > self.num_warmup:
            self.draws.append(self.z)
            self.log_densities.append(-loss)
            self.num_gradients.append(gradients)
            self.diverging.append(self.num_divergences > self._diverged)
            self._diverged = self.num_divergences
            self.num_deepest += gradients >= self._most
        return {"loss": loss, "gradients": float(gradients)}

    @property
    def acceptance(self) -> float:
        """Mean acceptance probability since the warm-up, in steps of a thousandth; during it, since the start."""
        return float(self._kernel.logging()["acc. prob"])

    @property
    def num_divergences(self) -> int:
        """How many steps since the warm-up ended where the energy was off by more than 1000 nats."""
        return len(self._kernel.diagnostics()["divergences"]) if self.draws else 0

    def _counted(self, parts: Mapping[str, Tensor]) -> Tensor:
        self._gradients += 1
        return self._potential(parts["z"])


def run_chains(
    chains: Sequence[Chain],
    num_steps: int,
    *,
    num_data: int = 1,
    progress: bool = True,
    callback: Callback | None = None,
) -> History:
    """Let all chains take their steps in turn, so that they are of equal length whenever it is stopped by hand.

    Args:
        chains: The chains.
        num_steps: Steps of each, those of the warm-up among them.
        num_data: What the loss is divided by.
        progress: Whether to show a progress bar.
        callback: Called after each round of steps with its number and the mean of each term over the chains.

    Returns:
        The mean over chains of every term in each round.
    """
    epochs: list[dict[str, float]] = []
    started, interrupted = time.perf_counter(), False
    bar = tqdm(total=num_steps, desc="nuts", disable=not progress, leave=False, unit="step", mininterval=0.3)
    try:
        for step in range(num_steps):
            taken = [chain.advance() for chain in chains]
            means = {name: sum(terms[name] for terms in taken) / len(chains) for name in taken[0]}
            epochs.append({**means, "loss": means["loss"] / num_data})
            bar.set_description("nuts, drawing" if chains[0].draws else "nuts, warm-up", refresh=False)
            bar.set_postfix({name: f"{value:.4g}" for name, value in epochs[-1].items()}, refresh=False)
            bar.update()
            if callback is not None:
                callback(step, epochs[-1])
    except KeyboardInterrupt:
        interrupted = True
        reached = "the draws reached are kept"
        if not all(chain.draws for chain in chains):
            reached = "that was within the warm-up, so what is kept is where the chains were, no draws of the posterior"
        warn(f"stopped by hand after {len(epochs)} of {num_steps} steps; {reached}.")
    finally:
        bar.close()
    return History(epochs, time.perf_counter() - started, interrupted)


def chain_lengths(num_samples: int, num_chains: int, length: int) -> tuple[int, ...]:
    """Draws of each chain among the first ``num_samples`` of all, which lie chain by chain.

    Example:
        >>> chain_lengths(7, 2, 4)
        (4, 3)
    """
    ends = [min(num_samples, (number + 1) * length) for number in range(num_chains)]
    return tuple(end - begin for begin, end in zip([0, *ends[:-1]], ends, strict=True) if end > begin)
