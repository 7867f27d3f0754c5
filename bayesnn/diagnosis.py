"""Diagnosis: what was found out about a fit, in figures and in words."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from bayesnn.arviz_data import Variables
from bayesnn.tables import html_table, json_text, text_table

__all__ = ["Diagnosis", "Finding", "in_order"]

_FIRST = ("one class", "no draws", "unconverged", "chains apart")
"""What must be mended before other advice is of use: of a fit that has not arrived the rest may be mended with it."""

_WIDTH = 100


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        name: A word for it: ``collapsed``, ``unconverged``, ``underfit``.
        words: What was found, and what is usual.
        advice: What to try; empty where there is nothing to mend.
        is_warning: Whether predictions should not be trusted before it is mended; otherwise it is good to know.
    """

    name: str
    words: str
    advice: str = ""
    is_warning: bool = True

    def __str__(self) -> str:
        return f"{self.name}: {self.words}" + (f" To mend it, {self.advice}." if self.advice else "")


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings as they are to be told: fits that have not arrived, other warnings, what is good to know.

    Args:
        findings: In any order; those of a kind keep theirs. Advice on other warnings then says what comes first.
    """
    said = sorted(findings, key=lambda one: (not one.is_warning, one.name not in _FIRST))
    if not said or not said[0].is_warning or said[0].name not in _FIRST:
        return tuple(said)
    return tuple(
        replace(one, advice=f"first mend the above; then {one.advice}")
        if one.is_warning and one.advice and one.name not in _FIRST
        else one
        for one in said
    )


@dataclass(frozen=True)
class Diagnosis:
    """Whether a fit can be trusted.

    Attributes:
        method: Name of the method.
        figures: Figures by name, see `bayesnn.diagnose`.
        sites: For each site of a mean-field guide ``size``, its numbers; ``kl``, nats from its prior;
            ``kl_per_weight``; ``at_prior``, the share of its numbers that have learnt nothing;
            ``signal_to_noise``, the median of mean over standard deviation.
        findings: What is to be said, warnings first.
    """

    method: str
    figures: Mapping[str, float] = field(default_factory=dict)
    sites: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        width = 2 + max(map(len, self.figures), default=0)
        lines = [self._heading, *(f"  {name:<{width}}{_figure(value)}" for name, value in self.figures.items())]
        if self.sites:
            lines += ["", text_table(self._rows())]
        for finding in self.findings:
            mark = "!" if finding.is_warning else "-"
            lines += ["", *textwrap.wrap(f"{mark} {finding}", _WIDTH, subsequent_indent="  ")]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        figures = html_table([{"figure": n.replace("_", " "), "value": _figure(v)} for n, v in self.figures.items()])
        said = "".join(
            f"<li>{'<b>' if one.is_warning else ''}{html.escape(str(one))}{'</b>' if one.is_warning else ''}</li>"
            for one in self.findings
        )
        sites = html_table(self._rows()) if self.sites else ""
        return f"<p>{html.escape(self._heading)}</p><ul>{said}</ul>{figures}{sites}"

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to warn of."""
        return not self.warnings

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """What should be mended before predictions are trusted."""
        return tuple(finding for finding in self.findings if finding.is_warning)

    def to_pandas(self) -> Any:
        """The figures of the sites as a ``pandas.DataFrame``, a row for each; needs pandas."""
        import pandas as pd

        return pd.DataFrame.from_dict(dict(self.sites), orient="index").rename_axis("site")

    def to_json(self) -> str:
        """The record as JSON; figures that are not finite as ``null``."""
        return json_text(asdict(self))

    def variables(self) -> Variables:
        """The record as arrays, for `bayesnn.to_arviz`."""
        found: dict[str, Any] = {name: ([], np.array(value)) for name, value in self.figures.items()}
        if self.sites:
            found["site"] = (["site_number"], np.array(list(self.sites)))
            for name in next(iter(self.sites.values())):
                values = np.array([figures[name] for figures in self.sites.values()])
                found[f"site_{name}"] = (["site_number"], values)
        found["finding"] = (["finding_number"], np.array([str(one) for one in self.findings], dtype=np.str_))
        return found

    @property
    def _heading(self) -> str:
        bad = [finding.name for finding in self.warnings]
        return f"{self.method}: {', '.join(bad) if bad else 'nothing to warn of'}"

    def _rows(self) -> list[dict[str, Any]]:
        return [
            {
                "site": name,
                "size": int(found["size"]),
                "KL (nats)": found["kl"],
                "per weight": found["kl_per_weight"],
                "at prior": "–" if math.isnan(found["at_prior"]) else f"{found['at_prior']:.0%}",
                "signal / noise": found["signal_to_noise"],
            }
            for name, found in self.sites.items()
        ]


def _figure(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4g}"
