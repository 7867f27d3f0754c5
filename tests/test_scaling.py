"""Scaling of inputs against scikit-learn's."""

import pytest
import torch
from sklearn.preprocessing import StandardScaler

from bayesnn.scaling import input_scaling


def test_columns_are_scaled_as_by_scikit_learn():
    x = torch.randn(30, 4, dtype=torch.float64) * torch.tensor([1.0, 100.0, 0.01, 0.0]) + 7
    loc, scale = input_scaling(x)
    torch.testing.assert_close((x - loc) / scale, torch.tensor(StandardScaler().fit_transform(x.numpy())))


def test_pictures_have_one_scale_and_keep_their_zero():
    x = torch.rand(10, 8, 8)
    loc, scale = input_scaling(x)
    assert float(loc) == 0
    torch.testing.assert_close((x / scale).square().mean(), torch.tensor(1.0))
    assert float(input_scaling(torch.zeros(3, 2, 2))[1]) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_column_that_changes_in_its_last_digits_alone_is_constant(dtype):
    x = torch.full((30, 1), 0.3, dtype=dtype)
    x[::2] = torch.nextafter(x[::2], torch.ones(1, dtype=dtype))
    assert float(input_scaling(x)[1]) == 1
    x[::2] += 1e4 * torch.finfo(dtype).eps
    assert float(input_scaling(x)[1]) == pytest.approx(float(x.double().std(correction=0)))
