"""The UCI benchmark: methods on the standard splits, a line of JSON for each finished cell, and a table of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bayesnn.benchmark import figures_of
from bayesnn.catalogue import PROTOCOLS, UCI, Settings
from bayesnn.published import DECIMALS, PUBLISHED
from bayesnn.settings import checked
from bayesnn.tables import json_text
from bayesnn.workers import workers

__all__ = ["Cell", "finished", "records", "rows", "run"]

_START = '{"data": "'
"""How the line of a cell begins."""

_PUBLISHED = "published: "
"""How the name of a published method begins in the table."""


@dataclass(frozen=True, order=True)
class Cell:
    """One fit: a method on one split of one set, under a protocol.

    Attributes:
        data: Name of the set.
        method: Name of the method.
        split: Number of the split.
        protocol: One of `PROTOCOLS`.
        hidden: Widths of the hidden layers.
        start: Number of the network's start and the fit's noise.
    """

    data: str
    method: str
    split: int
    protocol: str = "converged"
    hidden: tuple[int, ...] = (50,)
    start: int = 0

    @property
    def settings(self) -> Settings:
        """The comparison that it is a cell of."""
        epochs = PROTOCOLS[self.protocol]
        return Settings(
            data=f"uci/{self.data}", methods=(self.method,), seeds=(self.split,), hidden=self.hidden, num_epochs=epochs
        )


def run(
    cells: Sequence[Cell],
    path: Path,
    *,
    folder: str | None = None,
    jobs: int = 1,
    tell: Callable[[str], object] = lambda line: None,
    complain: Callable[[str], object] | None = None,
) -> dict[Cell, dict[str, float]]:
    """Run the cells that a file does not hold yet, each appended to it as soon as it is finished.

    Stopped by hand, the file holds what was finished, and the next run goes on from there. A cell that fails is told of
    and left out; the others go on, and the next run tries it again.

    Args:
        cells: What to run.
        path: The file, made if it is not there.
        folder: Folder with the sets; the environment's ``BAYESNN_DATA`` if left out.
        jobs: Processes that fit side by side.
        tell: Called with a line after each cell.
        complain: Called with a line for each cell that fails, at once and again at the end; ``tell`` if left out.

    Returns:
        The figures of these cells, ``rmse`` and ``nll`` among them, but for those that failed.

    Raises:
        ValueError: If a method, set or split is not known, or the file is not one of this benchmark.
        FileNotFoundError: If a set is not there.
    """
    complain = complain or tell
    last = max((cell.split for cell in cells), default=0)
    for settings in {replace(cell.settings, seeds=(last,)) for cell in cells}:
        checked(settings)
    entries, own, failed = _entries(path), version("pyro-bayesnn"), []
    done = {cell: found for cell, (found, _) in entries.items()}
    todo = [cell for cell in dict.fromkeys(cells) if cell not in done]
    _refuse_missing(todo, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    if len(todo) < len(cells):
        tell(f"{len(cells) - len(todo)} of {len(cells)} cells stand in {path}")
    for other, number in Counter(entries[cell][1] for cell in dict.fromkeys(cells) if cell in entries).items():
        if other != own:
            tell(
                f"{number} of them {'is' if number == 1 else 'are'} of version {other}, not {own}, and used as they are"
            )
    with ExitStack() as stack:
        file = stack.enter_context(path.open("a", encoding="utf-8"))
        pool = stack.enter_context(workers(min(jobs, len(todo)) if jobs > 1 else 0))
        for number, (cell, found) in enumerate(_results(todo, folder, pool)):
            what = f"{cell.method} on {cell.data}, split {cell.split}" + f", start {cell.start}" * bool(cell.start)
            if isinstance(found, Exception):
                failed.append(f"{what} ({cell.protocol}): {type(found).__name__}: {' '.join(str(found).split())}")
                complain(f"{number + 1} of {len(todo)} failed: {failed[-1]}")
                continue
            done[cell] = found
            file.write(json_text({**_key(cell), "version": own, "figures": found}) + "\n")
            file.flush()
            tell(
                f"{number + 1} of {len(todo)}: {what}: "
                f"RMSE {found['rmse']:.4g}, log-likelihood {-found['nll']:.3f}, {found['fit_seconds']:.1f} s"
            )
    for line in [f"{len(failed)} of {len(todo)} cells failed, which the next run tries again:", *failed] * bool(failed):
        complain(line)
    return {cell: done[cell] for cell in cells if cell in done}


def finished(path: Path) -> dict[Cell, dict[str, float]]:
    """The cells that a file holds, with their figures; a last line cut short is no cell.

    Raises:
        ValueError: If the file holds anything else.
    """
    return {cell: found for cell, (found, _) in _entries(path).items()}


def _entries(path: Path) -> dict[Cell, tuple[dict[str, float], str]]:
    """The cells that a file holds, with their figures and the version of this package that made them."""
    cells: dict[Cell, tuple[dict[str, float], str]] = {}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
            hidden = tuple(entry["hidden"])
            start = entry.get("start", 0)
            cell = Cell(entry["data"], entry["method"], entry["split"], entry["protocol"], hidden, start)
            found = {name: math.nan if value is None else value for name, value in entry["figures"].items()}
            cells[cell] = found, str(entry.get("version", "unknown"))
        except (ValueError, KeyError, TypeError) as error:
            cut = number == len(lines) - 1 and not text.endswith("\n") and isinstance(error, json.JSONDecodeError)
            if cut and _START.startswith(line[: len(_START)]):
                path.write_text("".join(f"{whole}\n" for whole in lines[:-1]), encoding="utf-8")
                break
            raise ValueError(
                f"line {number + 1} of {path} is no cell of this benchmark. Write --out with another file."
            ) from error
    else:
        if text and not text.endswith("\n"):  # cut short by its last character alone
            path.write_text(f"{text}\n", encoding="utf-8")
    return cells


def records(cells: dict[Cell, dict[str, float]]) -> list[dict[str, Any]]:
    """A record for each set, method and protocol, with what was published behind them.

    Returns:
        ``rmse`` in the units of the target and ``log_likelihood`` in nats, means over the ``splits`` of the means over
        each split's ``starts``, which are so many at least, and their standard errors over the splits, ``None`` of a
        single split. What was published says no number of either.
    """
    found: list[dict[str, Any]] = []
    names = list(dict.fromkeys((cell.method, cell.protocol, cell.hidden) for cell in cells))
    for data in (name for name in UCI if any(cell.data == name for cell in cells)):
        for method, protocol, hidden in names:
            wanted = (data, method, protocol, hidden)
            own: dict[int, list[dict[str, float]]] = {}
            for cell, one in cells.items():
                if (cell.data, cell.method, cell.protocol, cell.hidden) == wanted:
                    own.setdefault(cell.split, []).append(one)
            if own:
                label = f"{method}, {protocol}" + ("" if hidden == (50,) else f", {'-'.join(map(str, hidden))}")
                rmse = _spread([np.mean([one["rmse"] for one in starts]) for starts in own.values()])
                likelihood = _spread([np.mean([-one["nll"] for one in starts]) for starts in own.values()])
                found.append(_record(data, label, *rmse, *likelihood, len(own), min(map(len, own.values()))))
        for source, published in PUBLISHED.items():
            found.append(_record(data, f"{_PUBLISHED}{source}", *published[data], None, None))
    return found


def rows(cells: dict[Cell, dict[str, float]]) -> list[dict[str, Any]]:
    """The `records` as a table is to show them: mean ± standard error, small published ones with their own decimals."""
    return [
        {
            "set": one["set"],
            "method": one["method"],
            "RMSE": _with_error(one["rmse"], one["rmse_error"], _decimals(one["method"]) if one["rmse"] < 0.2 else 3),
            "log-likelihood": _with_error(one["log_likelihood"], one["log_likelihood_error"], 3),
            **{count: one[count] for count in ("splits", "starts")},
        }
        for one in records(cells)
    ]


def _refuse_missing(todo: Sequence[Cell], folder: str | None) -> None:
    """A set that is not there is said before a fit, and once; what else is wrong with one, its cells say."""
    for cell in {cell.data: cell for cell in todo}.values():
        load, _ = checked(replace(cell.settings, folder=folder))
        try:
            load(seed=cell.split)
        except FileNotFoundError:
            raise
        except Exception:
            continue


def _results(
    todo: Sequence[Cell], folder: str | None, pool: Any
) -> Iterator[tuple[Cell, dict[str, float] | Exception]]:
    """Each cell with its figures, or with what went wrong; a process that died is raised, as no other can go on."""
    if pool is None:
        for cell in todo:
            yield cell, _tried(partial(_figures, cell, folder))
        return
    futures = {pool.submit(_figures, cell, folder): cell for cell in todo}
    for future in as_completed(futures):
        yield futures[future], _tried(future.result)


def _tried(call: Callable[[], dict[str, float]]) -> dict[str, float] | Exception:
    try:
        return call()
    except BrokenExecutor:
        raise
    except Exception as error:
        return error


def _figures(cell: Cell, folder: str | None) -> dict[str, float]:
    return figures_of(cell.method, replace(cell.settings, folder=folder), cell.split, cell.start)


def _record(
    data: str,
    method: str,
    rmse: float,
    rmse_error: float | None,
    fit: float,
    fit_error: float | None,
    splits: int | None,
    starts: int | None,
) -> dict[str, Any]:
    return {
        "set": data,
        "method": method,
        "rmse": rmse,
        "rmse_error": rmse_error,
        "log_likelihood": fit,
        "log_likelihood_error": fit_error,
        "splits": splits,
        "starts": starts,
    }


def _spread(values: Sequence[Any]) -> tuple[float, float | None]:
    """Mean and standard error, which one split does not tell; as published, the deviation has the divisor n."""
    error = float(np.std(values) / math.sqrt(len(values))) if len(values) > 1 else None
    return float(np.mean(values)), error


def _decimals(method: str) -> int:
    """Of a small root mean squared error: those that a source has, or four."""
    return DECIMALS.get(method.removeprefix(_PUBLISHED), 4)


def _with_error(mean: float, error: float | None, decimals: int) -> str:
    return f"{mean:.{decimals}f}" + ("" if error is None else f" ± {error:.{decimals}f}")


def _key(cell: Cell) -> dict[str, Any]:
    return {
        "data": cell.data,
        "method": cell.method,
        "split": cell.split,
        "protocol": cell.protocol,
        "hidden": list(cell.hidden),
        "start": cell.start,
    }
