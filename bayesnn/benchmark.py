"""The main job: which methods know what they don't know? Several seeds, one row per method."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bayesnn.catalogue import BETWEEN_STARTS, OWN_NOISE, Settings
from bayesnn.cells import Cells
from bayesnn.datasets import Split
from bayesnn.evaluation import figures
from bayesnn.posterior import WeightPosterior
from bayesnn.predictive import Predictive
from bayesnn.roster import COSTS, METHODS
from bayesnn.settings import PRIOR_SCALE, checked, model_for, options
from bayesnn.tables import plain
from bayesnn.workers import Shared, workers

__all__ = ["Run", "figures_of", "run"]


@dataclass(frozen=True)
class Run:
    """What came of a comparison.

    Attributes:
        settings: What was compared.
        rows: A row per method; each figure as ``{"mean": m, "sd": s, "values": [...]}`` over the seeds.
        split: The first seed's data.
        posteriors: The first seed's fits by method.
        inside: Their predictions for the test inputs.
        outside: Their predictions for the inputs from another world, if there are any.
        ambiguous: Their predictions for the inputs that are two things at once, if there are any.
        interrupted: Whether it was stopped by hand; then it holds the fits that were finished.
    """

    settings: Settings
    rows: list[dict[str, Any]]
    split: Split
    posteriors: dict[str, WeightPosterior]
    inside: dict[str, Predictive]
    outside: dict[str, Predictive]
    ambiguous: dict[str, Predictive]
    interrupted: bool = False

    def to_json(self) -> dict[str, Any]:
        """The results as plain numbers; NaN as ``None``."""
        settings = asdict(self.settings)
        return {
            "data": settings["data"],
            "seeds": list(self.settings.seeds),
            "settings": {**settings, **asdict(self.settings.network), "prior": f"fan_in_normal({PRIOR_SCALE:g})"},
            "sizes": {
                part: len(x)
                for part in ("x_train", "x_test", "x_ood", "x_ambiguous")
                if (x := getattr(self.split, part)) is not None
            },
            "versions": {"bayesnn": version("pyro-bayesnn"), "torch": torch.__version__},
            "interrupted": self.interrupted,
            "rows": plain(self.rows),
        }


def run(
    settings: Settings,
    *,
    progress: bool = True,
    tell: Callable[[str], object] = lambda line: None,
    folder: Path | None = None,
    fresh: bool = False,
) -> Run:
    """Fit every method at every seed and score it.

    Stopped by hand, it gives back the fits that were finished.

    Args:
        settings: What to compare.
        progress: Whether the fits show their bars.
        tell: Called with a line before each fit.
        folder: Where each fit is kept as soon as it is finished; those that stand there are not made again.
        fresh: Whether they are made again.

    Raises:
        ValueError: If a method, data set or device is not known; the message lists those that are.
        KeyboardInterrupt: If it was stopped by hand before the first fit was finished.
    """
    load, names = checked(settings)
    first_seed, *others = settings.seeds
    first_split = load(seed=first_seed, **options(settings))
    kept = Cells(folder, settings, fresh=fresh)
    rows_by_cell: dict[tuple[str, int], dict[str, float]] = {}
    first: dict[str, tuple[WeightPosterior, list[Predictive | None]]] = {}
    later: dict[tuple[str, int], Future] = {}
    interrupted = False
    for name, seed in ((name, seed) for seed in settings.seeds for name in names):
        row, fitted = kept.figures(name, seed), kept.fit(name, seed) if seed == first_seed else None
        if row is not None and (seed != first_seed or fitted is not None):
            rows_by_cell[name, seed] = row
        if fitted is not None:
            first[name] = (fitted, _predictions(fitted, first_split))
    if rows_by_cell:
        tell(
            f"{len(rows_by_cell)} of {len(names) * len(settings.seeds)} fits stand in {folder}; --fresh makes them anew"
        )

    def fit_here(name: str, seed: int, split: Split) -> None:
        tell(f"{name}, seed {seed} ({settings.seeds.index(seed) + 1} of {len(settings.seeds)})")
        fitted, predictions, row = _fit(name, split, settings, seed, progress)
        rows_by_cell[name, seed] = row
        kept.keep(name, seed, row, fitted if seed == first_seed else None)
        if seed == first_seed:
            first[name] = (fitted, predictions)

    todo = [(name, seed) for seed in others for name in names if (name, seed) not in rows_by_cell]
    try:
        with workers(beside := min(settings.jobs - 1, len(todo))) as pool:
            if pool is not None:
                longest_first = sorted(todo, key=lambda cell: -COSTS[cell[0]])
                shared = Shared(longest_first, partial(_begin, pool, settings, kept), beside)
                later = shared.begun
            for name in names:
                if name not in first:
                    fit_here(name, first_seed, first_split)
            if pool is None:
                for seed in dict.fromkeys(seed for _, seed in todo):
                    split = load(seed=seed, **options(settings))
                    for name in (name for name, of in todo if of == seed):
                        fit_here(name, seed, split)
            else:
                while (cell := shared.take()) is not None:
                    fit_here(*cell, load(seed=cell[1], **options(settings)))
            _tell_of_the_rest(later, tell)
            wait(later.values())
    except KeyboardInterrupt:
        if not first:
            raise
        interrupted = True
    for cell, future in later.items():
        ended = future.done() and not future.cancelled()
        if ended and not (interrupted and future.exception()):
            rows_by_cell[cell] = future.result()
    found = {name: [rows_by_cell[name, s] for s in settings.seeds if (name, s) in rows_by_cell] for name in names}
    rows = [{"method": name, **_spread(by_seed)} for name, by_seed in found.items() if by_seed]
    posteriors = {name: fitted for name, (fitted, _) in first.items()}
    inside, outside, ambiguous = (
        {name: seen for name, (_, predictions) in first.items() if (seen := predictions[world]) is not None}
        for world in range(3)
    )
    return Run(settings, rows, first_split, posteriors, inside, outside, ambiguous, interrupted)


def figures_of(name: str, settings: Settings, seed: int, start: int = 0) -> dict[str, float]:
    """The figures of one method at one seed: a cell of a comparison's table, for a process of its own.

    Another ``start`` is another start of the network and another noise of the fit, on the seed's split.
    """
    load, _ = checked(settings)
    split = load(seed=seed, **options(settings))
    return _fit(name, split, settings, seed + BETWEEN_STARTS * start, progress=False)[2]


def _begin(pool: Executor, settings: Settings, kept: Cells, cell: tuple[str, int]) -> Future:
    """Hand a fit to another process, and keep what it finds."""
    future = pool.submit(figures_of, cell[0], settings, cell[1])
    future.add_done_callback(partial(_keep, kept, cell))
    return future


def _keep(kept: Cells, cell: tuple[str, int], future: Future) -> None:
    """Keep what another process has found."""
    if not future.cancelled() and future.exception() is None:
        kept.keep(*cell, future.result())


def _tell_of_the_rest(later: Mapping[tuple[str, int], Future], tell: Callable[[str], object]) -> None:
    """Say what other processes are still at."""
    rest = [f"{name}, seed {seed}" for (name, seed), future in later.items() if not future.done()]
    if rest:
        tell(f"still being fitted in other processes: {'; '.join(rest)}")


def _fit(
    name: str, split: Split, settings: Settings, seed: int, progress: bool
) -> tuple[WeightPosterior, list[Predictive | None], dict[str, float]]:
    """One fit, its predictions for each world there is (test, other, ambiguous), and its figures."""
    model = model_for(split, settings, seed, own_noise=name in OWN_NOISE)
    with warnings.catch_warnings():
        # The loop's own word on Ctrl-C: here an unfinished fit ends the comparison, and is no result.
        warnings.filterwarnings("ignore", message="stopped by hand|the fit ended while the weight")
        posterior = METHODS[name](
            model,
            split.x_train,
            split.y_train,
            num_samples=settings.num_samples,
            num_epochs=settings.num_epochs,
            device=settings.device,
            seed=seed,
            progress=progress,
        )
    history = posterior.history
    if history is not None and history.interrupted:
        raise KeyboardInterrupt
    started = time.perf_counter()
    inside, outside, ambiguous = _predictions(posterior, split)
    seconds = time.perf_counter() - started
    row = figures(inside, split.y_test, outside, ambiguous)
    row["elbo_per_datum"] = posterior.summary.get("elbo_per_datum", math.nan)
    row["fit_seconds"] = history.seconds if history is not None else math.nan
    row["predict_seconds"] = seconds
    return posterior, [inside, outside, ambiguous], row


def _predictions(posterior: WeightPosterior, split: Split) -> list[Any]:
    """Predictions for each world there is: test, other, ambiguous."""
    return [None if x is None else posterior(x) for x in (split.x_test, split.x_ood, split.x_ambiguous)]


def _spread(by_seed: Sequence[dict[str, float]]) -> dict[str, dict[str, Any]]:
    """Mean and standard deviation over the seeds of every figure, and the figures themselves."""
    columns: dict[str, dict[str, Any]] = {}
    for name in by_seed[0]:
        values = [row[name] for row in by_seed]
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
        columns[name] = {"mean": float(np.mean(values)), "sd": spread, "values": values}
    return columns
