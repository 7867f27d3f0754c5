"""MNIST and its kin from small files written here; and, where the data lie, the counts their authors give."""

import gzip
import os
import struct

import pytest
import torch

from bayesnn.datasets import fashion_mnist, mnist
from bayesnn.datasets.pictures import _SETS

REAL = pytest.mark.skipif("BAYESNN_DATA" not in os.environ, reason="needs the real data: set BAYESNN_DATA")
SIZES = {"train": 40, "t10k": 20}
FIRST = {"mnist": 1, "fashion-mnist": 101}


def write(folder, name, part, labels, *, side=28):
    """Pictures all of one grey each: ``FIRST[name]`` for the first, one more for every next."""
    (folder / name).mkdir(exist_ok=True)
    greys = range(FIRST[name], FIRST[name] + len(labels))
    pixels = b"".join(bytes([grey]) * side * side for grey in greys)
    pictures = struct.pack(">4I", 2051, len(labels), side, side) + pixels
    (folder / name / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(pictures))
    write_labels(folder, name, part, labels)


def write_labels(folder, name, part, labels):
    content = struct.pack(">2I", 2049, len(labels)) + bytes(labels)
    (folder / name / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(content))


@pytest.fixture
def folder(tmp_path):
    """Classes in turn: the picture of grey ``FIRST + i`` is of class ``i % 10``."""
    for name in FIRST:
        for part, size in SIZES.items():
            write(tmp_path, name, part, [row % 10 for row in range(size)])
    return tmp_path


def greys(x):
    assert x.dtype == torch.float32
    assert x.shape[1:] == (28, 28)
    assert (x == x[:, :1, :1]).all()
    return x[:, 0, 0].int().tolist()


@pytest.mark.parametrize(("load", "name"), [(mnist, "mnist"), (fashion_mnist, "fashion-mnist")])
def test_the_standard_split_is_in_the_order_of_the_files(folder, load, name):
    split = load(folder=folder)
    assert greys(split.x_train) == list(range(FIRST[name], FIRST[name] + 40))
    assert greys(split.x_test) == list(range(FIRST[name], FIRST[name] + 20))
    assert split.y_train.tolist() == list(range(10)) * 4
    assert split.y_test.tolist() == list(range(10)) * 2
    assert split.y_train.dtype == split.y_test.dtype == torch.int64
    assert split.x_ood is None
    assert repr(split) == f"Split({name}: 40 train, 20 test; inputs (28, 28), 10 classes)"


@pytest.mark.parametrize("hold_out", [0, 4, 9])
def test_a_class_held_out_is_in_neither_part(folder, hold_out):
    split = fashion_mnist(hold_out, folder=folder)
    names = _SETS["fashion-mnist"].classes
    for x, y, size in ((split.x_train, split.y_train, 36), (split.x_test, split.y_test, 18)):
        old = [(grey - 101) % 10 for grey in greys(x)]
        assert len(old) == size
        assert hold_out not in old
        assert [split.classes[label] for label in y] == [names[label] for label in old]
    assert greys(split.x_ood) == [101 + hold_out, 111 + hold_out]
    assert names[hold_out] not in split.classes
    assert split.name == f"fashion-mnist without {names[hold_out]}"


def test_the_other_set_may_be_the_other_world(folder):
    split = mnist(ood="fashion-mnist", folder=folder)
    assert greys(split.x_ood) == list(range(101, 121))
    assert (len(split.x_train), len(split.classes), split.name) == (40, 10, "mnist against fashion-mnist")
    assert greys(fashion_mnist(ood="mnist", folder=folder).x_ood) == list(range(1, 21))


def test_a_subset_is_drawn_by_the_seed_without_repeats(folder, monkeypatch):
    monkeypatch.setenv("BAYESNN_DATA", str(folder))
    state = torch.get_rng_state()
    first, again, other = mnist(num_train=15, seed=1), mnist(num_train=15, seed=1), mnist(num_train=15, seed=2)
    assert len(set(greys(first.x_train))) == 15
    assert [(grey - 1) % 10 for grey in greys(first.x_train)] == first.y_train.tolist()
    assert first.x_train.equal(again.x_train)
    assert set(greys(first.x_train)) != set(greys(other.x_train))
    assert greys(first.x_test) == list(range(1, 21))
    assert 9 not in [(grey - 1) % 10 for grey in greys(mnist(9, num_train=36).x_train)]
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"hold_out": 10}, "hold_out must be a class from 0 to 9, or None; got 10"),
        ({"hold_out": 9.0}, "hold_out must be a class from 0 to 9, or None; got 9.0"),
        ({"ood": "mnist"}, r"ood must be another set \(fashion-mnist\), or None; got 'mnist'"),
        ({"hold_out": 9, "ood": "fashion-mnist"}, "one other world; got hold_out=9 and ood='fashion-mnist'. Pass one"),
        ({"num_train": 0}, "num_train must be a number from 1 to 40, or None; got 0"),
        ({"hold_out": 1, "num_train": 37}, "from 1 to 36, or None; got 37"),
    ],
)
def test_bad_settings_get_one_clear_sentence(folder, options, words):
    with pytest.raises(ValueError, match=words):
        mnist(folder=folder, **options)


def test_files_that_do_not_belong_together_get_a_sentence(folder):
    write_labels(folder, "mnist", "t10k", [row % 10 for row in range(19)])
    with pytest.raises(ValueError, match=r"t10k-labels.* must hold one label per picture, 20; got 19"):
        mnist(folder=folder)
    write_labels(folder, "mnist", "t10k", [row % 9 for row in range(20)])
    with pytest.raises(ValueError, match=r"t10k-labels.* must hold labels from 0 to 9, each of them; got \[0, .* 8\]"):
        mnist(folder=folder)
    write(folder, "mnist", "train", list(range(10)), side=27)
    with pytest.raises(ValueError, match=r"train-images.* must hold pictures of 28 x 28; got \(27, 27\)"):
        mnist(folder=folder)
    (folder / "mnist" / "train-images-idx3-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold mnist/train-images-idx3-ubyte\.gz; there is no"):
        mnist(folder=folder)


@REAL
@pytest.mark.slow
def test_mnist_has_the_counts_it_should():
    split = mnist()
    assert split.y_train.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert split.y_test.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    # The mean and standard deviation by which MNIST is standardised everywhere, 0.1307 and 0.3081 of full white.
    assert split.x_train.mean().item() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert split.x_train.std().item() / 255 == pytest.approx(0.3081, abs=5e-5)


@REAL
@pytest.mark.slow
def test_fashion_mnist_has_the_counts_it_should():
    split = fashion_mnist(ood="mnist")
    assert split.y_train.bincount().tolist() == [6000] * 10
    assert split.y_test.bincount().tolist() == [1000] * 10
    assert split.x_train.mean().item() / 255 == pytest.approx(0.2860, abs=5e-5)
    assert split.x_train.std().item() / 255 == pytest.approx(0.3530, abs=5e-5)
    assert split.x_ood.equal(mnist().x_test)


@REAL
def test_nines_held_out_of_mnist_are_all_there():
    split = mnist(9, num_train=100)
    assert (len(split.x_train), len(split.x_test), len(split.x_ood)) == (100, 8991, 1009)
