"""From rung 1 to rung 2: a network's outputs at every draw of its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.modules.conv import _ConvNd

from bayesnn.calls import call
from bayesnn.stacked import Stacked, same

__all__ = ["Plan", "at_draws", "plan"]

_INPUTS_AT_ONCE = 500
_NUMBERS_AT_ONCE = {"cpu": 300_000, "cuda": 2**26}
"""Outputs of the widest layer in one go: on a CPU what stays in its cache; docs/speed.md has the figures."""

_WEIGHTS_AT_ONCE = 2**22
"""Bound on the weights, inputs or layer's outputs of all draws in one vectorised call: 16 MB in float32."""

_INPUTS_IN_TURN, _NUMBERS_IN_TURN = 400, {"cpu": 2**19, "cuda": 2**24}
"""Inputs at once where draws go in turn, and the numbers that make them up: few enough that a layer's maps, some of
which are many times as large as a picture, stay in the processor's cache, and that big pictures do not fill memory."""

_BLOCKS_OF_A_DRAW = 10
"""Blocks of inputs that a draw sees before the next one's turn, as it takes a while to put its weights in."""


@dataclass(frozen=True)
class Plan:
    """How a network's outputs at many draws are computed.

    Attributes:
        way: ``"stacked"``, the layers of many draws as batched matrix products (see `bayesnn.stacked`);
            ``"vectorised"``, by ``torch.func.vmap``; or ``"in turn"``, draw by draw.
        draws_at_once: Draws in one go.
        inputs_at_once: Inputs in one go.
    """

    way: Literal["stacked", "vectorised", "in turn"]
    draws_at_once: int
    inputs_at_once: int

    def __str__(self) -> str:
        draws = "one draw" if self.draws_at_once == 1 else f"{self.draws_at_once} draws"
        return f"{self.way}, {draws} and {self.inputs_at_once} inputs at once"


