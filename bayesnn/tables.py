"""Figures as tables, in text and in HTML, and as JSON."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["figure_text", "html_table", "json_text", "plain", "text_table"]

_HEADINGS = {
    "nll": "NLL",
    "rmse": "RMSE",
    "ece": "ECE",
    "crps": "CRPS",
    "coverage_90": "90 % coverage",
    "sharpness_90": "90 % width",
    "misclassification_auroc": "mistakes",
    "large_error_auroc": "large errors",
    "ood_auroc_max_probability": "OOD max p",
    "ood_auroc_entropy": "OOD entropy",
    "ood_auroc_mutual_information": "OOD mut inf",
    "unknown_from_ambiguous_auroc": "unknown / ambiguous",
    "unknown_aleatoric": "unknown alea",
    "unknown_epistemic": "unknown epis",
    "ambiguous_aleatoric": "ambiguous alea",
    "ambiguous_epistemic": "ambiguous epis",
    "elbo_per_datum": "ELBO",
    "fit_seconds": "fit s",
    "predict_seconds": "predict s",
}


def text_table(
    rows: Sequence[dict[str, Any]], leave_out: Sequence[str] = (), marks: Mapping[str, Sequence[str]] | None = None
) -> str:
    """Rows as aligned text, one line each under a line of headings.

    Args:
        rows: Figures by column: numbers, words, or ``{"mean": m, "sd": s}`` for a figure with its spread.
        leave_out: Columns not to show.
        marks: For a column the methods (rows' first figures) whose figure gets an asterisk.

    Example:
        >>> print(text_table([{"method": "svi", "nll": {"mean": 0.1234, "sd": 0.01}}]))
        method            NLL
        svi     0.123 ± 0.010
    """
    lines = _cells([{name: row[name] for name in row if name not in leave_out} for row in rows], marks)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    padded = [
        [
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in padded)


def html_table(rows: Sequence[dict[str, Any]], marks: Mapping[str, Sequence[str]] | None = None) -> str:
    """The same as an HTML ``<table>``."""
    head, *body = _cells(rows, marks)
    row = "<tr>{}</tr>".format
    heading = row("".join(f"<th>{html.escape(text)}</th>" for text in head))
    return (
        f"<table>{heading}{''.join(row(''.join(f'<td>{html.escape(t)}</td>' for t in line)) for line in body)}</table>"
    )


def figure_text(value: Any) -> str:
    """One figure as text: three decimals, one for seconds and such above 10, a dash where there is none."""
    if isinstance(value, dict):
        mean, spread = value.get("mean"), value.get("sd")
        known = spread is not None and not math.isnan(spread)
        return f"{figure_text(mean)} ± {spread:.{_decimals(mean)}f}" if known else figure_text(mean)
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.{_decimals(value)}f}"
    return "–" if value is None else str(value)


def _decimals(value: float | None) -> int:
    return 1 if value is not None and abs(value) >= 10 else 3


def _cells(rows: Sequence[dict[str, Any]], marks: Mapping[str, Sequence[str]] | None = None) -> list[list[str]]:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    heading = [_HEADINGS.get(name, name.replace("_", " ")) for name in columns]
    return [heading, *([figure_text(row.get(name)) + _mark(row, name, marks) for name in columns] for row in rows)]


def _mark(row: dict[str, Any], column: str, marks: Mapping[str, Sequence[str]] | None) -> str:
    """An asterisk, a blank where others of the column have one, or nothing."""
    if not marks or column not in marks:
        return ""
    return "*" if next(iter(row.values())) in marks[column] else " "


def json_text(record: Any) -> str:
    """A record as strict JSON: figures that are not finite, which JSON has no word for, as ``null``.

    Example:
        >>> json_text({"rmse": 0.5, "ece": math.nan})
        '{"rmse": 0.5, "ece": null}'
    """
    return json.dumps(plain(record), allow_nan=False)


def plain(value: Any) -> Any:
    """The same of dictionaries, lists and numbers that JSON knows, ``None`` in place of what is not finite."""
    if isinstance(value, Mapping):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
