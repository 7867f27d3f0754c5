"""Dropout as masks that can be held still: a draw of masks is a draw of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bayesnn.seeding import seeded

__all__ = ["Mask", "masks_of", "with_masks"]

_AXES = {nn.Dropout: None, nn.Dropout1d: 1, nn.Dropout2d: 1, nn.Dropout3d: 1}
"""Dropout layers, and how many axes of a datum their masks have: all, or the channels alone."""

_FUNCTIONAL = ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")

_TEMPERATURE = 0.1
"""Of the relaxed masks; as in Gal et al. (2017), arXiv:1705.07832, section 3."""


class Mask(nn.Module):
    r"""What stands in the place of a dropout layer: it multiplies by :math:`z / (1 - p)`, z of zeros and ones.

    In ``eval`` mode by the buffer ``mask``, the same for all inputs; in ``train`` mode by a fresh mask for each datum.
    With ``logit`` set, the fresh masks are relaxed so that the rate :math:`p = \operatorname{sigmoid}(\text{logit})`
    has a gradient.

    Args:
        rate: Chance p of a zero.
        channels: Whether a mask has one value for each channel instead of one for each number.
    """

    mask: Tensor

    def __init__(self, rate: float, channels: bool) -> None:
        super().__init__()
        self.rate = rate
        self.channels = channels
        self.logit: Tensor | None = None
        self.shape: tuple[int, ...] = ()
        self.register_buffer("mask", torch.ones(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by a mask."""
        if not self.training:
            return x * self.mask
        ones = x.new_ones(*x.shape[:2], *[1] * (x.ndim - 2)) if self.channels else torch.ones_like(x)
        return x * (ones.bernoulli(1 - self.rate) / (1 - self.rate) if self.logit is None else self._relaxed(ones))

    def draws(self, num_samples: int, like: Tensor) -> Tensor:
        """Masks ``(S, *shape)`` of the type and device of ``like``, from the global random state."""
        ones = like.new_ones(num_samples, *self.shape)
        return ones.bernoulli(1 - self.rate) / (1 - self.rate)

    def _relaxed(self, ones: Tensor) -> Tensor:
        assert self.logit is not None
        noise = torch.rand_like(ones).clamp(1e-7, 1 - 1e-7).logit()
        kept = torch.sigmoid(-(self.logit + noise) / _TEMPERATURE)
        return kept / torch.sigmoid(-self.logit)


def with_masks(network: nn.Module, rate: float | None) -> nn.Module:
    """A copy of a network with a `Mask` in the place of each dropout layer.

    Args:
        network: Any network with ``nn.Dropout`` layers.
        rate: A rate for all of them; each layer's own if ``None``.

    Raises:
        ValueError: If the network has no dropout layer, or drops out in a way that cannot be held still.
    """
    network = copy.deepcopy(network)
    for name, module in list(network.named_modules()):
        kind = type(module)
        if kind in (nn.AlphaDropout, nn.FeatureAlphaDropout):
            raise ValueError(f"the dropout layers must be nn.Dropout, 1d, 2d or 3d; {name!r} is nn.{kind.__name__}.")
        inner = getattr(module, "dropout", 0.0)
        if isinstance(inner, float) and inner > 0:
            raise ValueError(
                f"dropout must be a layer of its own; {name!r}, nn.{kind.__name__}, drops out inside, where masks "
                "cannot be held still. Write dropout=0 there, and nn.Dropout layers around it."
            )
        if kind in _AXES:
            masked = Mask(module.p if rate is None else rate, _AXES[kind] is not None)
            masked.train(False)
            if not name:
                return masked
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, masked)
    found = masks_of(network)
    if not found:
        raise ValueError(
            "MC dropout needs an nn.Dropout layer in the network; it has none. Write networks.mlp(..., dropout=0.1), "
            "or put nn.Dropout(0.1) in front of the linear layers. F.dropout cannot be seen from outside."
        )
    rates = {name: mask.rate for name, mask in found.items()}
    wrong = [name for name, p in rates.items() if not 0 < p < 1]
    if wrong:
        raise ValueError(
            f"a dropout rate must lie between 0 and 1; layer {wrong[0]!r} has {rates[wrong[0]]}. Write rate=0.1 to set "
            "all of them."
        )
    return network


def masks_of(network: nn.Module) -> dict[str, Mask]:
    """The masks of a network by name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Mask)}


@torch.no_grad()
def trace_masks(network: nn.Module, run: Callable[[], Any], device: torch.device) -> dict[str, list[str]]:
    """Run a network once, and let each mask learn its shape.

    Args:
        network: The network with masks.
        run: Runs it on a few inputs.
        device: Where it runs.

    Returns:
        For each mask, the names of the parameters of the layer that reads what it masks: the next one with
        parameters that runs after it.

    Raises:
        ValueError: If a mask is used more than once or not at all, or the network calls ``F.dropout`` besides.
    """
    order: list[str] = []

    def record(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            order.append(name)
            if isinstance(module, Mask):
                x = inputs[0]
                module.shape = (*x.shape[1:2], *[1] * (x.ndim - 2)) if module.channels else tuple(x.shape[1:])

        return hook

    masks = masks_of(network)
    own = {name: [n for n, _ in module.named_parameters(recurse=False)] for name, module in network.named_modules()}
    hooks = [
        module.register_forward_pre_hook(record(name))
        for name, module in network.named_modules()
        if name in masks or own[name]
    ]
    training = {name: module.training for name, module in network.named_modules()}
    spy = _FunctionalDropout()
    try:
        network.train()
        with seeded(None, device), spy:
            run()
    finally:
        for hook in hooks:
            hook.remove()
        for name, module in network.named_modules():
            module.training = training[name]
    if spy.seen:
        raise ValueError(
            f"the network calls F.{spy.seen[0]}, which cannot be held still for a draw; put an nn.Dropout layer there."
        )
    read_by = {}
    for name in masks:
        times = order.count(name)
        if times != 1:
            raise ValueError(
                f"each dropout layer must be used once in a forward pass, as its mask is one; {name!r} is used {times} "
                "times. Make one nn.Dropout for each place."
            )
        after = [other for other in order[order.index(name) + 1 :] if own[other]]
        read_by[name] = [f"{after[0]}.{n}".lstrip(".") for n in own[after[0]]] if after else []
    return read_by


class _FunctionalDropout(TorchFunctionMode):
    """Sees calls of ``F.dropout`` and its kin that drop something."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").rstrip("_").removesuffix("1d").removesuffix("2d").removesuffix("3d")
        rate = args[1] if len(args) > 1 else (kwargs or {}).get("p", 0.5)
        drops = args[2] if len(args) > 2 else (kwargs or {}).get("training", True)
        if name in _FUNCTIONAL and rate and drops:
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))
