"""Small sets whose truth is known, to see with one's own eyes what a method believes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bayesnn.datasets.split import Split

__all__ = ["heteroscedastic_sine", "sine_mean", "sine_sd", "two_moons"]

_EDGE, _GAP, _FAR = 4.0, 1.0, 6.0
_NUM_OOD = 100


def heteroscedastic_sine(num_rows: int = 200, *, seed: int = 0) -> Split:
    r"""A sine with a hole in the data and noise that grows to the right.

    :math:`y = \sin x + \sigma(x)\,\varepsilon` with :math:`\sigma(x) = 0.15\,e^{x/4}` and
    :math:`\varepsilon \sim \mathcal N(0, 1)`; :math:`x` is uniform on :math:`[-4, -1] \cup [1, 4]`. Aleatoric
    uncertainty should follow :math:`\sigma`, epistemic uncertainty should be large in the gap and beyond the edges.

    Args:
        num_rows: Number of training rows, and of test rows as well.
        seed: Seed of the inputs and of the noise.

    Returns:
        Inputs ``(num_rows, 1)`` and real targets ``(num_rows,)`` without a unit; ``x_ood`` is 100 inputs at even steps,
        half of them within the gap, :math:`(-1, 1)`, a quarter on either side beyond the data, up to 6 from the middle.
        The true mean and standard deviation of ``y`` at any input are `sine_mean` and `sine_sd`.

    References:
        Foong et al. (2019), 'In-Between' Uncertainty in Bayesian Neural Networks, arXiv:1906.11537, on why a gap.

    Example:
        >>> heteroscedastic_sine(50)
        Split(heteroscedastic sine: 50 train, 50 test, 100 out-of-distribution; inputs (1,), real targets)
    """
    _check_rows(num_rows)
    draws = torch.Generator().manual_seed(seed)

    def part() -> tuple[Tensor, Tensor]:
        side = 2.0 * torch.randint(2, (num_rows, 1), generator=draws) - 1
        x = side * (_GAP + (_EDGE - _GAP) * torch.rand(num_rows, 1, generator=draws))
        return x, sine_mean(x) + sine_sd(x) * torch.randn(num_rows, generator=draws)

    within = torch.linspace(-_GAP, _GAP, _NUM_OOD // 2 + 2)[1:-1]
    beyond = torch.linspace(_EDGE, _FAR, _NUM_OOD // 4 + 1)[1:]
    x_ood = torch.cat([-beyond.flip(0), within, beyond])[:, None]
    return Split("heteroscedastic sine", *part(), *part(), x_ood=x_ood)


def sine_mean(x: Tensor) -> Tensor:
    r"""True mean of `heteroscedastic_sine`, :math:`\sin x`.

    Args:
        x: Inputs ``(N, 1)``.

    Returns:
        The mean of ``y`` at each, ``(N,)``.
    """
    return x[:, 0].sin()


def sine_sd(x: Tensor) -> Tensor:
    r"""True standard deviation of `heteroscedastic_sine`, :math:`0.15\,e^{x/4}`; its square is the aleatoric part.

    Args:
        x: Inputs ``(N, 1)``.

    Returns:
        The standard deviation of ``y`` at each, ``(N,)``, in units of ``y``.
    """
    return 0.15 * (x[:, 0] / 4).exp()


def two_moons(num_rows: int = 200, *, noise: float = 0.1, seed: int = 0) -> Split:
    r"""Two half circles that reach into each other, two classes.

    With :math:`t` uniform on :math:`[0, \pi]`, class 0 is :math:`(\cos t, \sin t)` and class 1 is
    :math:`(1 - \cos t, \tfrac12 - \sin t)`, both with normal noise in either direction.

    Args:
        num_rows: Number of training rows, and of test rows as well; the classes are even to one row.
        noise: Standard deviation of the noise, in units of ``x``.
        seed: Seed of the places and of the noise.

    Returns:
        Inputs ``(num_rows, 2)`` and labels 0 and 1; ``x_ood`` is 100 inputs on a circle of radius 4 round the middle,
        :math:`(\tfrac12, \tfrac14)`, far from both.

    Example:
        >>> two_moons(50)
        Split(two moons: 50 train, 50 test, 100 out-of-distribution; inputs (2,), 2 classes)
    """
    _check_rows(num_rows)
    if noise < 0:
        raise ValueError(f"noise must be a standard deviation, 0 or more; got {noise}.")
    draws = torch.Generator().manual_seed(seed)

    def part() -> tuple[Tensor, Tensor]:
        y = torch.arange(num_rows) % 2
        t = math.pi * torch.rand(num_rows, generator=draws)
        upper = torch.stack([t.cos(), t.sin()], -1)
        lower = torch.stack([1 - t.cos(), 0.5 - t.sin()], -1)
        x = torch.where(y[:, None] == 0, upper, lower)
        return x + noise * torch.randn(num_rows, 2, generator=draws), y

    angle = 2 * math.pi * torch.arange(_NUM_OOD) / _NUM_OOD
    x_ood = torch.tensor([0.5, 0.25]) + 4 * torch.stack([angle.cos(), angle.sin()], -1)
    return Split("two moons", *part(), *part(), classes=("upper", "lower"), x_ood=x_ood)


def _check_rows(num_rows: int) -> None:
    if num_rows < 2:
        raise ValueError(f"num_rows must be 2 or more; got {num_rows!r}.")
