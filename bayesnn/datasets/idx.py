"""The IDX format, in which MNIST and its kin are published."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

__all__ = ["read_idx"]

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path, num_axes: int) -> Tensor:
    r"""Read a gzipped IDX file of unsigned bytes.

    Big-endian: the magic number :math:`256 \cdot 8 + d` (8 means unsigned bytes; :math:`d` axes), the :math:`d`
    lengths in four bytes each, then the values, the last axis fastest.

    Args:
        path: The file.
        num_axes: How many axes it should have: 3 for pictures, 1 for labels.

    Returns:
        The values as ``uint8``, in the shape the file tells.

    Raises:
        ValueError: If it is no such file, or its length does not fit its header.

    References:
        LeCun, Cortes and Burges (1998), The MNIST database of handwritten digits, "File formats".
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} must be a whole gzipped file; got {error}. Get it anew.") from error
    magic = 256 * _UNSIGNED_BYTE + num_axes
    start = 4 + 4 * num_axes
    if len(content) < start:
        raise ValueError(f"{path} must begin with {start} bytes of IDX header; got {len(content)} bytes. Get it anew.")
    found, *lengths = struct.unpack(f">{1 + num_axes}I", content[:start])
    if found != magic:
        raise ValueError(
            f"{path} must begin with the magic number {magic}, unsigned bytes along {num_axes} axes; got {found}. "
            "Are pictures and labels swapped?"
        )
    size = math.prod(lengths)
    if len(content) - start != size:
        raise ValueError(
            f"{path} must hold {' x '.join(map(str, lengths))} = {size} bytes after its header; got "
            f"{len(content) - start}. Get it anew."
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(lengths).copy())
