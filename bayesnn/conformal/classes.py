"""Conformal prediction of classes: sets that hold the true one as often as they say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, overload

import torch
from torch import Tensor

from bayesnn.conformal.quantile import conformal_quantile
from bayesnn.data import as_targets
from bayesnn.held_out import Posterior, predicted, within
from bayesnn.predictive import Predictive
from bayesnn.rows import chosen, is_one
from bayesnn.tables import json_text

__all__ = ["ConformalSets", "PredictionSets", "conformal_sets"]

_STEPS = 1000.0
"""Steps of a nat that a hash tells apart: coarse against rounding in single precision, fine against what models say."""

_HASHED = 3
"""Most probable classes that go into a hash; with all of a thousand some would round otherwise in each row."""


@dataclass(frozen=True, eq=False)
class PredictionSets:
    """For each of N inputs, the classes that it may be of.

    Attributes:
        contains: Whether each class is in each set ``(N, C)``.
        level: Chance that a set holds the true class.
        score: ``"adaptive"`` or ``"threshold"``, which tells why a set may be empty; nothing if it is not known.

    Example:
        >>> sets = PredictionSets(torch.tensor([[True, False], [True, True]]), 0.9)
        >>> sets.listed(["cat", "dog"]), sets.coverage([1, 1])
        ([['cat'], ['cat', 'dog']], tensor(0.5000, dtype=torch.float64))
        >>> sets[1], sets[:1]
        ([0, 1], PredictionSets(N=1, C=2, level=0.9, mean size 1, empty 0))
    """

    contains: Tensor
    level: float
    score: str = ""

    def __repr__(self) -> str:
        sizes = self.sizes.double()
        empty = int((sizes == 0).sum())
        why = f": {_EMPTY[self.score]}" if empty and self.score in _EMPTY else ""
        return (
            f"PredictionSets(N={len(self)}, C={self.contains.shape[1]}, level={self.level}, "
            f"mean size {float(sizes.mean()):.3g}, empty {empty}{why})"
        )

    def __len__(self) -> int:
        return len(self.contains)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...

    @overload
    def __getitem__(self, index: Any) -> PredictionSets: ...

    def __getitem__(self, index: Any) -> list[int] | PredictionSets:
        """The classes in one input's set; or the sets of several inputs, by a slice, a list or a mask."""
        some = self.contains[chosen(index, len(self))]
        return some[0].nonzero()[:, 0].tolist() if is_one(index) else replace(self, contains=some)

    @property
    def sizes(self) -> Tensor:
        """Number of classes in each set ``(N,)``."""
        return self.contains.sum(-1)

    def coverage(self, y: Any) -> Tensor:
        """Fraction of the sets that hold the true class.

        Args:
            y: True classes ``(N,)``.

        Raises:
            ValueError: If there is not one class for each set.
        """
        targets, num_classes = as_targets(y).to(self.contains.device), self.contains.shape[1]
        targets = targets[:, 0] if targets.shape == (len(self), 1) else targets
        if targets.shape != (len(self),):
            raise ValueError(f"y must have one class for each set, N = {len(self)}; got shape {tuple(targets.shape)}.")
        if not bool(((targets >= 0) & (targets < num_classes) & (targets == targets.round())).all()):
            raise ValueError(
                f"classes must be whole numbers from 0 to {num_classes - 1}; got values from {float(targets.min()):g} "
                f"to {float(targets.max()):g}. Pass the labels the method was fitted to."
            )
        return self.contains.gather(1, targets.long()[:, None]).double().mean()

    def listed(self, names: Sequence[str] | None = None) -> list[list[Any]]:
        """The classes in each set: by number, or by name.

        Args:
            names: A name for each class, in order.

        Raises:
            ValueError: If there is not one name for each class.
        """
        names = self._names(names)
        return [[names[kind] for kind in self[row]] for row in range(len(self))]

    def to_pandas(self, names: Sequence[str] | None = None) -> Any:
        """Whether each class is in each set, as a ``pandas.DataFrame`` with a row for each input; needs pandas.

        Args:
            names: A name for each class, in order, for the columns.

        Raises:
            ValueError: If there is not one name for each class.
        """
        import pandas as pd

        return pd.DataFrame(self.contains.cpu().numpy(), columns=list(self._names(names))).rename_axis("input")

    def to_json(self) -> str:
        """The classes in each set, by number, and the level, as JSON."""
        return json_text({"sets": self.listed(), "level": self.level, "score": self.score})

    def _names(self, names: Sequence[str] | None) -> Sequence[Any]:
        """The names of the classes; their numbers if there are none."""
        number = self.contains.shape[1]
        if names is not None and len(names) != number:
            raise ValueError(f"names must be one for each class, C = {number}; got {len(names)}.")
        return range(number) if names is None else names


