"""RankStatistics: where true values lie among posterior draws, over many simulations, and what that says."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesnn.tables import html_table, json_text, text_table

__all__ = ["RankStatistics"]

_MOST_BINS = 20
_PER_BIN = 10
_ALPHA = 0.01
_ERRORS = 3.0


@dataclass(frozen=True)
class RankStatistics:
    """Ranks of true values among posterior draws; uniform from 0 to S if the posterior is right.

    Attributes:
        ranks: ``(L, Q)``, of L simulations and Q quantities, each from 0 to ``num_samples``.
        names: Names of the quantities.
        num_samples: Draws S of each posterior.
        num_warnings: Fits of which a warning was given.
    """

    ranks: Tensor
    names: tuple[str, ...]
    num_samples: int
    num_warnings: int = 0

    def __repr__(self) -> str:
        told = f", {self.num_warnings} fits gave a warning" if self.num_warnings else ""
        heading = f"{len(self.ranks)} simulations, {self.num_samples} draws each{told}: {self.verdict}"
        return f"{heading}\n{text_table(self._rows())}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self).splitlines()[0])}</p>{html_table(self._rows())}"

    @property
    def num_bins(self) -> int:
        """Bins of equally many ranks that the chi-square test counts in: 20 at most, 10 simulations each at least."""
        most = max(2, min(_MOST_BINS, len(self.ranks) // _PER_BIN))
        fitting = [bins for bins in range(2, most + 1) if (self.num_samples + 1) % bins == 0]
        return max(fitting, default=2)

    def counts(self, num_bins: int | None = None) -> Tensor:
        """Simulations in each bin of ranks ``(bins, Q)``.

        Args:
            num_bins: Number of bins, of as equally many ranks as can be; ``self.num_bins`` if left out.
        """
        bins = self.num_bins if num_bins is None else num_bins
        which = self.ranks * bins // (self.num_samples + 1)
        return torch.stack([(which == number).sum(0) for number in range(bins)])

    @property
    def p_values(self) -> dict[str, float]:
        """Of each quantity, by the chi-square test of uniform ranks."""
        from scipy import stats

        edges = np.arange(self.num_bins + 1)
        ranks_below = np.ceil(edges * (self.num_samples + 1) / self.num_bins)
        expected = np.diff(ranks_below) / (self.num_samples + 1) * len(self.ranks)
        found = [stats.chisquare(column, expected).pvalue for column in self.counts().T.numpy()]
        return {name: float(value) for name, value in zip(self.names, found, strict=True)}

    @property
    def bias_p_values(self) -> dict[str, float]:
        """Of each quantity, by Yao et al.'s test that its ranks lie symmetrically: small where the guide is off."""
        from scipy import stats

        u = ((self.ranks.double() + 0.5) / (self.num_samples + 1)).numpy()
        return {
            name: float(stats.ks_2samp(column, 1 - column).pvalue) for name, column in zip(self.names, u.T, strict=True)
        }

    @property
    def p_value(self) -> float:
        """The smallest p-value times the number of quantities (Bonferroni): of all of them being uniform."""
        return min(1.0, min(self.p_values.values()) * len(self.names))

    @property
    def verdict(self) -> str:
        """What the ranks say, in words."""
        if self.p_value >= _ALPHA:
            return f"no sign against a calibrated posterior (p = {self.p_value:.2g})"
        said = {word for word in self._shapes().values() if word}
        return f"not calibrated (p = {self.p_value:.2g}): {', '.join(sorted(said)) or 'ranks are not uniform'}"

    def to_pandas(self) -> Any:
        """The ranks as a ``pandas.DataFrame``, a row for each simulation; needs pandas."""
        import pandas as pd

        return pd.DataFrame(self.ranks.numpy(), columns=list(self.names)).rename_axis("simulation")

    def to_json(self) -> str:
        """Ranks and p-values as JSON."""
        record = {"names": list(self.names), "num_samples": self.num_samples, "ranks": self.ranks.tolist()}
        return json_text(record | {"p_values": self.p_values, "bias_p_values": self.bias_p_values})

    def _shapes(self) -> dict[str, str]:
        """Of each quantity: is the posterior too narrow (true values lie at the ends), too wide, or off?"""
        u = (self.ranks.double() + 0.5) / (self.num_samples + 1) - 0.5
        number = len(u)
        off = u.mean(0) / (1 / 12 / number) ** 0.5
        spread = (u.square().mean(0) - 1 / 12) / (1 / 180 / number) ** 0.5
        words = {}
        for name, z_off, z_spread in zip(self.names, off.tolist(), spread.tolist(), strict=True):
            found = ["too narrow"] if z_spread > _ERRORS else ["too wide"] if z_spread < -_ERRORS else []
            found += [f"too {'low' if z_off > 0 else 'high'}"] if abs(z_off) > _ERRORS else []
            words[name] = " and ".join(found)
        return words

    def _rows(self) -> list[dict[str, Any]]:
        p, bias, shapes = self.p_values, self.bias_p_values, self._shapes()
        return [
            {"quantity": name, "p": p[name], "p of symmetry": bias[name], "posterior is": shapes[name] or "–"}
            for name in self.names
        ]
