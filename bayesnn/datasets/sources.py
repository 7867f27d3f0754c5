"""Where a data file comes from: a folder, the folder that BAYESNN_DATA names, or a download that is checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FOLDER", "Remote", "data_file", "data_folder"]

FOLDER = "BAYESNN_DATA"
"""The environment variable that names the folder with the data."""


@dataclass(frozen=True)
class Remote:
    """A file as it is published.

    Attributes:
        url: Where it is.
        sha256: Its checksum, in hexadecimal.
    """

    url: str
    sha256: str


def data_folder(folder: str | Path | None = None) -> Path | None:
    """The folder asked for, or else the environment's, or none."""
    given = folder if folder is not None else os.environ.get(FOLDER)
    return Path(given).expanduser() if given else None


def data_file(name: str, remote: Remote, *, folder: str | Path | None = None) -> Path:
    """Find a file, or download it once.

    A file in a folder is taken as it is; a download must have the published checksum, and lies in the user's cache
    (``pooch.os_cache("bayesnn")``) from then on, where it is checked again at every use.

    Args:
        name: Path of the file within the folder, or within the cache.
        remote: Where it is published.
        folder: Folder that holds it; the environment variable ``BAYESNN_DATA`` if left out.

    Raises:
        FileNotFoundError: If it is not in the folder; or, without a folder, pooch is not installed or the download
            failed. The message names every way to get it.
        ValueError: If what was downloaded has another checksum.
    """
    place = data_folder(folder)
    if place is None:
        return _downloaded(name, remote)
    path = place / name
    if not path.is_file():
        raise FileNotFoundError(
            f"the folder must hold {name}; there is no {path}. To download it, leave folder out and unset {FOLDER}."
        )
    return path


def _downloaded(name: str, remote: Remote) -> Path:
    ways = (
        f"Pass folder=FOLDER, one that holds {name}; or set {FOLDER} to such a folder; or `pip install pooch` and go "
        "online, and it is downloaded."
    )
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise FileNotFoundError(
            f"{name} must come from a folder or by pooch; got no folder, and pooch is not installed. {ways}"
        ) from error
    inside = Path(name)
    try:
        found = pooch.retrieve(
            remote.url,
            known_hash=f"sha256:{remote.sha256}",
            fname=inside.name,
            path=Path(pooch.os_cache("bayesnn")) / inside.parent,
        )
    except OSError as error:
        raise FileNotFoundError(f"{name} must come from a folder or {remote.url}; got {error}. {ways}") from error
    except ValueError as error:
        raise ValueError(
            f"{remote.url} must have the sha256 sum {remote.sha256}; got another file, which was not kept. Try again, "
            "or get it elsewhere and pass folder=FOLDER."
        ) from error
    return Path(found)
