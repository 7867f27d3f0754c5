"""Dropout as masks that can be held still: a draw of masks is a draw of weights."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.overrides import TorchFunctionMode

from bayesnn.seeding import seeded

__all__ = ["Mask", "masks_of", "with_masks"]

_AXES = {nn.Dropout: None, nn.Dropout1d: 1, nn.Dropout2d: 1, nn.Dropout3d: 1}
"""Dropout layers, and how many axes of a datum their masks have: all, or the channels alone."""

_READERS = (nn.Linear, _ConvNd)
"""Layers for which a mask on the inputs is a mask on the columns of the weight."""

_NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
"""Layers that mix what is masked with what is not: behind them no weight is masked."""

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
        return x * (self.fresh(x) if self.training else self.mask)

    def fresh(self, x: Tensor) -> Tensor:
        """A mask for each datum of inputs, from the global random state."""
        ones = x.new_ones(*x.shape[:2], *[1] * (x.ndim - 2)) if self.channels else torch.ones_like(x)
        return ones.bernoulli(1 - self.rate) / (1 - self.rate) if self.logit is None else self._relaxed(ones)

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
        rate: A rate for all of them; each layer's own if ``None``, and a layer whose own is 0 then stays as it is.

    Raises:
        ValueError: If the network has no dropout layer, or drops out in a way that cannot be held still.
    """
    network = copy.deepcopy(network)
    encoders = [module for module in network.modules() if isinstance(module, nn.TransformerEncoderLayer)]
    inside = {part for encoder in encoders for part in encoder.modules()}
    rates: dict[str, float] = {}
    for name, module in list(network.named_modules()):
        kind = type(module)
        if kind in (nn.AlphaDropout, nn.FeatureAlphaDropout):
            raise ValueError(f"the dropout layers must be nn.Dropout, 1d, 2d or 3d; {name!r} is nn.{kind.__name__}.")
        if _rate_inside(module) > 0:
            raise ValueError(
                f"dropout must be a layer of its own; {name!r}, nn.{kind.__name__}, drops out inside, where masks "
                "cannot be held still. Write dropout=0 there, and nn.Dropout layers around it."
            )
        if kind in _AXES and module not in inside:
            rates[name] = module.p if rate is None else rate
            if rates[name] == 0:
                continue
            masked = Mask(rates[name], _AXES[kind] is not None)
            masked.train(False)
            if not name:
                network = masked
                break
            parent, _, last = name.rpartition(".")
            setattr(network.get_submodule(parent), last, masked)
    if not rates:
        raise ValueError(
            "MC dropout needs an nn.Dropout layer in the network; it has none. Write networks.mlp(..., dropout=0.1), "
            "or put nn.Dropout(0.1) in front of the linear layers. F.dropout cannot be seen from outside."
        )
    wrong = [name for name, p in rates.items() if p >= 1 or not any(rates.values())]
    if wrong:
        raise ValueError(
            f"a dropout rate must lie between 0 and 1; layer {wrong[0]!r} has {rates[wrong[0]]}. Write rate=0.1 to set "
            "all of them."
        )
    return network


def _rate_inside(module: nn.Module) -> float:
    """The rate at which one of torch's own layers drops out where no mask can stand."""
    if isinstance(module, nn.TransformerEncoderLayer):  # in eval mode it has a fast path past its dropout layers
        return max(part.p if isinstance(part, nn.Dropout) else _rate_inside(part) for part in module.children())
    return module.dropout if isinstance(module, nn.RNNBase | nn.MultiheadAttention) else 0.0


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
        For each mask, the name of the weight whose columns it masks, in a list: that of the next layer with parameters
        that runs after it, if this is a linear or convolutional one, no normalisation stands between, and the weight is
        not another layer's too. Else the list is empty: the masked values reach no weight that multiplies them alone.

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

    masks, modules = masks_of(network), dict(network.named_modules())
    # What takes zeros to zeros, number by number, does not stand between a mask and the weight that it masks.
    others = {
        name
        for name, module in modules.items()
        if isinstance(module, _NORMALISATIONS) or (list(module.parameters(False)) and not isinstance(module, nn.PReLU))
    }
    hooks = [modules[name].register_forward_pre_hook(record(name)) for name in others.union(masks)]
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
            f"the network calls F.{spy.seen[0]} with dropout, which cannot be held still for a draw; leave it out "
            "there, or put an nn.Dropout layer in its place."
        )
    read_by = {}
    own = dict(network.named_parameters(remove_duplicate=False))
    uses = Counter(map(id, own.values()))
    for name in masks:
        times = order.count(name)
        if times != 1:
            raise ValueError(
                f"each dropout layer must be used once in a forward pass, as its mask is one; {name!r} is used {times} "
                "times. Make one nn.Dropout for each place."
            )
        readers = [other for other in order[order.index(name) + 1 :] if other in others][:1]
        weights = [f"{reader}.weight" for reader in readers if isinstance(modules[reader], _READERS)]
        read_by[name] = [w for w in weights if uses[id(own.get(w))] == 1 and order.count(readers[0]) == 1]
    return read_by


class _FunctionalDropout(TorchFunctionMode):
    """Sees calls of ``F.dropout`` and its kin that drop something."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").rstrip("_").removesuffix("1d").removesuffix("2d").removesuffix("3d")
        given = kwargs or {}
        rate = args[1] if len(args) > 1 else given.get("p", 0.5)
        drops = args[2] if len(args) > 2 else given.get("training", True)
        attention = args[4] if len(args) > 4 else given.get("dropout_p", 0.0)
        if (name in _FUNCTIONAL and rate and drops) or (name == "scaled_dot_product_attention" and attention):
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))
