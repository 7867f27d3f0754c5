"""Predictives of any size in bounded memory: their members are computed block by block, whenever something is asked."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from bayesnn import members as parts
from bayesnn.memory import memory_limit, words
from bayesnn.predictive import Predictive
from bayesnn.rows import chosen, put, room_for

__all__ = ["PredictionPlan", "Streamed", "blockwise", "in_double", "planned", "predicted"]

_BLOCK = 2**24
"""Bytes of the members of one block."""

_FEW = 100
"""Inputs that are predicted straight away. Of more, the members of one tell first how much memory all will take."""

_AT_ONCE, _AT_ONCE_OF_ITS_OWN = 1000, 10_000
"""Inputs predicted in one go where all members are held; and of a model that goes through its inputs in blocks itself,
as to join members costs a fifth of making them."""


class Streamed(Predictive):
    """The predictive of inputs too many for the members to be held.

    It answers what a `Predictive` answers, by going through the inputs block by block, all draws of a block at once:
    memory is that of a block and of the answer. Each question costs the predictions anew; mean, variance and class
    probabilities, once asked for, are kept.

    Args:
        predict: Predictive of some inputs.
        x: All inputs ``(N, ...)``.
        block: Inputs of a block.
        limit: Bytes of members that may be held.
    """

    def __init__(self, predict: Callable[[Tensor], Predictive], x: Tensor, block: int, limit: int) -> None:
        self._predict, self._x, self._block, self._limit = predict, x, block, limit
        self._first = predict(x[:1])
        self._example, self._over_classes = self._first.members, self._first.has_enumerate_support
        self.mixture = None
        Distribution.__init__(self, torch.Size([len(x)]), self._first.event_shape, validate_args=False)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, in blocks of {self._block})"

    def __getitem__(self, index: Any) -> Predictive:
        """The predictive of some of the inputs; one input keeps its axis."""
        some = self._x[chosen(index, len(self))]
        return predicted(self._predict, some, self._limit) if len(some) else self._first[:0]

    def blocks(self) -> Iterator[Predictive]:
        """Predictives of the inputs block by block, in order."""
        for part in self._x.split(self._block):
            with torch.no_grad():  # not around `yield`, which would leave it on for whoever asks
                block = self._predict(part)
            yield block
            del block

    def each(self, function: Callable[..., Any], *values: Any) -> Any:
        """What a function of a predictive gives for every input, joined along the inputs.

        Args:
            function: Of a predictive, and of further values for its inputs; it gives a tensor ``(N, ...)``, or a
                dictionary or data class of such.
            *values: Tensors ``(N, ...)`` are cut to each block's inputs; others are handed on.
        """
        found, start = None, 0
        for block in self.blocks():
            rows = slice(start, start + len(block))
            own = [v[rows] if isinstance(v, Tensor) and v.ndim and len(v) == len(self) else v for v in values]
            result = function(block, *own)
            # Small results that outlive a block would lie scattered between its large ones, and memory would grow.
            found = room_for(result, len(self)) if found is None else found
            put(found, result, rows)
            start += len(block)
            del block, result
        return found

    def mapped(self, function: Callable[[Predictive], Predictive]) -> Streamed:
        """The predictive whose blocks are what a function makes of these."""
        return Streamed(functools.partial(_then, function, self._predict), self._x, self._block, self._limit)

    @property
    def members(self) -> Distribution:
        """All members at once, if they fit."""
        size = len(self) * _bytes(self._first)
        if size > self._limit:
            raise MemoryError(
                f"the members of {self.num_samples} draws and {len(self)} inputs take {words(size)}, and may take "
                f"{words(self._limit)}. Ask for what goes block by block (mean, variance, probs, log_prob(y), "
                "decompose), take some inputs, predictive[:1000], or call the posterior with "
                f'memory="{words(2 * size)}".'
            )
        return Predictive.concatenate(list(self.blocks())).members

    @property
    def num_samples(self) -> int:
        """Number of draws S."""
        return self._first.num_samples

    @property
    def device(self) -> torch.device:
        """Where the members are computed."""
        return self._first.device

    def to(self, device: torch.device | str) -> Predictive:
        """The same predictive on another device: blocks are moved as they are made."""
        return self.mapped(functools.partial(Predictive.to, device=device))

    def target(self, number: int) -> Predictive:
        """The predictive ``(N,)`` of one of D targets, see `Predictive.target`."""
        self._first.target(number)
        return self.mapped(functools.partial(Predictive.target, number=number))

    @functools.cached_property
    def log_probs(self) -> Tensor:
        """Log-probability of each class ``(N, C)``; in nats. Finite support only."""
        return self.each(lambda block: block.log_probs)

    @property
    def member_log_probs(self) -> Tensor:
        """Log-probability of each class under each draw ``(S, N, C)``, if they fit."""
        return Predictive(self.members).member_log_probs

    @property
    def mean(self) -> Tensor:
        """Mean ``(N,)`` or ``(N, D)``, in the units of ``y``."""
        return self._moments["mean"]

    @property
    def variance(self) -> Tensor:
        """Variance, noise and disagreement, in squared units of ``y``."""
        return self._moments["variance"]

    @functools.cached_property
    def _moments(self) -> dict[str, Tensor]:
        return self.each(lambda block: {"mean": block.mean, "variance": block.variance})

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density or log-probability of a target for each input ``(N,)``, in nats."""
        if self.has_enumerate_support and not self.event_shape:  # they are kept
            labels = self.checked(value).long()
            labels = labels if labels.ndim else labels.expand(self.batch_shape)
            return self.log_probs.expand(*labels.shape, -1).gather(-1, labels[..., None])[..., 0]
        return self._at(lambda block, y: block.log_prob(y), self.checked(value))

    def cdf(self, value: Tensor) -> Tensor:
        """Distribution function of each target dimension for itself, shape of ``value``."""
        return self._at(lambda block, y: block.cdf(y), self.checked(value))

    def icdf(self, value: Tensor | float) -> Tensor:
        """Quantiles of each target dimension for itself, see `Predictive.icdf`."""
        level = torch.as_tensor(value, dtype=self._example.mean.dtype, device=self.device)
        return self._at(lambda block, level: block.icdf(level), level)

    def _at(self, function: Callable[[Predictive, Tensor], Tensor], values: Tensor) -> Tensor:
        """A function of targets, with any axes in front of those of the inputs; values without such are handed on."""
        shape = self.batch_shape + self.event_shape
        if values.ndim < len(shape):
            return self.each(lambda block: function(block, values))
        axis = values.ndim - len(shape)
        rows = values.expand(*values.shape[:axis], *shape).movedim(axis, 0)
        return self.each(lambda block, own: function(block, own.movedim(0, axis)).movedim(axis, 0), rows).movedim(
            0, axis
        )

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Targets ``(*sample_shape, N)`` or ``(*sample_shape, N, D)``: a member at random, then a draw from it."""
        axis = len(torch.Size(sample_shape))
        return self.each(lambda block: block.sample(sample_shape).movedim(axis, 0)).movedim(0, axis)

    def entropy(self) -> Tensor:
        """Entropy of the mixture in nats ``(N,)``, see `Predictive.entropy`."""
        return self.each(lambda block: block.entropy())


def blockwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that answers for every input of a predictive take a streamed one."""

    @functools.wraps(function)
    def through(predictive: Predictive, *values: Any, **options: Any) -> Any:
        if isinstance(predictive, Streamed):
            return predictive.each(functools.partial(function, **options), *values)
        return function(predictive, *values, **options)

    return through