@dataclass(frozen=True, eq=False)
class ConformalSets:
    """A fitted method and how bad a class may score. Call it on inputs to get `PredictionSets`.

    Attributes:
        posterior: The fitted method.
        quantile: The largest score of a class within a set.
        level: Chance that a set holds the true class.
        score: ``"adaptive"`` or ``"threshold"``.
        seed: Of the random part of adaptive scores; ``None`` for none.
        num_data: Held-out rows n.
    """

    posterior: Posterior
    quantile: float
    level: float
    score: str
    seed: int | None
    num_data: int

    def __repr__(self) -> str:
        return (
            f"ConformalSets(level={self.level}, {self.score} score <= {self.quantile:.4g}, n={self.num_data}, "
            f"{self.posterior!r})"
        )

    def plan(self, x: Any, *, memory: str | int | None = None) -> Any:
        """How the fitted method would predict, see `WeightPosterior.plan`."""
        return self.posterior.plan(x, memory=memory)  # type: ignore[attr-defined]

    @torch.no_grad()
    def __call__(self, x: Any, *, memory: str | int | None = None) -> PredictionSets:
        """The set of each input, the same alone and among others but for rounding, see `conformal_sets`.

        Args:
            x: Inputs, as the fitted method takes them.
            memory: What the predictions of all draws may take, as the fitted method takes it.
        """
        predictive = within(self.posterior, x, memory)
        scores = _SCORES[self.score](predictive, self.seed)
        return PredictionSets(scores <= self.quantile, self.level, self.score)


