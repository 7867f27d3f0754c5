"""Cells: the finished fits of a comparison, kept in a folder, so that the next run goes on where one ended."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from bayesnn.catalogue import Settings
from bayesnn.posterior import WeightPosterior
from bayesnn.tables import json_text

__all__ = ["Cells"]

_LINES, _FITS = "cells.jsonl", "fits"
_OF_THE_RUN = ("methods", "seeds", "folder", "jobs")
"""Settings that do not change a fit."""


class Cells:
    """What is finished of a comparison: for each method and seed its figures, a line of JSON, and some of the fits.

    A cell counts only for the settings and the version that it was made with.

    Args:
        folder: Where they are kept, in ``cells.jsonl`` and ``fits/``; ``None`` keeps nothing. Fits are pickled: read a
            folder of your own only.
        settings: What is compared.
        fresh: Whether what stands there is left aside.
    """

    def __init__(self, folder: Path | None, settings: Settings, *, fresh: bool = False) -> None:
        self._folder, self._lock = folder, Lock()
        own = {name: value for name, value in asdict(settings).items() if name not in _OF_THE_RUN}
        self._made = json.loads(json_text({"settings": own, "version": version("pyro-bayesnn")}))
        self._mark = hashlib.sha256(json.dumps(self._made, sort_keys=True).encode()).hexdigest()[:8]
        self._figures = {} if folder is None or fresh else self._read(folder / _LINES)

    def figures(self, method: str, seed: int) -> dict[str, float] | None:
        """The figures of a cell, if it is finished."""
        return self._figures.get((method, seed))

    def fit(self, method: str, seed: int) -> WeightPosterior | None:
        """The posterior of a cell, if it is finished and its fit was kept."""
        if self._folder is None or (method, seed) not in self._figures:
            return None
        try:
            return torch.load(self._path(self._folder, method, seed), weights_only=False)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, AttributeError, ImportError):
            return None  # not there, or of another version of what it is made of: it is fitted anew

    def keep(self, method: str, seed: int, figures: dict[str, float], fit: WeightPosterior | None = None) -> None:
        """Keep a cell, and its fit if one is given."""
        self._figures[method, seed] = figures
        if self._folder is None:
            return
        with self._lock:
            if fit is not None:  # first, so that a line never stands for a fit that is not whole
                path = self._path(self._folder, method, seed)
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.save(fit, part := path.with_suffix(".part"))
                os.replace(part, path)
            line = json_text({"method": method, "seed": seed, **self._made, "figures": figures})
            with (self._folder / _LINES).open("a+b") as file:
                if file.tell() and not _ends_a_line(file):
                    file.write(b"\n")
                file.write(line.encode() + b"\n")

    def _path(self, folder: Path, method: str, seed: int) -> Path:
        return folder / _FITS / f"{method}-{seed}-{self._mark}.pt"

    def _read(self, path: Path) -> dict[tuple[str, int], dict[str, float]]:
        """The cells of these settings; a line that was cut short is none."""
        found = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                cell = json.loads(line)
                if {name: cell[name] for name in self._made} == self._made:
                    values = {n: math.nan if value is None else value for n, value in cell["figures"].items()}
                    found[cell["method"], cell["seed"]] = values
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return found


def _ends_a_line(file: Any) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"