def plan(network: nn.Module, draws: Mapping[str, Tensor], x: Tensor) -> Plan:
    """How outputs are best computed: convolutions and what torch cannot vectorise in turn, small layers together.

    It is told of what differs between draws; what stands in front of that in a sequence, as convolutions in front of
    the first mask of dropout, sees each input once. The rule looks at sizes alone, so that the same inputs give the
    same numbers each time.

    Args:
        network: The network.
        draws: Its weights by name, ``(S, *shape)`` each.
        x: Inputs ``(N, ...)``.
    """
    if (parts := _parted(network, draws)) is not None:
        _, network, draws = parts
    number, row = max(map(len, draws.values()), default=1), max(1, x[0].numel())
    if any(isinstance(module, _ConvNd | nn.RNNBase) for module in network.modules()):
        return _in_turn(x)
    stacked = Stacked.of(network)
    if stacked is not None:
        budget = _NUMBERS_AT_ONCE.get(x.device.type, _NUMBERS_AT_ONCE["cuda"])
        inputs = min(len(x), _INPUTS_AT_ONCE if x.device.type == "cpu" else budget // max(row, stacked.widest))
        inputs = max(1, inputs)
        return Plan("stacked", min(number, max(1, budget // (stacked.widest * inputs))), inputs)
    inputs = min(len(x), 2 * _INPUTS_AT_ONCE)
    tables = [path for path, module in network.named_modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
    layers = [v for name, v in draws.items() if v.ndim > 1 and name.rpartition(".")[0] not in tables]
    widest = max([row, *(value.shape[1] for value in layers)])  # of inputs and layers' outputs, by guess
    widest = max(sum(value[0].numel() for value in draws.values()), widest * inputs)
    return Plan("vectorised", min(number, max(1, _WEIGHTS_AT_ONCE // widest)), inputs)


def _in_turn(x: Tensor) -> Plan:
    numbers = _NUMBERS_IN_TURN.get(x.device.type, _NUMBERS_IN_TURN["cuda"])
    return Plan("in turn", 1, max(1, min(_INPUTS_IN_TURN, numbers // max(1, x[0].numel()))))


def at_draws(
    network: nn.Module, draws: Mapping[str, Tensor], x: Tensor, prepare: Callable[[Tensor], Tensor] = lambda x: x
) -> Tensor:
    """Outputs ``(S, N, K)`` of a network at S draws.

    Args:
        network: The network.
        draws: Its weights (and buffers, where they differ) by name, ``(S, *shape)`` each.
        x: Inputs ``(N, ...)``.
        prepare: What is done to inputs before the network reads them.
    """
    if (parts := _parted(network, draws)) is not None:
        first, rest, differing = parts
        return at_draws(rest, differing, x, lambda part: first(prepare(part)))
    chosen = plan(network, draws, x)
    if chosen.way == "stacked":
        return _stacked(Stacked.of(network), draws, x, prepare, chosen)

    if chosen.way == "vectorised":
        together = vmap(partial(call, network), in_dims=(0, None))
        chunks = _chunks(draws, chosen)

        def outputs(part: _Prepared) -> Tensor:
            return torch.cat([together(chunk, part()) for chunk in chunks])

        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="There is a performance drop")
                return torch.cat([outputs(_Prepared(prepare, part)) for part in x.split(chosen.inputs_at_once)], 1)
        except RuntimeError:
            chosen = _in_turn(x)
    blocks, in_blocks, names = [], _InBlocks(network), [f"network.{name}" for name in draws]
    each = [dict(zip(names, values, strict=True)) for values in zip(*draws.values(), strict=True)]
    for some in x.split(_BLOCKS_OF_A_DRAW * chosen.inputs_at_once):
        seen = [_Prepared(prepare, part) for part in some.split(chosen.inputs_at_once)]
        blocks.append(torch.stack([call(in_blocks, draw, seen) for draw in each]))
    return torch.cat(blocks, 1)


class _Prepared:
    """Inputs as the network is to see them: made once, and anew where a network has overwritten them."""

    def __init__(self, prepare: Callable[[Tensor], Tensor], x: Tensor) -> None:
        self._prepare, self._x = prepare, x
        self._seen: Tensor | None = None
        self._version = 0

    def __call__(self) -> Tensor:
        if self._seen is not None and self._seen.is_inference():  # torch keeps no count of such a tensor's changes
            return self._seen.clone()
        if self._seen is None or self._seen._version != self._version:
            self._seen = self._prepare(self._x)
            if self._seen.is_inference():
                return self._seen.clone()
            self._version = self._seen._version
        return self._seen


def _chunks(draws: Mapping[str, Tensor], chosen: Plan) -> list[dict[str, Tensor]]:
    """The draws by as many as are run at once."""
    starts = range(0, max(map(len, draws.values()), default=1), chosen.draws_at_once)
    return [{name: v[start : start + chosen.draws_at_once] for name, v in draws.items()} for start in starts]


class _InBlocks(nn.Module):
    """A network that reads its inputs block by block."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, blocks: Sequence[_Prepared]) -> Tensor:
        return torch.cat([self.network(part()) for part in blocks])


def _parted(
    network: nn.Module, draws: Mapping[str, Tensor]
) -> tuple[Callable[[Tensor], Tensor], nn.Module, dict[str, Tensor]] | None:
    """What comes before the first weight that differs, as a function; the network from there on, and its draws.

    ``None`` if nothing with weights comes before it, or the network is not a sequence whose parts stand for themselves.
    """
    plain = type(network) is nn.Sequential and not (network._forward_hooks or network._forward_pre_hooks)
    differing = {name.split(".")[0] for name, value in draws.items() if not same(value)}
    if not (plain and differing) or "forward" in vars(network) or Stacked.of(network) is not None:
        return None
    assert isinstance(network, nn.Sequential)
    end = next(at for at, name in enumerate(network._modules) if name in differing)
    first, rest = network[:end], network[end:]
    if not list(first.parameters()) or {*map(id, first.parameters())} & {*map(id, rest.parameters())}:
        return None
    known = {name for name, _ in (*first.named_parameters(), *first.named_buffers())}
    shared = {name: value[0] for name, value in draws.items() if name in known}
    return (
        lambda x: call(first, shared, x),
        rest,
        {name: value for name, value in draws.items() if name not in known},
    )


def _stacked(
    network: Stacked | None, draws: Mapping[str, Tensor], x: Tensor, prepare: Callable[[Tensor], Tensor], chosen: Plan
) -> Tensor:
    assert network is not None
    first, rest = network.split(draws)
    number, chunks = max(map(len, draws.values())), _chunks(draws, chosen)
    found: Tensor | None = None
    for start in range(0, len(x), chosen.inputs_at_once):
        seen = first(draws, prepare(x[start : start + chosen.inputs_at_once]))
        for at, chunk in enumerate(chunks):
            outputs = rest(chunk, seen)
            if outputs.shape[1] != min(chosen.inputs_at_once, len(x) - start):
                raise RuntimeError(f"{outputs.shape[1]} rows came out of {len(x)}")
            if found is None:
                found = outputs.new_empty(number, len(x), *outputs.shape[2:])
            rows = slice(start, start + outputs.shape[1])
            found[at * chosen.draws_at_once : at * chosen.draws_at_once + len(outputs), rows] = outputs
    assert found is not None
    return found
