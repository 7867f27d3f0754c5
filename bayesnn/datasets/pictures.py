"""MNIST and Fashion-MNIST: 70,000 pictures each, in the standard split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from bayesnn.datasets.idx import read_idx
from bayesnn.datasets.sources import Remote, data_file
from bayesnn.datasets.split import Split, apart, check_hold_out

__all__ = ["fashion_mnist", "mnist"]

_SIDE = 28


@dataclass(frozen=True)
class _Published:
    """A set: where it is, its classes, and the checksums of its training pictures and labels, and of its test ones."""

    url: str
    classes: tuple[str, ...]
    sha256: dict[str, str]


_SETS = {
    "mnist": _Published(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        tuple(map(str, range(10))),
        {
            "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        },
    ),
    "fashion-mnist": _Published(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        {
            "train-images-idx3-ubyte.gz": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "train-labels-idx1-ubyte.gz": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "t10k-images-idx3-ubyte.gz": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "t10k-labels-idx1-ubyte.gz": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        },
    ),
}


def mnist(
    hold_out: int | None = None,
    *,
    ood: str | None = None,
    num_train: int | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
) -> Split:
    """Handwritten digits, 28 x 28 pixels from 0 to 255: 60,000 to train on, 10,000 to test.

    Args:
        hold_out: The digit that is never trained on nor tested; its test pictures are the other world.
        ood: The set whose test pictures are the other world, ``"fashion-mnist"``; instead of ``hold_out``.
        num_train: Number of training pictures, drawn at random; all of them, in the order of the file, if left out.
        folder: Folder that holds ``mnist/train-images-idx3-ubyte.gz`` and the other three; the environment variable
            ``BAYESNN_DATA`` if left out; without either they are downloaded once, with pooch, and checked.
        seed: Seed of the draw of ``num_train`` pictures; nothing else depends on it, the split is the standard one.

    Returns:
        Pictures ``(N, 28, 28)`` in raw units, in single precision (188 MB with all of them), and labels from 0 to 9,
        or to 8 with one held out.

    Raises:
        ValueError: If a setting is out of range, ``hold_out`` and ``ood`` are both given, or a file is not what it
            should be.
        FileNotFoundError: If a file is nowhere to be had; the message names every way to get it.

    References:
        LeCun, Bottou, Bengio and Haffner (1998), Gradient-based learning applied to document recognition, Proceedings
        of the IEEE 86(11).

    Example:
        >>> mnist(hold_out=9, num_train=5000)  # doctest: +SKIP
        Split(mnist without 9: 5000 train, 8991 test, 1009 out-of-distribution; inputs (28, 28), 9 classes)
    """
    return _load("mnist", hold_out, ood, num_train, folder, seed)


def fashion_mnist(
    hold_out: int | None = None,
    *,
    ood: str | None = None,
    num_train: int | None = None,
    folder: str | Path | None = None,
    seed: int = 0,
) -> Split:
    """Pictures of clothes, 28 x 28 pixels from 0 to 255: 60,000 to train on, 10,000 to test.

    Args:
        hold_out: The class, from 0 (T-shirt/top) to 9 (ankle boot), that is never trained on nor tested; its test
            pictures are the other world.
        ood: The set whose test pictures are the other world, ``"mnist"``; instead of ``hold_out``.
        num_train: Number of training pictures, drawn at random; all of them, in the order of the file, if left out.
        folder: Folder that holds ``fashion-mnist/train-images-idx3-ubyte.gz`` and the other three; the environment
            variable ``BAYESNN_DATA`` if left out; without either they are downloaded once, with pooch, and checked.
        seed: Seed of the draw of ``num_train`` pictures; nothing else depends on it, the split is the standard one.

    Returns:
        As `mnist` does.

    Raises:
        ValueError: As from `mnist`.
        FileNotFoundError: As from `mnist`.

    References:
        Xiao, Rasul and Vollgraf (2017), Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
        Algorithms, arXiv:1708.07747.

    Example:
        >>> fashion_mnist(ood="mnist")  # doctest: +SKIP
        Split(fashion-mnist against mnist: 60000 train, 10000 test, 10000 out-of-distribution; inputs (28, 28),
        10 classes)
    """
    return _load("fashion-mnist", hold_out, ood, num_train, folder, seed)


def _load(
    name: str, hold_out: int | None, ood: str | None, num_train: int | None, folder: str | Path | None, seed: int
) -> Split:
    others = [other for other in _SETS if other != name]
    check_hold_out(hold_out, 10, "class")
    if ood is not None and ood not in others:
        raise ValueError(f"ood must be another set ({', '.join(others)}), or None; got {ood!r}.")
    if hold_out is not None and ood is not None:
        raise ValueError(
            f"there is one other world; got hold_out={hold_out} and ood={ood!r}. Pass one of them, and load a second "
            "split for the other."
        )
    classes = _SETS[name].classes
    x_train, y_train = _part(name, "train", folder)
    x_test, y_test = _part(name, "t10k", folder)
    x_ood = None if ood is None else _pixels(ood, "t10k", folder)
    told = name if ood is None else f"{name} against {ood}"
    if hold_out is not None:
        told = f"{name} without {classes[hold_out]}"
        inside, y_train, _ = apart(y_train, hold_out)
        x_train = x_train[inside]
        inside, y_test, known = apart(y_test, hold_out)
        x_test, x_ood = x_test[inside], x_test[~inside]
        classes = tuple(classes[label] for label in known)
    if num_train is not None:
        if num_train not in range(1, len(y_train) + 1):
            raise ValueError(f"num_train must be a number from 1 to {len(y_train)}, or None; got {num_train!r}.")
        drawn = torch.randperm(len(y_train), generator=torch.Generator().manual_seed(seed))[:num_train]
        x_train, y_train = x_train[drawn], y_train[drawn]
    x_ood = None if x_ood is None else x_ood.float()
    return Split(told, x_train.float(), y_train, x_test.float(), y_test, classes, x_ood)


def _part(name: str, part: str, folder: str | Path | None) -> tuple[Tensor, Tensor]:
    """Pictures, as bytes, and labels of one part."""
    pixels = _pixels(name, part, folder)
    path = _path(name, f"{part}-labels-idx1-ubyte.gz", folder)
    labels = read_idx(path, 1).long()
    if len(labels) != len(pixels):
        raise ValueError(f"{path} must hold one label per picture, {len(pixels)}; got {len(labels)}. Get both anew.")
    if labels.unique().tolist() != list(range(10)):
        raise ValueError(f"{path} must hold labels from 0 to 9, each of them; got {labels.unique().tolist()}.")
    return pixels, labels


def _pixels(name: str, part: str, folder: str | Path | None) -> Tensor:
    path = _path(name, f"{part}-images-idx3-ubyte.gz", folder)
    pixels = read_idx(path, 3)
    if pixels.shape[1:] != (_SIDE, _SIDE):
        raise ValueError(f"{path} must hold pictures of {_SIDE} x {_SIDE}; got {tuple(pixels.shape[1:])}.")
    return pixels


def _path(name: str, file: str, folder: str | Path | None) -> Path:
    published = _SETS[name]
    return data_file(f"{name}/{file}", Remote(published.url + file, published.sha256[file]), folder=folder)