@torch.no_grad()
def conformal_sets(
    posterior: Posterior,
    x: Any,
    y: Any = None,
    *,
    level: float = 0.9,
    score: Literal["adaptive", "threshold"] = "adaptive",
    seed: int | None = 0,
) -> ConformalSets:
    r"""Sets of classes that hold the true one with a chance of ``level`` or more.

    A set has the classes whose score is not above the `conformal_quantile` of the true classes' scores on held-out
    data. With the predictive's probabilities p and u uniform on (0, 1), the scores of class c are

    .. math:: s_{\text{threshold}} = 1 - p_c, \qquad s_{\text{adaptive}} = \sum_{k: p_k > p_c} p_k + u \, p_c.

    ``"threshold"`` makes the smallest sets on average; ``"adaptive"`` makes them larger where classes are hard to
    tell apart, so that hard inputs are covered more nearly as often as easy ones. A set may be empty. By
    ``"threshold"`` its input is then like none, at this level; by ``"adaptive"`` it is mostly one of the surest, left
    out by the toss of u so that the sets do not cover too much. For ``"threshold"`` the quantile is that of
    :math:`-\log p_c`, which orders classes alike and keeps its digits.

    u is a hash of ``seed`` and of the row's largest log-probabilities to three decimals: a row has the same u wherever
    it stands, and among others too, save the rare one that rounds otherwise there. Rows that are predicted alike share
    theirs: of a model that says but few different things sets may cover more than ``level``, never less.

    Args:
        posterior: A fitted method: any function of inputs that gives a `Predictive` over classes.
        x: Held-out inputs ``(N, ...)`` in raw units, which the fit (and a recalibration) has not seen; or a ``Dataset``
            or ``DataLoader`` of ``(x, y)``.
        y: Their true classes ``(N,)``.
        level: Chance that a set holds the true class.
        score: ``"adaptive"`` or ``"threshold"``.
        seed: Seed of the adaptive scores' u, with which coverage is exact; ``None`` for u = 1: sets that are larger
            than need be.

    Returns:
        A function of inputs that gives their `PredictionSets`.

    Raises:
        ValueError: If there are too few rows for the level, targets do not suit, or the score is unknown.
        TypeError: If the posterior is no function of inputs that gives a `Predictive`, or something is not data.
        NotImplementedError: If targets are real, or an input has several labels.

    References:
        Romano et al. (2020), Classification with Valid and Adaptive Coverage, arXiv:2006.02544; Sadinle et al. (2019),
        Least Ambiguous Set-Valued Classifiers with Bounded Error Levels, arXiv:1609.00451.

    Example:
        >>> logistic = lambda x: Predictive(torch.distributions.Bernoulli(logits=x.mT))
        >>> x = torch.linspace(-2, 2, 20)[:, None]
        >>> sets = conformal_sets(logistic, x, x[:, 0] + x[:, 0].cos() > 0, score="threshold")
        >>> sets(torch.tensor([[-2.0], [0.0], [2.0]])).sizes
        tensor([1, 2, 1])
    """
    if score not in _SCORES:
        raise ValueError(f"score must be one of {', '.join(map(repr, _SCORES))}; got {score!r}.")
    predictive, targets = predicted(posterior, x, y)
    if not predictive.has_enumerate_support or predictive.event_shape:
        raise NotImplementedError(
            f"prediction sets are of one class for each input; got {predictive!r}. For real targets write "
            "conformal_intervals; several labels are not supported: fit a model for each label, or one by "
            "likelihoods.categorical whose classes are the combinations."
        )
    scores = _SCORES[score](predictive, seed)
    own = scores.gather(1, targets.long()[:, None])[:, 0]
    return ConformalSets(posterior, float(conformal_quantile(own, level)), level, score, seed, len(own))


def _adaptive(predictive: Predictive, seed: int | None) -> Tensor:
    """Probability of all classes before each ``(N, C)``, and a random share of its own; ties go by number."""
    log_probs = predictive.log_probs.double()
    probs, order = log_probs.exp().sort(dim=-1, descending=True, stable=True)
    scores = probs.cumsum(-1) - (1 - _uniform(log_probs, seed)[:, None]) * probs
    return torch.empty_like(scores).scatter_(-1, order, scores)


def _threshold(predictive: Predictive, seed: int | None) -> Tensor:
    return -predictive.log_probs.double()


def _uniform(log_probs: Tensor, seed: int | None) -> Tensor:
    """One number in (0, 1) for each row of ``(N, C)``, by what it says and never by its place; 1 without a seed."""
    if seed is None:
        return torch.ones_like(log_probs[:, 0])
    digits = (log_probs * _STEPS).round().nan_to_num(0.0, neginf=-(2.0**53)).long()
    values, order = digits.sort(dim=-1, descending=True, stable=True)
    start = torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed))
    hashed = start.to(digits.device).expand(len(digits))
    for word in (*values[:, :_HASHED].unbind(1), *order[:, :_HASHED].unbind(1)):
        hashed = _mixed(hashed ^ word)
    return ((hashed & (2**53 - 1)).double() + 0.5) / 2**53


def _mixed(words: Tensor) -> Tensor:
    """SplitMix64 (Steele et al. 2014, doi:10.1145/2660193.2660195); torch's integers wrap round as its do."""
    for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
        words = (words ^ ((words >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return words ^ ((words >> 31) & ((1 << 33) - 1))


_SCORES: dict[str, Callable[[Predictive, int | None], Tensor]] = {"adaptive": _adaptive, "threshold": _threshold}

_EMPTY = {
    "adaptive": "mostly the surest inputs, left out so that the sets do not cover too much",
    "threshold": "no class is probable enough at this level; a wrong or unsure input",
}
"""Why a set may be empty, by score."""
