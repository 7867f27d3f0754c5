"""A random state of one's own: seeded inside, the caller's untouched outside, on every device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["seeded"]


@contextmanager
def seeded(seed: int | None, device: torch.device | None = None) -> Iterator[None]:
    """Fork the random state of the processor, and of an accelerator if that is where the work is.

    ``torch.manual_seed`` would seed every accelerator there is, the caller's others too.

    Args:
        seed: Seed of what is inside; ``None`` to go on from the state outside.
        device: Where the work is.
    """
    accelerated = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if accelerated else []):
        if seed is not None:
            torch.default_generator.manual_seed(int(seed))
            if device is not None and accelerated:
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
        yield
