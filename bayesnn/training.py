"""The one optimisation loop: epochs of minibatches, a step size that falls, a progress bar, and nothing lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam
from tqdm.auto import tqdm

from bayesnn.checks import check_count
from bayesnn.warned import warn

__all__ = ["Adam", "History", "Loss", "Minibatches", "optimise"]

Loss = Callable[[int, Sequence[Tensor]], dict[str, Tensor]]
"""``(step, batch) -> terms``: a dictionary of scalars, per datum, whose ``"loss"`` is what is minimised.

A loss that has no graph of its gradient has put the gradient into the parameters itself."""

Callback = Callable[[int, dict[str, float]], object]
"""Called after each epoch with its number and the mean of each term."""

_AT_ONCE = 1 << 20
"""Bytes up to which the data are put into their order at once, and not a minibatch at a time."""

_FINAL_RATE = 0.001
"""The step size falls to this fraction of its start, along half a cosine."""


@dataclass(frozen=True)
class History:
    """What happened in a fit: the mean of every term in each epoch.

    Attributes:
        epochs: One dictionary per epoch.
        seconds: Wall time.
        interrupted: Whether it was stopped by hand.
        learning_rate: The step size at the start, where one optimiser made the fit.
    """

    epochs: list[dict[str, float]] = field(repr=False)
    seconds: float
    interrupted: bool
    learning_rate: float | None = None

    def __getitem__(self, name: str) -> list[float]:
        """A term over the epochs."""
        return [epoch[name] for epoch in self.epochs]


class Adam:
    """torch's fused Adam without what its class does around a step, which takes longer than a small network's step.

    Args:
        leaves: What is moved.
        lr: Step size.

    Attributes:
        param_groups: One group, whose ``"lr"`` may be changed between steps.

    References:
        Kingma and Ba (2015), arXiv:1412.6980, algorithm 1.
    """

    def __init__(self, leaves: Sequence[Tensor], lr: float) -> None:
        self._leaves = list(leaves)
        self._first, self._second = ([torch.zeros_like(leaf) for leaf in self._leaves] for _ in range(2))
        self._steps = [torch.zeros((), device=leaf.device) for leaf in self._leaves]
        self._ones = [torch.ones_like(step) for step in self._steps]  # a number would be made a tensor in every step
        self.param_groups: list[dict[str, Any]] = [{"params": self._leaves, "lr": lr}]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for leaf in self._leaves:
            leaf.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every leaf that has a gradient."""
        state = zip(self._leaves, self._first, self._second, self._steps, self._ones, strict=True)
        moved = [(leaf, leaf.grad, *rest) for leaf, *rest in state if leaf.grad is not None]
        if not moved:
            return
        leaves, slopes, first, second, steps, ones = (list(part) for part in zip(*moved, strict=True))
        settings = {
            "lr": self.param_groups[0]["lr"], "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8,
            "amsgrad": False, "maximize": False,
        }  # fmt: skip
        if len(leaves) == 1:  # what `adam` comes to; its grouping of leaves by type takes half of a small one's time
            steps[0].add_(ones[0])
            torch._fused_adam_(leaves, slopes, first, second, [], steps, **settings)
        else:
            adam(leaves, slopes, first, second, [], steps, fused=True, **settings)


class Minibatches:
    """Minibatches of equal rows of several tensors, shuffled anew each time they are gone through.

    Args:
        tensors: Tensors of one length, on one device.
        size: Rows in a batch; the last may have fewer. With all rows in one batch the order stays.
        seeds: Seeds of several orders side by side: batches then have one more axis in front, an order each. Each
            order is the one that a generator of its own with that seed gives.
    """

    def __init__(self, tensors: Sequence[Tensor], size: int, seeds: Sequence[int] = ()) -> None:
        check_count("batch_size", size)
        self.tensors = list(tensors)
        self.num_rows = len(tensors[0])
        self.size = int(min(size, self.num_rows))
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    @property
    def axis(self) -> int:
        """The axis of the rows."""
        return 1 if self.generators else 0

    def __len__(self) -> int:
        return math.ceil(self.num_rows / self.size)

    def __iter__(self) -> Iterator[list[Tensor]]:
        if len(self) == 1:  # copies, as a network may overwrite what it is given; several side by side do not
            several = len(self.generators)
            yield [t.expand(several, *t.shape) if several else t.clone() for t in self.tensors]
            return
        orders = [torch.randperm(self.num_rows, generator=generator) for generator in self.generators]
        order = torch.stack(orders) if orders else torch.randperm(self.num_rows)
        order = order.to(self.tensors[0].device)
        if sum(tensor.nbytes for tensor in self.tensors) * max(1, len(orders)) <= _AT_ONCE:
            parts = zip(*(rows.split(self.size, self.axis) for rows in self._rows(order)), strict=True)
            yield from ([part.detach() for part in batch] for batch in parts)  # views of no other: may be changed
        else:
            yield from map(self._rows, order.split(self.size, self.axis))

    def _rows(self, chosen: Tensor) -> list[Tensor]:
        """The rows of so many numbers; of one order, `index_select` takes a third of the time."""
        return [tensor[chosen] if self.generators else tensor.index_select(0, chosen) for tensor in self.tensors]


