"""Likelihoods of classes: categorical, ordered, and yes or no."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin as Distribution
from torch import Tensor

from bayesnn.checks import check_columns, check_integers
from bayesnn.likelihoods.likelihood import SMALLEST_SCALE, Affine, Likelihood, columns
from bayesnn.likelihoods.squashed import warn_if_squashed

__all__ = ["Bernoulli", "Categorical", "Ordinal", "bernoulli", "categorical", "ordinal"]


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Classes: outputs are logits, ``p(y = c) = softmax(outputs)_c``; so the network ends without a softmax."""

    def outputs_for(self, y: Tensor) -> int:
        """One for each class up to the largest label."""
        return int(y.max()) + 1

    def event_shape(self, num_outputs: int) -> torch.Size:
        """Always ``()``: one label."""
        return torch.Size(())

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Labels ``(N,)``."""
        if num_outputs < 2:
            raise ValueError(
                f"a categorical likelihood needs one network output per class, two at least; the network has "
                f"{num_outputs}. For two classes from one output write likelihood=likelihoods.bernoulli."
            )
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ValueError(
                f"class labels must have shape (N,); got {tuple(y.shape)}. One-hot rows? Pass y.argmax(1)."
            )
        return check_integers(y, 0, num_outputs - 1, "class labels", f"the network has {num_outputs} outputs")

    def look_at(
        self, outputs: Callable[[Mapping[str, Tensor], Tensor], Tensor], weights: Mapping[str, Tensor], x: Tensor
    ) -> None:
        """Warn of a network that ends with a softmax or a sigmoid."""
        warn_if_squashed(outputs, weights, x, "categorical")

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Minus the entropy of the class frequencies."""
        return -_entropy(torch.bincount(y.long()) / len(y))

    def typed(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Labels as int64."""
        return y.long()

    def log_likelihood(self, outputs: Tensor, latents: Mapping[str, Tensor], seen: Tensor, target: Affine) -> Tensor:
        """Minus the cross-entropy."""
        return -F.cross_entropy(outputs.flatten(0, -2), seen.flatten(), reduction="sum")

    def log_likelihood_and_slopes(
        self, outputs: Tensor, latents: Mapping[str, Tensor], seen: Tensor, target: Affine
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The same with its gradient, the labels less the probabilities."""
        log_probs, rows = outputs.log_softmax(-1), seen[..., None]
        total = log_probs.gather(-1, rows).sum()
        slope = log_probs.exp_().neg_()
        return total, slope.scatter_add_(-1, rows, slope.new_ones(()).expand(rows.shape)), {}

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        return dist.Categorical(logits=outputs)


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """Yes or no: an output is a logit, ``p(y = 1) = sigmoid(output)``; so the network ends without a sigmoid.

    Several outputs are independent labels.
    """

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Zeros and ones, ``(N,)`` or ``(N, D)``."""
        twice = "For a logit of each of two classes write likelihoods.categorical."
        return check_integers(check_columns(y, num_outputs, 1, twice), 0, 1, "Bernoulli targets", "they say no or yes")

    def look_at(
        self, outputs: Callable[[Mapping[str, Tensor], Tensor], Tensor], weights: Mapping[str, Tensor], x: Tensor
    ) -> None:
        """Warn of a network that ends with a softmax or a sigmoid."""
        warn_if_squashed(outputs, weights, x, "bernoulli")

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Minus the entropy of the frequencies of yes, summed over labels."""
        yes = y.double().mean(0)
        return -_entropy(torch.stack([yes, 1 - yes]))

    def log_likelihood(self, outputs: Tensor, latents: Mapping[str, Tensor], seen: Tensor, target: Affine) -> Tensor:
        """Minus the binary cross-entropy."""
        return -F.binary_cross_entropy_with_logits(columns(outputs, target), seen, reduction="sum")

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        return dist.Bernoulli(logits=columns(outputs, target)).to_event(target.loc.ndim)


@dataclass(frozen=True)
class Ordinal(Likelihood):
    r"""Ordered classes, by cumulative logits: :math:`p(y \le c) = \operatorname{sigmoid}(t_c(x))`.

    The cutpoints rise by construction, :math:`t_0 = o_0` and :math:`t_c = t_{c-1} + \operatorname{softplus}(o_c)`, up
    to a constant that centres them where all outputs are 0, and a least rise that leaves every class some probability.
    K outputs are the cutpoints between K + 1 classes. They all depend on the inputs: the model is that of McCullagh
    without proportional odds.

    References:
        McCullagh (1980), Regression Models for Ordinal Data, JRSS B 42(2), section 2.
    """

    def outputs_for(self, y: Tensor) -> int:
        """One less than there are classes, up to the largest label."""
        return int(y.max())

    def event_shape(self, num_outputs: int) -> torch.Size:
        """Always ``()``: one label."""
        return torch.Size(())

    def checked(self, y: Tensor, num_outputs: int) -> Tensor:
        """Labels ``(N,)``."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ValueError(f"ordered labels must have shape (N,); got {tuple(y.shape)}.")
        why = f"the network has {num_outputs} outputs, one less than there are classes"
        return check_integers(y, 0, num_outputs, "ordered labels", why)

    def constant_log_likelihood(self, y: Tensor) -> float:
        """Minus the entropy of the class frequencies."""
        return -_entropy(torch.bincount(y.long()) / len(y))

    def typed(self, y: Tensor, dtype: torch.dtype) -> Tensor:
        """Labels as int64."""
        return y.long()

    def _distribution(self, outputs: Tensor, latents: Mapping[str, Tensor], target: Affine) -> Distribution:
        middle = math.log(2) * (outputs.shape[-1] - 1) / 2
        rises = F.softplus(outputs[..., 1:]) + SMALLEST_SCALE
        steps = torch.cat([outputs[..., :1] - middle, rises], -1)
        cuts = steps.cumsum(-1)
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), without cancellation.
        between = F.logsigmoid(cuts[..., 1:]) + F.logsigmoid(-cuts[..., :-1]) + torch.log(-torch.expm1(-rises))
        logits = torch.cat([F.logsigmoid(cuts[..., :1]), between, F.logsigmoid(-cuts[..., -1:])], -1)
        return dist.Categorical(logits=logits)


categorical = Categorical()
ordinal = Ordinal()
bernoulli = Bernoulli()


def _entropy(probabilities: Tensor) -> float:
    return float(torch.special.entr(probabilities.double()).sum())
