"""Numbers too small for a processor to be quick with: taken for zero inside a fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["flushed_denormals"]

_DENORMAL = 1e-40
_MANY = 1 << 17
"""Numbers that torch shares out among its threads."""


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take denormal numbers (below 1.2e-38 in single precision) for zero, in this thread; as before afterwards.

    The weights of a unit that a fit has no use for fall to such numbers, and a processor multiplies them many times
    more slowly than others. Threads that help this one keep such numbers: a thread takes the setting over when it is
    made, and would keep it for good, so they are made beforehand.
    """
    torch.ones(_MANY).add_(1.0)
    were_flushed = not bool(torch.tensor(_DENORMAL, dtype=torch.float32))
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(were_flushed)
