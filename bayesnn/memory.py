"""How much memory predictions may take."""

from __future__ import annotations

import re
from numbers import Integral
from pathlib import Path

import torch

__all__ = ["memory_limit", "words"]

_MOST_HELD = 2**30
"""Bytes of members that are held unless told otherwise, or a quarter of what is free if that is less."""

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def memory_limit(memory: str | int | None, device: torch.device) -> int:
    """Bytes that members may take.

    Args:
        memory: Bytes, or a word such as ``"200MB"``; 1 GB, or a quarter of what is free if that is less, if left out.
        device: Where they lie.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> memory_limit("200MB", torch.device("cpu"))
        209715200
    """
    if memory is None:
        free = _free(device)
        return _MOST_HELD if free is None else min(_MOST_HELD, free // 4)
    if isinstance(memory, Integral) and not isinstance(memory, bool) and memory > 0:
        return int(memory)
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kmgt]?)i?b?\s*", memory.lower()) if isinstance(memory, str) else None
    if found is None or not float(found[1]):
        raise ValueError(
            f'memory must be a number of bytes, or words such as "200MB"; got {memory!r}. Write memory="1GB".'
        )
    return max(1, int(float(found[1]) * _UNITS[found[2]]))


def _free(device: torch.device) -> int | None:
    """Free bytes of a device, where that can be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def words(size: int) -> str:
    """A number of bytes as people write it."""
    number, units = float(size), ["bytes", "KB", "MB", "GB"]
    while number >= 1000 and len(units) > 1:
        number, units = number / 1024, units[1:]
    return f"{number:.3g} {units[0]}"
