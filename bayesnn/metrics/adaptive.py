"""Adaptive quadrature: integrals of many functions at once, by halving the intervals that need it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from numpy.polynomial.legendre import Legendre
from torch import Tensor

__all__ = ["integrate"]

_NODES = 7
"""Points on an interval, its ends among them: exact for polynomials of degree 11."""

_HALVINGS = 40
"""Bound on them: a jump, where no interval is ever good enough, is then known to 1e-12 of the interval it lies in."""


def integrate(function: Callable[[Tensor, Tensor], Tensor], edges: Tensor, tolerance: float = 1e-7) -> Tensor:
    r"""Integrals of M functions, each between the first and the last of its own edges.

    On every interval Gauss-Lobatto quadrature with 7 points is compared with the same on both of its halves. Where
    they differ by more than ``tolerance`` times the whole integral, the halves are intervals of their own. What is
    summed is the finer of the two, whose error is far smaller than their difference where the function is smooth. The
    ends are among the points, so that a step of a rising function hides nowhere.

    Args:
        function: Values ``(Q, P)`` at points ``(Q, P)``, of the functions whose numbers ``(P,)`` are given with them.
        edges: Rising ends of the intervals to begin with ``(E, M)``; where a function has a jump or a corner should be
            one.
        tolerance: On one interval, relative to the integral of the absolute value, as far as that is known.

    Returns:
        ``(M,)``.

    References:
        Gander and Gautschi (2000), Adaptive Quadrature - Revisited, BIT 40(1), for Lobatto's points.

    Example:
        >>> integrate(lambda at, number: at**number, torch.tensor([[0.0, 0.0], [1.0, 3.0]]).double())
        tensor([1.0000, 4.5000], dtype=torch.float64)
    """
    nodes, weights = (part.to(edges)[:, None] for part in _lobatto())

    def lobatto(low: Tensor, high: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        half = (high - low) / 2
        values = function(low + half * (1 + nodes), number)
        return half * (weights * values).sum(0), 2 * half * values.abs().amin(0)

    number = torch.arange(edges.shape[1], device=edges.device).expand(len(edges) - 1, -1)
    wide = edges[1:] > edges[:-1]
    low, high, number = edges[:-1][wide], edges[1:][wide], number[wide]
    coarse, _ = lobatto(low, high, number)
    found = edges.new_zeros(edges.shape[1])
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high, number = torch.cat([low, middle]), torch.cat([middle, high]), number.repeat(2)
        fine, least = lobatto(low, high, number)
        # From below: a tail that is wide and nearly empty seems large at first, and would excuse every error.
        whole = found.abs().index_add(0, number, least)
        missed = (fine.view(2, -1).sum(0) - coarse).abs() > tolerance * whole[number[: len(coarse)]]
        coarser = missed.repeat(2)
        found = found.index_add(0, number[~coarser], fine[~coarser])
        low, high, number, coarse = low[coarser], high[coarser], number[coarser], fine[coarser]
        if not len(coarse):
            break
    return found.index_add(0, number, coarse)


def _lobatto() -> tuple[Tensor, Tensor]:
    r"""Points and weights on [-1, 1]: its ends, the zeros of :math:`P'_{n-1}`, and :math:`2 / (n (n-1) P_{n-1}^2)`.

    References:
        Abramowitz and Stegun (1964), Handbook of Mathematical Functions, 25.4.32.
    """
    last = Legendre.basis(_NODES - 1)
    nodes = torch.tensor([-1.0, *last.deriv().roots().real, 1.0], dtype=torch.float64)
    return nodes, 2 / (_NODES * (_NODES - 1) * torch.as_tensor(last(nodes.numpy())).square())