def in_double(predictive: Predictive) -> Predictive:
    """The predictive with its members, and a mixture known in closed form, in double precision."""
    if isinstance(predictive, Streamed):
        return predictive.mapped(in_double)
    mixture = None if predictive.mixture is None else parts.in_double(predictive.mixture)
    return predictive.of(parts.in_double(predictive.members), mixture)


def predicted(
    predict: Callable[[Tensor], Predictive], x: Tensor, memory: str | int | None = None, *, in_blocks: bool = False
) -> Predictive:
    """The predictive of inputs: held where its members fit into memory, streamed where they do not.

    Args:
        predict: Predictive of some inputs.
        x: All inputs ``(N, ...)``, one at least.
        memory: See `memory_limit`.
        in_blocks: Whether ``predict`` goes through its inputs in blocks itself.
    """
    limit, few = memory_limit(memory, x.device), predict(x if len(x) <= _FEW else x[:1])
    each = _bytes(few)
    if each * len(x) > limit:
        return Streamed(predict, x, _block(each, limit), limit)
    if len(x) <= _FEW:
        return few
    return Predictive.concatenate([predict(part) for part in x.split(_AT_ONCE_OF_ITS_OWN if in_blocks else _AT_ONCE)])


@dataclasses.dataclass(frozen=True)
class PredictionPlan:
    """How predictions are made.

    Attributes:
        num_samples: Draws S.
        num_inputs: Inputs N.
        bytes: Memory of the predictions of all draws.
        limit: Memory that they may take.
        block: Inputs of a block, where they are not held; else all.
        network: How the network runs at all draws, in words; empty where that is the model's own affair.
    """

    num_samples: int
    num_inputs: int
    bytes: int
    limit: int
    block: int
    network: str = ""

    @property
    def held(self) -> bool:
        """Whether all predictions are held."""
        return self.bytes <= self.limit

    def __str__(self) -> str:
        size = f"{self.num_samples} draws of {self.num_inputs} inputs take {words(self.bytes)}"
        what = "are held" if self.held else f"are not held: blocks of {self.block} inputs, for each question anew"
        return f"{size} and {what}" + (f"; the network runs {self.network}" if self.network else "")


def planned(
    predict: Callable[[Tensor], Predictive], x: Tensor, memory: str | int | None, network: object | None
) -> PredictionPlan:
    """What `predicted` would do.

    Args:
        predict: Predictive of some inputs.
        x: All inputs ``(N, ...)``, one at least.
        memory: See `memory_limit`.
        network: How the network runs at all draws, where that is known.
    """
    limit, few = memory_limit(memory, x.device), predict(x[:1])
    size = (each := _bytes(few)) * len(x)
    block = len(x) if size <= limit else _block(each, limit)
    return PredictionPlan(few.num_samples, len(x), size, limit, block, "" if network is None else str(network))


def _then(function: Callable[[Predictive], Predictive], predict: Callable[[Tensor], Predictive], x: Tensor) -> Any:
    return function(predict(x))


def _block(each: int, limit: int) -> int:
    """Inputs of a block, of so many bytes each."""
    return max(1, min(_BLOCK, limit // 8) // each)


def _bytes(few: Predictive) -> int:
    """Bytes of the members of one input."""
    tensors, _ = parts.unpack(few.members)
    return max(1, sum(tensor.numel() * tensor.element_size() for tensor in tensors) // len(few))
