"""Names of the axes of a network's parameters, and their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Size, Tensor

__all__ = ["labels_of_sites", "site_axes"]

_OF_WEIGHTS = (("out",), ("out", "in"), ("out", "in", "kernel"), ("out", "in", "kernel_y", "kernel_x"))
_OF_TARGETS = "noise_scale"
"""The likelihood's own site that has a number for each target; vectors of other names have lengths of their own."""


def site_axes(name: str, shape: Size, of_inputs: bool = False) -> list[str]:
    """Names of a site's axes.

    Args:
        name: The site, ``0.weight``.
        shape: Shape of one draw.
        of_inputs: Whether its first axis is that of the data.

    Example:
        >>> site_axes("0.weight", Size([50, 3])), site_axes("noise_scale", Size([2])), site_axes("slope", Size([3]))
        (['0_out', '0_in'], ['target'], ['slope_axis_0'])
    """
    if of_inputs:
        return ["datum", "output"][: len(shape)]
    layer, _, kind = name.rpartition(".")
    if kind in ("weight", "bias") and 1 <= len(shape) <= 4:
        return [f"{layer}_{axis}".lstrip("_") for axis in _OF_WEIGHTS[len(shape) - 1]]
    if name == _OF_TARGETS and len(shape) == 1:
        return ["target"]
    return [f"{name}_axis_{number}" for number in range(len(shape))]


def labels_of_sites(names: Mapping[str, Sequence], sites: Mapping[str, Tensor]) -> dict[str, Sequence]:
    """The labels given, and those of weights that they are meant for too.

    Labels of ``feature`` are also those of what the first layer reads, and labels of ``class`` or ``target`` those of
    what the last layer gives, where they are as many.

    Args:
        names: Labels by axis.
        sites: Draws ``(S, *shape)`` of all sites by name, in the order of the network.
    """
    found = dict(names)
    weights = [name for name, value in sites.items() if name.rpartition(".")[2] == "weight" and value.ndim == 3]
    if weights:
        out, reads = site_axes(weights[-1], sites[weights[-1]].shape[1:])[0], site_axes(weights[0], Size([1, 1]))[1]
        ends = {reads: (weights[0], -1, ("feature",)), out: (weights[-1], 1, ("class", "target"))}
        for axis, (site, place, kinds) in ends.items():
            for kind in kinds:
                if kind in names and len(names[kind]) == sites[site].shape[place]:
                    found.setdefault(axis, names[kind])
    return found
