"""Warnings that point at the line of the caller's code, from whatever depth of the package they come."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

__all__ = ["warn"]

_HOUSE = str(Path(__file__).parent)
_BETWEEN = str(Path("torch") / "utils" / "_contextlib.py")
"""Where ``torch.no_grad`` stands between a decorated function and its caller."""


def warn(message: str) -> None:
    """Warn, and name the line that called the package.

    Args:
        message: What is to be said.

    Example:
        >>> with warnings.catch_warnings(record=True, action="always") as told:
        ...     warn("the fit has not settled.")
        >>> told[0].category.__name__, str(told[0].message)
        ('UserWarning', 'the fit has not settled.')
    """
    level, outermost, frame = 1, 1, sys._getframe()
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        level += 1
        where = frame.f_code.co_filename
        if where.startswith(_HOUSE) or (where.endswith(_BETWEEN) and level == outermost + 1):
            outermost = level
    warnings.warn(message, stacklevel=outermost + 1)