def optimise(
    loss: Loss,
    parameters: Iterable[Tensor],
    batches: Minibatches,
    *,
    num_epochs: int,
    learning_rate: float,
    progress: bool = True,
    callback: Callback | None = None,
    label: str = "fit",
    method: Callable[..., Any] = Adam,
    final_rate: float = _FINAL_RATE,
    reached: str = "the state reached is kept",
) -> History:
    """Minimise a loss by Adam, in place.

    The step size falls along half a cosine to a thousandth of its start. On Ctrl-C the state reached is kept. If the
    loss stops being finite, the last finite state comes back and a warning says what to lower.

    Args:
        loss: Terms of the loss of one minibatch, per datum.
        parameters: Leaves to change.
        batches: The data.
        num_epochs: Passes over the data.
        learning_rate: Adam's step size at the start.
        progress: Whether to show a progress bar.
        callback: Called after each epoch with its number and the mean of each term.
        label: What the bar says.
        method: What makes another optimiser of ``(parameters, lr=...)``.
        final_rate: Fraction of its start to which the step size falls; 1 keeps it.
        reached: What the warning says of what Ctrl-C leaves.

    Returns:
        The mean of every term in each epoch.

    Raises:
        ValueError: If ``num_epochs`` or ``learning_rate`` is not positive, or the first epoch's loss is not finite.

    References:
        Kingma and Ba (2015), Adam, arXiv:1412.6980; Loshchilov and Hutter (2017), SGDR, arXiv:1608.03983, equation 5.
    """
    if not isinstance(num_epochs, Integral):
        raise TypeError(f"num_epochs must be a whole number; got {num_epochs!r}.")
    if num_epochs < 1:
        raise ValueError(f"num_epochs must be 1 or more; got {num_epochs}.")
    if not (isinstance(learning_rate, Real) and learning_rate > 0 and math.isfinite(learning_rate)):
        raise ValueError(f"learning_rate must be positive; got {learning_rate!r}. Write learning_rate=0.01, say.")
    leaves = list(parameters)
    optimiser = method(leaves, lr=learning_rate)
    num_steps, step = num_epochs * len(batches), 0
    epochs: list[dict[str, float]] = []
    states = [(_copied(leaves), 0)]
    started, interrupted = time.perf_counter(), False
    bar = tqdm(total=num_steps, desc=label, disable=not progress, leave=False, unit="step", mininterval=0.3)
    try:
        for epoch in range(num_epochs):
            if epoch % max(1, num_epochs // 100) == 0:
                states = [*states[-1:], (_copied(leaves), epoch)]
            seen: list[tuple[dict[str, Tensor], int]] = []
            for batch in batches:
                rate = final_rate + (1 - final_rate) * (1 + math.cos(math.pi * step / num_steps)) / 2
                optimiser.param_groups[0]["lr"] = learning_rate * rate
                terms = loss(step, batch)
                if terms["loss"].requires_grad:
                    optimiser.zero_grad(set_to_none=True)
                    terms["loss"].backward()
                    terms = {name: value.detach() for name, value in terms.items()}
                optimiser.step()
                seen.append((terms, batch[0].shape[batches.axis]))
                step += 1
                bar.update()
            means = _means(seen)
            if not math.isfinite(means["loss"]):
                break
            epochs.append(means)
            if progress:
                bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()}, refresh=False)
            if callback is not None:
                callback(epoch, means)
    except KeyboardInterrupt:
        interrupted = True
        warn(f"stopped by hand after {len(epochs)} of {num_epochs} epochs; {reached}.")
    finally:
        bar.close()
    if (len(epochs) < num_epochs and not interrupted) or not all(bool(leaf.isfinite().all()) for leaf in leaves):
        done = len(epochs)
        del epochs[_last_finite(loss, leaves, states, batches, num_steps - 1) :]
        _say_not_finite(done, num_epochs, learning_rate)
    return History(epochs, time.perf_counter() - started, interrupted, learning_rate)


def _means(seen: Sequence[tuple[dict[str, Tensor], int]]) -> dict[str, float]:
    """The mean of every term over the rows of an epoch: read at its end, so that no step waits for a device."""
    rows = torch.tensor([float(number) for _, number in seen], dtype=torch.float64)
    names = list(seen[0][0])
    values = torch.stack([terms[name] for terms, _ in seen for name in names]).double().cpu()
    return dict(zip(names, (rows @ values.view(len(seen), -1) / rows.sum()).tolist(), strict=True))


def _copied(leaves: Sequence[Tensor]) -> list[Tensor]:
    return [leaf.detach().clone() for leaf in leaves]


@torch.no_grad()
def _last_finite(
    loss: Loss, leaves: Sequence[Tensor], states: Sequence[tuple[list[Tensor], int]], batches: Minibatches, step: int
) -> int:
    """Put back the last state that gives a finite loss on all data; the number of epochs it had seen."""
    num_epochs = 0
    for values, num_epochs in reversed(states):  # noqa: B007 - used after the loop
        for leaf, value in zip(leaves, values, strict=True):
            leaf.copy_(value)
        if all(bool(loss(step, batch)["loss"].isfinite()) for batch in batches):
            break
    return num_epochs


def _say_not_finite(epoch: int, num_epochs: int, learning_rate: float) -> None:
    advice = f"Lower learning_rate (now {learning_rate:g}) or rescale the data."
    if epoch == 0:
        raise ValueError(f"the loss must be finite; in the first epoch it was not. {advice}")
    warn(f"the loss stopped being finite after {epoch} of {num_epochs} epochs; the last finite state is kept. {advice}")
