"""The one door to ArviZ: it alone knows the line of 0.x (``InferenceData``) and that of 1.x (``DataTree``).

Nothing here needs torch, so that it runs, and is tested, on Pythons for which there is none.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Variables", "group_names", "inference_data", "loo", "pareto_k", "read", "write"]

Variables = Mapping[str, tuple[Sequence[str], np.ndarray]]
"""Arrays with the names of their axes, by name."""

_ENGINE = "h5netcdf"
_ALIKE = 1e-3
"""Nats by which logarithms of importance ratios may spread and still be equal up to rounding."""


def inference_data(
    groups: Mapping[str, Variables],
    coords: Mapping[str, Sequence] | None = None,
    attrs: Mapping[str, str | float] | None = None,
) -> Any:
    """Groups of labelled arrays, as the ArviZ that is installed has them.

    Args:
        groups: Arrays with the names of their axes, by group and name; ``chain`` and ``draw`` for the axes of draws.
            Groups that ArviZ does not know are kept as well. Empty ones are left out.
        coords: Labels along axes; numbers from 0 on where there are none.
        attrs: Words and numbers about the whole.

    Returns:
        ``arviz.InferenceData`` with ArviZ 0.x, ``xarray.DataTree`` with 1.x.

    Raises:
        ValueError: If labels are not as many as an axis is long.

    Example:
        >>> import numpy as np
        >>> data = inference_data({"posterior": {"noise_scale": (("chain", "draw"), np.ones((1, 5)))}})
        >>> float(data.posterior["noise_scale"].mean())
        1.0
    """
    import xarray

    az = _arviz()
    sets = {}
    for name, variables in groups.items():
        shapes = [zip(axes, values.shape, strict=True) for axes, values in variables.values()]
        sizes = {axis: size for pairs in shapes for axis, size in pairs}
        own = {axis: _labels(axis, size, coords or {}) for axis, size in sizes.items()}
        if variables:
            sets[name] = xarray.Dataset({key: (tuple(axes), values) for key, (axes, values) in variables.items()}, own)
    if _is_old(az):
        return az.InferenceData(attrs=dict(attrs or {}), warn_on_custom_groups=False, **sets)
    tree = xarray.DataTree.from_dict(sets)
    tree.attrs.update(attrs or {})
    return tree


def group_names(data: Any) -> list[str]:
    """Names of the groups.

    Args:
        data: What `inference_data` gave.
    """
    return list(data.children) if hasattr(data, "children") else list(data.groups())


def write(data: Any, path: str | Path) -> None:
    """Write to netCDF, or to zarr where the name ends so (which needs zarr).

    Args:
        data: What `inference_data` gave.
        path: Where to.
    """
    with warnings.catch_warnings():  # what is first used here adds filters
        warnings.filterwarnings("ignore", message=".*consolidated|.*Zarr (format 3|V3) spec")
        if not str(path).endswith(".zarr"):
            data.to_netcdf(str(path), engine=_ENGINE)
        else:  # 0.x does not write to zarr 3 itself
            (data.to_datatree() if hasattr(data, "to_datatree") else data).to_zarr(path, mode="w")


def read(path: str | Path) -> Any:
    """Read what `write` wrote.

    Args:
        path: The netCDF file, or the zarr folder.
    """
    import xarray

    az = _arviz()
    engine = "zarr" if str(path).endswith(".zarr") else _ENGINE
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*consolidated")
        if _is_old(az) and engine == _ENGINE:
            return az.from_netcdf(str(path), engine=_ENGINE).load()  # or the file would stay open
        with xarray.open_datatree(path, engine=engine) as tree:
            loaded = tree.load()
    return az.InferenceData.from_datatree(loaded) if _is_old(az) else loaded


def loo(data: Any) -> tuple[float, float, np.ndarray]:
    r"""Expected log pointwise predictive density for left-out data, by Pareto-smoothed importance sampling.

    Of independent draws: their relative efficiency is taken as 1.

    Args:
        data: With a group ``log_likelihood``.

    Returns:
        The estimate and its standard error in nats, and the Pareto shape :math:`\hat k` of each datum ``(N,)``.

    References:
        Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and
        WAIC, arXiv:1507.04544.
    """
    az = _arviz()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto")
        found = az.loo(data, pointwise=True, reff=1.0)
    value = found.elpd_loo if hasattr(found, "elpd_loo") else found.elpd
    return float(value), float(found.se), np.asarray(found.pareto_k).ravel()


def pareto_k(log_ratios: np.ndarray) -> float:
    r"""Pareto shape :math:`\hat k` of importance ratios, which tells how well draws can stand for their target.

    Below 0.5 the ratios have a variance; beyond 0.7 an estimate of practical size is not to be trusted. Ratios that are
    all alike, as those of an exact posterior are, have no tail, and 0 is given.

    Args:
        log_ratios: Logarithms of the ratios ``(S,)``, in nats, up to a constant; 25 at least.

    Raises:
        ValueError: If there are fewer, for a tail has a fifth of them.

    References:
        Vehtari et al. (2024), Pareto Smoothed Importance Sampling, arXiv:1507.02646; Yao et al. (2018), Yes, but Did It
        Work?: Evaluating Variational Inference, arXiv:1802.02538, section 2.

    Example:
        >>> pareto_k(np.zeros(100))
        0.0
    """
    ratios = np.asarray(log_ratios, dtype=np.float64)
    if ratios.ndim != 1 or len(ratios) < 25:
        raise ValueError(f"a Pareto shape needs 25 ratios at least, (S,); got shape {ratios.shape}. Take more draws.")
    if not np.isfinite(ratios).all():
        return float("inf")
    ratios = ratios - ratios.max()
    if np.ptp(ratios) < _ALIKE:
        return 0.0
    az = _arviz()
    with np.errstate(over="ignore"):  # the fit's weights of hopeless shapes: one over infinity is 0
        if _is_old(az):
            return float(az.psislw(ratios)[1])
        from arviz_stats.base import array_stats

        return float(array_stats.psislw(-ratios)[1])


def _labels(axis: str, size: int, coords: Mapping[str, Sequence]) -> np.ndarray:
    given = coords.get(axis)
    if given is None:
        return np.arange(size)
    if len(given) != size:
        raise ValueError(f"coords must label all of {axis}, which is {size} long; got {len(given)} labels.")
    return np.asarray(given)


def _arviz() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 0.23 tells at import what will change in 1.x
        import arviz
    return arviz


def _is_old(az: Any) -> bool:
    return int(az.__version__.split(".")[0]) < 1
