"""The door for data: everything that holds numbers comes through alike, everything else is named."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from bayesnn import BayesianNeuralNetwork, fit_map, likelihoods
from bayesnn.data import as_inputs, as_targets, as_training_data, batches, on_device

N = 5
X = np.arange(2.0 * N).reshape(N, 2)
Y = np.arange(N)
FRAME = pd.DataFrame(X, columns=["a", "b"])


class Rows(Dataset):
    """Pairs made by a function of the row number."""

    def __init__(self, row):
        self.row = row

    def __len__(self):
        return N

    def __getitem__(self, i):
        return self.row(i)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(torch.from_numpy(X), torch.from_numpy(Y), strict=True))


def dataset():
    return TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def read_only(array):
    array = array.copy()
    array.setflags(write=False)
    return array


INPUTS = {
    "tensor": torch.from_numpy(X),
    "tensor with a gradient": torch.from_numpy(X).requires_grad_(),
    "array": X,
    "read-only array": read_only(X),
    "array turned round": X[::-1].copy()[::-1],
    "array in Fortran order": np.asfortranarray(X),
    "frame": FRAME,
    "frame of whole numbers": FRAME.astype(int),
    "frame of mixed numbers": FRAME.astype({"a": int}),
    "nested lists": X.tolist(),
    "list of arrays": list(X),
}


@pytest.mark.parametrize("x", INPUTS.values(), ids=INPUTS)
def test_inputs_of_every_kind_become_the_same_tensor(x):
    found = as_inputs(x)
    assert not found.requires_grad
    np.testing.assert_array_equal(found, X)


@pytest.mark.parametrize("name", ["frame of flags and numbers", "nullable frame"])
def test_frames_of_other_column_types_are_numbers_too(name):
    frames = {
        "frame of flags and numbers": pd.DataFrame({"a": [True, False], "b": [1, 2]}),
        "nullable frame": pd.DataFrame({"a": [1, 0], "b": [1, 2]}, dtype="Int64"),
    }
    np.testing.assert_array_equal(as_inputs(frames[name]), [[1, 1], [0, 2]])


@pytest.mark.parametrize(
    "y",
    [torch.from_numpy(Y), Y, Y.tolist(), pd.Series(Y), pd.Series(Y, index=Y[::-1]), pd.Series(Y).astype("category")],
    ids=["tensor", "array", "list", "series", "series with another index", "categories of whole numbers"],
)
def test_targets_of_every_kind_become_the_same_tensor(y):
    found = as_targets(y)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found, Y)


@pytest.mark.parametrize("y", [X, FRAME, X.tolist()], ids=["array", "frame", "lists"])
def test_targets_may_have_columns(y):
    np.testing.assert_array_equal(as_targets(y), X)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64, torch.uint8])
def test_types_stay_as_they_came(dtype):
    assert as_inputs(torch.ones(3, 2, dtype=dtype)).dtype == dtype


def test_inputs_of_yes_and_no_are_fitted_and_predicted_as_1_and_0():
    x, y = pd.get_dummies(pd.Series(list("abcabcab"))), torch.arange(8.0)
    assert x.to_numpy().dtype == bool
    model = BayesianNeuralNetwork(nn.Linear(3, 1), likelihood=likelihoods.gaussian)
    expected = fit_map(model, x.astype(float), y, num_epochs=2, progress=False)(x.astype(float)).mean
    for inputs in (x, torch.tensor(x.to_numpy())):
        found = fit_map(model, inputs, y, num_epochs=2, progress=False)(inputs).mean
        torch.testing.assert_close(found, expected)  # the frame of numbers is in double precision
    assert as_targets(x).dtype == torch.bool


SOURCES = {
    "data set": dataset,
    "loader in batches": lambda: DataLoader(dataset(), batch_size=2),
    "loader without batches": lambda: DataLoader(dataset(), batch_size=None),
    "data set of arrays and numbers": lambda: Rows(lambda i: (X[i], int(Y[i]))),
    "stream": Stream,
}


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_sources_of_pairs_are_read_whole(make):
    x, y = as_training_data(make())
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


@pytest.mark.parametrize("shuffle", [False, True])
def test_reading_a_source_leaves_the_random_state(shuffle):
    before = torch.get_rng_state()
    as_training_data(DataLoader(dataset(), batch_size=2, shuffle=shuffle))
    assert torch.equal(torch.get_rng_state(), before)


class Jittered(Rows):
    def __getitem__(self, i):
        return super().__getitem__(i) + torch.rand(2)


@pytest.mark.parametrize(
    "make", [dataset, lambda: DataLoader(dataset(), batch_size=2), lambda: Jittered(lambda i: torch.zeros(2))]
)
def test_predicting_from_a_source_leaves_the_random_state(make):
    before = torch.get_rng_state()
    for _ in batches(make()):
        assert torch.equal(torch.get_rng_state(), before)  # between two batches too
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(list(batches(make())), list(batches(make())))


SHUFFLED = {
    "shuffle": lambda: DataLoader(dataset(), shuffle=True),
    "without batches": lambda: DataLoader(dataset(), batch_size=None, shuffle=True),
    "some": lambda: DataLoader(dataset(), sampler=SubsetRandomSampler(range(3))),
    "weighted": lambda: DataLoader(dataset(), sampler=WeightedRandomSampler([1.0, 2.0, 3.0], 3)),
    "sampler of batches": lambda: DataLoader(
        dataset(), batch_sampler=BatchSampler(RandomSampler(dataset()), 2, drop_last=False)
    ),
}


@pytest.mark.parametrize("make", SHUFFLED.values(), ids=SHUFFLED)
def test_rows_to_predict_come_in_their_order(make):
    with pytest.raises(ValueError, match=r"rows in their order, .* is a \w*RandomSampler\. Write .*shuffle=False"):
        list(batches(make()))
    assert len(as_training_data(make())[0]) >= 2  # a fit may take them as they come


def test_a_shuffling_loader_keeps_pairs_together():
    x, y = as_training_data(DataLoader(dataset(), batch_size=2, shuffle=True))
    assert sorted(y.tolist()) == Y.tolist()
    np.testing.assert_array_equal(x, X[y])


@pytest.mark.parametrize(("x", "y"), [(X, Y), (X, Y[:, None]), (X[:2], Y[:2])])
def test_matching_rows_pass(x, y):
    inputs, targets = as_training_data(x, y)
    assert (inputs.shape, targets.shape) == (x.shape, y.shape)


# What is refused


@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        (dataset(), Y, TypeError, "brings its own targets; pass it alone"),
        (X, None, TypeError, "targets are missing: pass x and y"),
        (X, Y[:3], ValueError, r"one row per input, N = 5; got shape \(3,\)\.$"),
        (X, X.T, ValueError, r"one row per input, N = 5; got shape \(2, 5\)\. Transposed\? Pass y.T"),
        (X.T, X[:, 0], ValueError, r"one row per input, N = 2; got shape \(5,\)\. Transposed\? Pass x.T"),
        (X[:1], Y[:1], ValueError, "data must have two rows at least; got 1"),
        (X[:0], Y[:0], ValueError, "data must have two rows at least; got 0"),
        (X[0], Y, ValueError, r"x must have shape \(N, features\).*got \(2,\).*x\[:, None\]"),
        (X, X[..., None], ValueError, r"y must have shape \(N,\) or \(N, D\); got \(5, 2, 1\)"),
        (X, 3.0, ValueError, r"y must have shape \(N,\) or \(N, D\); got \(\)"),
        (Rows(lambda i: X[i]), None, TypeError, r"must give pairs \(x, y\)"),
        (Rows(lambda i: (X[i], Y[i], 1)), None, TypeError, r"must give pairs \(x, y\)"),
        (Rows(lambda i: {"x": X[i], "y": Y[i]}), None, TypeError, r"must give pairs \(x, y\)"),
        (Rows(lambda i: (X[i], "text")), None, TypeError, r"y must be numbers; got text.*pd\.factorize"),
        (DataLoader(dataset(), batch_size=9, drop_last=True), None, ValueError, "the Dataset or DataLoader is empty"),
    ],
)
def test_what_is_no_training_data_is_refused(x, y, error, words):
    with pytest.raises(error, match=words):
        as_training_data(x, y)


@pytest.mark.parametrize(
    "values",
    [np.array([["a"], ["b"]]), [[1.0], [2.0, 3.0]], [np.zeros((2, 2)), np.zeros((2, 3))], None, object()],
    ids=["strings", "ragged lists", "ragged arrays", "nothing", "an object"],
)
def test_what_is_not_numbers_is_named(values):
    with pytest.raises(TypeError, match=r"x must be a tensor, array or frame of numbers; got .*Encode text"):
        as_inputs(values)
    with pytest.raises(TypeError, match="y must be "):
        as_targets(values)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("door", "name", "shape"), [(as_inputs, "x", (N, 2)), (as_targets, "y", (N,))])
def test_values_that_are_not_finite_are_counted_and_placed(door, name, shape, bad):
    values = np.zeros(shape)
    values[[2, 4]] = bad
    with pytest.raises(ValueError, match=f"{name} must be finite; got NaN or infinity in 2 .* first at row 2"):
        door(values)


def test_a_missing_value_in_a_nullable_column_is_refused():
    with pytest.raises(ValueError, match=r"y must be finite; .* first at row 1"):
        as_targets(pd.Series([1, None, 3], dtype="Int64"))


def masked(shape):
    mask = np.zeros(shape, bool)
    mask[[2, 4]] = True
    return np.ma.array(np.ones(shape), mask=mask)


@pytest.mark.parametrize("form", [lambda values: values, lambda values: [*values], lambda values: (*values,)])
def test_masked_entries_are_counted_and_placed(form):
    words = r"x must have no masked entries; got 4 of them in 2 row\(s\), the first at row 2. Drop .* x.filled\(value\)"
    with pytest.raises(ValueError, match=words):
        as_inputs(form(masked((N, 2))))


def test_masked_targets_are_refused():
    with pytest.raises(ValueError, match=r"y must have no masked entries; got 2 of them .* y.filled"):
        as_training_data(X, masked((N,)))
    with pytest.raises(ValueError, match="y must have no masked entries; got 6 of them"):
        as_targets(masked((N, 3)))


def test_a_masked_array_with_nothing_masked_is_taken():
    assert torch.equal(as_inputs(np.ma.array(X, mask=False)), torch.from_numpy(X))


def test_complex_numbers_are_refused():
    with pytest.raises((TypeError, ValueError), match="x must be"):
        as_inputs(1j * X)


# Devices


def test_the_device_asked_for_or_the_fallback():
    assert on_device("cpu", torch.device("meta")) == torch.device("cpu")
    assert on_device(None, torch.device("meta")) == torch.device("meta")


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_here_is_refused(device):
    with pytest.raises(
        ValueError, match=rf"device must be one that is here \(cpu.*\); got '{device}'\. Leave device out"
    ):
        on_device(device, torch.device("cpu"))
